"""What all pages share: their style, and the HTML of videos and remarks."""

import base64
import html
from pathlib import Path

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: #0f172a;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 32px; margin: 16px 0 0; letter-spacing: -.02em; }
h2 { font-size: 22px; margin: 48px 0 12px; padding-top: 20px; border-top: 1px solid #e2e8f0; }
h3 { font-size: 16px; margin: 24px 0 8px; }
p { margin: 4px 0 12px; color: #475569; }
figure { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px;
  margin-top: 20px; }
.tiles div, .charts figure, .group, table { background: #fff; border: 1px solid #e2e8f0;
  border-radius: 12px; padding: 14px 16px; }
.tiles b { display: block; font-size: 26px; letter-spacing: -.02em; }
small, figcaption { color: #64748b; font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 12px; }
.charts svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: #64748b; }
svg .grid { stroke: #e2e8f0; }
.charts span { display: inline-block; margin: 4px 16px 0 0; white-space: nowrap; }
.charts i { display: inline-block; width: 20px; margin-right: 6px; vertical-align: middle; }
.groups { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 510px), 1fr)); }
.group p { margin: 8px 0 0; font-size: 14px; }
.clips { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-end; }
.clip video { display: block; height: 130px; max-width: 100%; border-radius: 8px;
  background: #e2e8f0; }
.group video { height: min(130px, 22vw); }
.prompt { margin: 20px 0 8px; font-weight: 600; color: #0f172a; }
.missing { color: #b45309; background: #fffbeb; border: 1px solid #fde68a; border-radius: 8px;
  padding: 8px 12px; overflow-wrap: anywhere; }
table { border-collapse: separate; border-spacing: 0; width: 100%; max-width: 720px; }
td { padding: 5px 0; border-bottom: 1px solid #f1f5f9; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { svg text { font-size: 17px; } }
footer { margin-top: 48px; color: #64748b; font-size: 13px; }
"""


def missing(what: Path | str) -> str:
    """The HTML of a remark that `what` does not exist yet."""
    return f'<p class="missing">Missing: {html.escape(str(what))}</p>'


def video(file: Path, caption: str = "") -> str:
    """The HTML of a video inside the page, which loops without sound."""
    if not file.exists():
        return missing(file)
    data = base64.b64encode(file.read_bytes()).decode()
    note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        '<figure class="clip"><video autoplay loop muted playsinline '
        f'src="data:video/mp4;base64,{data}"></video>{note}</figure>'
    )


def tiles(found: list[tuple[str, str, str]]) -> str:
    """The HTML of the figures to see first: name, figure and remark of each."""
    cards = [f"<div><small>{a}</small><b>{b}</b><small>{c}</small></div>" for a, b, c in found]
    return f'<div class="tiles">{"".join(cards)}</div>'


def document(title: str, introduction: str, body: str, footer: str = "") -> str:
    """A page as HTML text. `body` and `footer` are HTML, the others plain text."""
    head = f"<h1>{html.escape(title)}</h1><p>{html.escape(introduction)}</p>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{head}"
        f"{body}<footer>{footer}</footer></main></body></html>"
    )
