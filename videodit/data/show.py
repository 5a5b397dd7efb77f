"""See what the model sees: `python -m videodit.data.show --config=FILE --step=N --out=DIR`.

Draws the batch that the loader makes for step N, unpacked from its tokens: every row as a strip of
segments (pack.png), its clips as contact sheets (row_*.png), and both on one page (index.html).
With --steps=K it draws K steps, from N on, each into a folder of its own.

docs/packed_row.png is runs/show/row_000.png of

    python -m tools.make_worlds --world=sprites --clips=120 --sides=72,128 --frames=1,25 \\
      --out=runs/sprites
    python -m videodit.data.show --config=configs/demo_dit.py --config.data.catalog=runs/sprites \\
      --config.text.workdir=runs/sprites --config.data.row_tokens=1280 \\
      --config.data.text_tokens=384 --config.data.views.drop="((0, 0.3, 2, 2),)" \\
      --config.data.modes.animate=0.4 --config.data.modes.extend=0.2 \\
      --config.data.modes.inpaint=0.4 --step=7 --rows=1 --width=1000 --nodetails --out=runs/show
"""

import base64
import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from absl import logging as absl_logging
from PIL import Image

from videodit.command_line import config_from_flags, parse_flags
from videodit.config import Config, ConfigError
from videodit.data import packing, patches, pictures
from videodit.data.packing import HostBatch
from videodit.data.patches import Size
from videodit.data.pictures import Fact, PackedClip
from videodit.data.planning.given import MODES
from videodit.data.planning.plan import Plan
from videodit.data.sources.catalog import Catalog
from videodit.data.tokenizer import Tokenizer
from videodit.entry import run_command
from videodit.folders import check_folder

FLAGS = flags.FLAGS
GREY = 160  # level of pixels whose token was dropped


class Step(NamedTuple):
    """What is drawn of a step."""

    title: str
    facts: list[Fact]  # about the whole batch
    headings: list[str]  # one for each row that is drawn
    rows: list[HostBatch]  # without the leading B
    clips: list[list[PackedClip]]  # for each row, its clips


def steps(cfg: Config, first: int, count: int, most_rows: int) -> Iterator[Step]:
    """Yields `count` steps from `first` on, with at most `most_rows` rows. Raises ConfigError."""
    from videodit.data.loader import host_batches  # brings jax, which takes a second
    from videodit.data.sources.source import open_source, open_tokenizer

    tokenizer, patch = open_tokenizer(cfg.text.workdir), cfg.autoencoder.patch
    source = open_source(
        dataclasses.replace(cfg.data, latents=""), tokenizer
    )  # the pixels are drawn
    chunk = cfg.autoencoder.chunk
    plan = Plan(source.catalog, cfg.data, cfg.seed, patch, source.parts, chunk=chunk)
    which = range(first, first + count)
    batches = host_batches(
        source,
        plan,
        tokenizer,
        patch,
        rows=range(min(most_rows, plan.cfg.batch_rows)),
        start_step=which.start,
        stop_step=which.stop,
    )
    with contextlib.closing(batches):
        for number, batch in zip(which, batches):
            clips = clips_of(batch, patch, tokenizer, source.catalog)
            rows = [packing.row_of(batch, b) for b in range(len(batch.valid))]
            headings = _headings(rows, plan, number)
            yield Step(f"Step {number}", facts_of(plan, number), headings, rows, clips)


def clips_of(
    batch: HostBatch, patch: Size, tokenizer: Tokenizer, catalog: Catalog
) -> list[list[PackedClip]]:
    """For each row of a batch of pixels, its clips."""
    rows: list[list[PackedClip]] = [[] for _ in batch.valid]
    videos = packing.unpack(batch.tokens, batch, patch, fill=GREY)
    for (b, m), video in zip(np.argwhere(batch.valid).tolist(), videos):
        row, frames = packing.row_of(batch, b), video[:: patch[0]]
        rows[b].append(_clip(row, m, frames, patch, tokenizer, catalog))
    return rows


def _clip(
    row: HostBatch,
    m: int,
    frames: np.ndarray,
    patch: Size,
    tokenizer: Tokenizer,
    catalog: Catalog,
) -> PackedClip:
    here, fps = row.segment_ids == m + 1, float(row.fps[m])
    t, h, w = row.grids[m].tolist()
    grid = t, h, w
    at = patches.cells_at(row.positions[here], grid, fps, patch)
    kept, given = np.zeros((2, math.prod(grid)), bool)
    kept[at], given[at] = True, row.given[here]
    text = row.text_ids[row.text_segment_ids == m + 1]
    count, height, width = patches.full_size(grid, patch)
    duration = f"{count} frames, {count / fps:.2f} s" if count > 1 else "image"
    return PackedClip(
        slot=m + 1,
        frames=frames,
        kept=kept.reshape(grid),
        given=given.reshape(grid),
        seconds=patch[0] / fps,
        caption=tokenizer.decode(text),
        title=f"{width}x{height}, {duration} · {list(MODES)[row.mode_ids[m]]}",
        details=(_tokens(kept, given, len(text)), *_origin(row, m, catalog)),
        replaced=bool(row.replaced[m]),
    )


def _tokens(kept: np.ndarray, given: np.ndarray, text: int) -> str:
    dropped = f" of {kept.size}" if not kept.all() else ""
    of_them = f", {given.sum()} given" if given.any() else ""
    return f"{kept.sum()} tokens{dropped}{of_them}, {text} of text"


def _origin(row: HostBatch, m: int, catalog: Catalog) -> tuple[str, str]:
    i = int(row.clip_ids[m])
    size, frames = f"{catalog.width[i]}x{catalog.height[i]}", int(catalog.frames[i])
    length = f"{frames} frames at {catalog.fps[i]:g} fps" if frames > 1 else "image"
    return f"sample {row.sample_ids[m]}, clip {i}: {size}, {length}", catalog.ids[i]


def facts_of(plan: Plan, step: int) -> list[Fact]:
    """Figures of a step's whole batch, from the plan."""
    cfg, metrics = plan.cfg, plan.metrics(step)
    parts = [n for n in (2, 4, 8, 16) if cfg.batch_rows % n == 0]
    heaviest = " / ".join(f"{plan.metrics(step, n)['imbalance']:.2f}" for n in parts)
    shares = " / ".join(map(str, parts))
    return [
        Fact("rows", str(cfg.batch_rows), "in the batch"),
        Fact("padding", f"{1 - plan.fill([step]):.2%}", f"of {cfg.row_tokens} tokens a row"),
        Fact("text fill", f"{plan.text_fill([step]):.1%}", f"of {cfg.text_tokens} tokens a row"),
        Fact("tokens dropped", f"{metrics['tokens_dropped']:.1%}", "of the clips' vision tokens"),
        Fact("left over", f"{metrics['left_over']:.1%}", "of the picks, for the next epoch"),
        Fact("imbalance", heaviest or "1", f"heaviest of {shares or 1} parts over mean"),
    ]


def _headings(rows: list[HostBatch], plan: Plan, step: int) -> list[str]:
    """For each row: fill, clips and attention work (the sum of squared lengths)."""
    planned = [sum(placed.keep**2 for placed in row) for row in plan.rows(step)]
    headings = []
    for b, row in enumerate(rows):
        lengths = np.bincount(row.segment_ids, minlength=2)[1:]
        work = np.square(lengths).sum() * len(planned) / max(sum(planned), 1)
        broken, empty = (row.replaced & row.valid).sum(), (row.replaced & ~row.valid).sum()
        headings.append(
            f"Row {b}: {lengths.sum() / len(row.segment_ids):.2%} full, {row.valid.sum()} clips, "
            f"text {np.count_nonzero(row.text_segment_ids) / len(row.text_segment_ids):.0%} full, "
            f"attention work {work:.2f} x the mean row"
            + f", {broken} clips replace broken ones" * bool(broken)
            + f", {empty} slots empty for broken clips" * bool(empty)
        )
    return headings


# The page.

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f8fafc; color: {pictures.INK};
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
main {{ max-width: 1640px; margin: 0 auto; padding: 24px 20px 64px; }}
h1 {{ font-size: 30px; margin: 8px 0 16px; letter-spacing: -.02em; }}
h2 {{ font-size: 17px; margin: 40px 0 10px; }}
small, figcaption p {{ color: {pictures.MUTED}; font-size: 13px; }}
.facts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; }}
.facts div, figure {{ background: #fff; border: 1px solid #e2e8f0; border-radius: 10px;
  padding: 12px 14px; }}
.facts b {{ display: block; font-size: 24px; letter-spacing: -.02em; }}
.key {{ margin: 20px 0 0; }}
.key i {{ display: inline-block; width: 16px; height: 16px; margin: 0 6px 0 18px;
  vertical-align: -3px; }}
.strip {{ display: block; width: 100%; height: {pictures.ROW}px; }}
.clips {{ display: flex; flex-wrap: wrap; gap: 12px; margin-top: 12px; align-items: flex-start; }}
figure {{ margin: 0; max-width: 100%; }}
figure.broken {{ border: 3px solid {pictures.BROKEN}; }}
figure img {{ display: block; max-width: 100%; }}
figcaption {{ width: 0; min-width: max(100%, 300px); overflow-wrap: anywhere; }}
figcaption b {{ font-weight: 600; }}
figcaption p {{ margin: 6px 0 0; }}
figcaption p.caption {{ color: {pictures.INK}; font-size: 15px; }}
.number {{ display: inline-block; min-width: 24px; padding: 0 6px; border-radius: 5px;
  color: #fff; text-align: center; font-weight: 600; margin: 0 8px 8px 0; }}
"""
KEY = (
    f'<p class="key"><small><i style="border:3px solid {pictures.GIVEN}"></i>given to the model '
    f'<i style="background:{pictures.DROPPED[0]}"></i>dropped patch '
    f'<i style="background:{pictures.HATCHED[1]}"></i>padding '
    f'<i style="border:3px solid {pictures.BROKEN}"></i>replaces a broken clip. '
    "Strips are to scale: vision tokens above, text tokens below.</small></p>"
)


def page(step: Step, sheets: list[list[Image.Image]]) -> str:
    """A step as an HTML page; `sheets` are the contact sheets of its clips."""
    facts = "".join(
        f"<div><small>{f.name}</small><b>{f.value}</b><small>{f.note}</small></div>"
        for f in step.facts
    )
    rows = []
    for heading, row, clips, drawn in zip(step.headings, step.rows, step.clips, sheets):
        strip = _embed(pictures.strip(row, pictures.WIDTH), "png")
        figures = "".join(map(_figure, clips, drawn))
        rows.append(
            f'<h2>{heading}</h2><img class="strip" alt="" src="{strip}">'
            f'<div class="clips">{figures}</div>'
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{step.title}</title><style>{STYLE}</style><main><h1>{step.title}</h1>"
        f'<div class="facts">{facts}</div>{KEY}{"".join(rows)}</main></html>\n'
    )


def _figure(clip: PackedClip, drawn: Image.Image) -> str:
    number = f'<span class="number" style="background:{pictures.color(clip.slot)}">{clip.slot}'
    details = "".join(f"<p>{escape(line)}</p>" for line in clip.details)
    look, image = "broken" if clip.replaced else "", _embed(drawn, "webp")
    return (
        f'<figure class="{look}">{number}</span><b>{escape(clip.title)}</b>'
        f'<img alt="" src="{image}"><figcaption>'
        f'<p class="caption">{escape(clip.caption)}</p>{details}</figcaption></figure>'
    )


def _embed(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


# The command line.


def write(
    step: Step, patch: Size, folder: Path, width: int = pictures.WIDTH, *, details: bool = True
) -> None:
    """Draws a step into a folder; the pictures of rows are `width` pixels wide.

    Without `details` they do not tell the samples and the names of clips.

    Raises ConfigError if the folder cannot be made or written to.
    """
    inner = width - 2 * pictures.MARGIN
    sheets = [[pictures.sheet(clip, patch, inner) for clip in clips] for clips in step.clips]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pack = pictures.pack_picture(step.title, step.facts, step.headings, step.rows)
        pack.save(folder / "pack.png")
        for b, (heading, row, clips, drawn) in enumerate(
            zip(step.headings, step.rows, step.clips, sheets)
        ):
            if not details:
                clips = [clip._replace(details=clip.details[:1]) for clip in clips]
            picture = pictures.row_picture(heading, row, clips, drawn, width)
            picture.save(folder / f"row_{b:03d}.png")
        (folder / "index.html").write_text(page(step, sheets))
    except OSError as error:
        raise ConfigError(f"--out={str(folder)!r}: {error.strerror}") from None


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    cfg, out = config_from_flags(), Path(FLAGS.out)
    check_folder(out, "--out")
    for n, step in enumerate(steps(cfg, FLAGS.step, FLAGS.steps, FLAGS.rows)):
        folder = out / f"{FLAGS.step + n:06d}" if FLAGS.steps > 1 else out
        write(step, cfg.autoencoder.patch, folder, FLAGS.width, details=FLAGS.details)
        print(f"Wrote {folder}/index.html, {folder}/pack.png and {len(step.rows)} rows")


if __name__ == "__main__":
    flags.DEFINE_integer("step", 0, "The first step to draw.", lower_bound=0)
    flags.DEFINE_integer("steps", 1, "How many steps to draw.", lower_bound=1)
    flags.DEFINE_integer("rows", 8, "Rows of the batch to draw, at most.", lower_bound=1)
    flags.DEFINE_integer("width", pictures.WIDTH, "Pixels of a row's picture.", lower_bound=500)
    flags.DEFINE_bool("details", True, "Tell samples and names of clips in pictures of rows.")
    flags.DEFINE_string("out", None, "Folder for the pictures and the page.")
    flags.mark_flags_as_required(["config", "out"])
    run_command(main, parse_flags)
