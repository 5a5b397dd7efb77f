"""The report on an autoencoder as a page, with pictures and videos."""

import base64
import html
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from videodit.data import patches
from videodit.data.video.files import write_video
from videodit.eval import quality
from videodit.eval.charts import BLUE, Series, line_chart
from videodit.eval.page import STYLE, video
from videodit.eval.scores import OURS, HeldOutClip, Scored

ERROR_SCALE = 4  # factor by which the pictures brighten errors
PICTURE_SIDE = 288  # pixels: longer side up to which small frames are enlarged, by whole factors
GAP, TITLE = 6, 22  # pixels
SHOWN = 6  # clips
TABLES = """
table.wide { max-width: none; } th { text-align: right; font-weight: 600; font-size: 13px;
  color: #64748b; padding: 5px 0 5px 16px; border-bottom: 1px solid #e2e8f0;
  vertical-align: bottom; }
th:first-child { text-align: left; padding-left: 0; } td + td { padding-left: 16px; }
tr.ours td { font-weight: 600; color: #1d4ed8; }
.scroll { overflow-x: auto; } img { max-width: 100%; display: block; border-radius: 8px; }
.group + .group { margin-top: 12px; } .shown { display: flex; flex-wrap: wrap; gap: 20px; }
.shown img { max-width: min(100%, 640px); object-fit: contain; align-self: flex-start; }
.shown .clip video { height: auto; max-width: min(100%, 582px); }
"""
MEASURES = {  # name in the report -> name in the table, digits
    "psnr": ("PSNR (dB)", 2),
    "gain": ("over PCA (dB)", 2),
    "ssim": ("SSIM", 4),
    "multiscale_ssim": ("MS-SSIM", 4),
    "flicker": ("flicker (levels)", 2),
    "perceptual": ("perceptual", 4),
    "frechet": ("Fréchet", 4),
    "bits_per_pixel": ("bits/pixel", 3),
}
NOTES = (
    "Values are means over clips; the Fréchet distance is of all clips together. Higher is "
    "better for PSNR, SSIM and MS-SSIM, lower for flicker (mean absolute error, in levels of "
    "255, of the change from frame to frame), perceptual and Fréchet. SSIM: Gaussian window of "
    "11 pixels, each colour. MS-SSIM: five scales; frames of less than 176 pixels have fewer "
    "(48: three). PCA and 3D DCT code each patch in as many values as the autoencoder and are "
    "fitted to training clips. Bits per pixel assume 8 bits for each value, to which nothing is "
    "rounded here. H.264 (x264, 4:4:4) may take as many; the table says what it took."
)


def choose(scored: Sequence[Scored]) -> list[Scored]:
    """SHOWN clips: the first one of every size, largest size first, then the second ones."""
    by_size: dict[patches.Size, list[Scored]] = {}
    for one in scored:
        by_size.setdefault(one.size, []).append(one)
    largest_first = sorted(by_size, key=math.prod, reverse=True)
    turns = itertools.zip_longest(*(by_size[size] for size in largest_first))
    return [one for turn in turns for one in turn if one][:SHOWN]


def enlarge(frames: np.ndarray) -> np.ndarray:
    """T H W 3, enlarged by the whole factor that brings the longer side up to PICTURE_SIDE."""
    factor = max(1, PICTURE_SIDE // max(frames.shape[1:3]))
    return frames.repeat(factor, 1).repeat(factor, 2)


def picture(original: np.ndarray, output: np.ndarray) -> Image.Image:
    """First, middle and last frame of both clips (T H W 3 uint8), and ERROR_SCALE x the error."""
    shown = sorted({0, len(original) // 2, len(original) - 1})
    error = np.abs(original[shown].astype(int) - output[shown]) * ERROR_SCALE
    columns = [original[shown], output[shown], np.minimum(error, 255).astype(np.uint8)]
    titles = ["original", "reconstruction", f"{ERROR_SCALE} x error"]
    columns = [enlarge(column) for column in columns]
    _, height, width, _ = columns[0].shape
    size = 3 * (width + GAP) - GAP, TITLE + len(shown) * (height + GAP) - GAP
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, (title, frames) in enumerate(zip(titles, columns)):
        left = i * (width + GAP)
        pen.text((left, 2), title, fill="#0f172a", font=font)
        for row, frame in enumerate(frames):
            sheet.paste(Image.fromarray(frame), (left, TITLE + row * (height + GAP)))
    return sheet


def halves(original: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Original and reconstruction side by side: T H W 3 uint8."""
    left, right = enlarge(original), enlarge(output)
    gap = np.full((*left.shape[:2], GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=2)


def write_pictures(
    out: Path, coded: Iterable[tuple[HeldOutClip, np.ndarray]]
) -> list[dict[str, Any]]:
    """Writes clip_N.png for each clip and its reconstruction, and clip_N.mp4 for those that move.

    Returns the names of the files, captions and PSNR, for the page.
    """
    items = []
    for i, (clip, output) in enumerate(coded):
        count, height, width, _ = clip.frames.shape
        item: dict[str, Any] = {"picture": f"clip_{i}.png"}
        item["psnr"] = quality.psnr(clip.frames, output)
        item["caption"] = f"{clip.name}: {width}×{height}, {count} frames"
        picture(clip.frames, output).save(out / item["picture"])
        if count > 1:
            item["video"] = f"clip_{i}.mp4"
            write_video(out / item["video"], halves(clip.frames, output), clip.fps)
        items.append(item)
    return items


def page(out: Path, report: dict[str, Any]) -> str:
    """The report (eval/autoencoder_report.py) as HTML text; pictures are read from `out`."""
    body = [
        _tiles(report),
        _coders_section(report),
        _bins_section(report["bins"]),
        _shapes_section(report.get("shapes", [])),
        _seams_section(report.get("seams")),
        _streaming_section(report.get("streaming")),
        _pictures_section(out, report["pictures"]),
    ]
    title = f"Autoencoder {report['autoencoder']['workdir']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{TABLES}</style></head><body><main><h1>Autoencoder</h1>"
        f"<p>{html.escape(_introduction(report))}</p>{''.join(body)}</main></body></html>"
    )


def _introduction(report: dict[str, Any]) -> str:
    """One sentence on the model and the clips."""
    model, counts = report["autoencoder"], report["counts"]
    patch = "×".join(map(str, model["patch"]))
    return (
        f"{model['workdir']}: size {model['size']}, patches of {patch} (frames, height, width) in "
        f"{model['channels']} values. Held-out clips of {report['data']}: "
        f"{counts['clips']}, {counts['frames']} frames, {counts['latent_values']:,} latent values; "
        f"baselines fitted to {counts['fitted_clips']} training clips."
    )


def _tiles(report: dict[str, Any]) -> str:
    """The figures to see first."""
    ours, pca = report["coders"][OURS], report["coders"]["PCA"]
    error = f" ± {_number(ours['gain_stderr'], 2)}" if ours["gain_stderr"] is not None else ""
    cards = [
        ("reconstruction", f"{_number(ours['psnr'], 2)} dB", f"PCA {_number(pca['psnr'], 2)} dB"),
        ("over PCA", f"{_number(ours['gain'], 2)} dB{error}", "mean over clips, standard error"),
        ("SSIM", _number(ours["ssim"], 4), f"MS-SSIM {_number(ours['multiscale_ssim'], 4)}"),
        (
            "flicker",
            _number(ours["flicker"], 2),
            f"PCA {_number(pca['flicker'], 2)}, levels of 255",
        ),
    ]
    cells = [f"<div><small>{a}</small><b>{b}</b><small>{c}</small></div>" for a, b, c in cards]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _coders_section(report: dict[str, Any]) -> str:
    """The table of all coders."""
    rows = [
        [name, *(_number(row.get(key), digits) for key, (_, digits) in MEASURES.items())]
        for name, row in report["coders"].items()
    ]
    features = report["features"]
    named = f"Perceptual: {features['perceptual']}. Fréchet distance of {features['frechet']}."
    return (
        "<h2>Beside other codes of as many values</h2>"
        f"{_table(['', *(label for label, _ in MEASURES.values())], rows)}"
        f"<p><small>{html.escape(named)} {NOTES}</small></p>"
    )


def _bins_section(bins: list[dict[str, Any]]) -> str:
    """The table by resolution and duration."""
    coders = list(bins[0]["coders"])
    heads = ["", "clips", *(f"{name} (dB)" for name in coders)]
    heads += ["over PCA", "SSIM", "MS-SSIM", "flicker"]
    rows = []
    for one in bins:
        ours = one["coders"][OURS]
        psnr = [_number(one["coders"][name]["psnr"], 2) for name in coders]
        others = [("gain", 2), ("ssim", 4), ("multiscale_ssim", 4), ("flicker", 2)]
        rows.append([one["bin"], one["clips"], *psnr, *(_number(ours[k], n) for k, n in others)])
    note = "The side is the root of width times height. Measures but PSNR are the autoencoder's."
    return f"<h2>By resolution and duration</h2>{_table(heads, rows)}<p><small>{note}</small></p>"


def _shapes_section(shapes: list[dict[str, Any]]) -> str:
    """The table of other shapes; "" without any."""
    if not shapes:
        return ""
    first = shapes[0]
    heads = ["", "clips", "PSNR (dB)", f"against {first['shape']}", "PCA (dB)", "over PCA"]
    heads += [f"in pieces of {first['shape']} (dB)", "lost against pieces"]
    rows = []
    for one in shapes:
        psnr, pca, pieces = one["psnr"], one["psnr_pca"], one["psnr_pieces"]
        figures = [psnr, psnr - first["psnr"], pca, psnr - pca, pieces, pieces - psnr]
        rows.append([one["shape"], one["clips"], *(_number(x, 2) for x in figures)])
    note = (
        "Clips of another shape show other pixels, finer or coarser ones. So the last columns code "
        "the same pixels in pieces of the first shape, put side by side: what is lost against them "
        "is what the shape costs."
    )
    return f"<h2>Other shapes</h2>{_table(heads, rows)}<p><small>{note}</small></p>"


def _seams_section(seams: dict[str, Any] | None) -> str:
    """The table of seams; "" without tiles."""
    if not seams:
        return ""
    places = ("", "_seams", "_elsewhere")
    rows = [
        [name, *(_number(seams[key + place], 2) for place in places)]
        for name, key in {"in one piece": "whole", "in tiles": "tiled"}.items()
    ]
    lost = [_number(seams["whole" + place] - seams["tiled" + place], 2) for place in places]
    note = (
        f"{seams['clip']}, in tiles of {seams['tile']} pixels that overlap by {seams['overlap']}; "
        f"seams are where tiles overlap, {seams['seam_share']:.0%} of the pixels."
    )
    heads = ["PSNR (dB)", "all pixels", "at seams", "elsewhere"]
    table = _table(heads, [*rows, ["lost by tiling", *lost]])
    return f"<h2>Tiles</h2>{table}<p><small>{html.escape(note)}</small></p>"


def _streaming_section(streaming: dict[str, Any] | None) -> str:
    """Time and memory of streaming; "" if they were not measured."""
    if not streaming:
        return ""
    costs = [(float(n), 1000 * s) for n, s in streaming["seconds_per_frame"].items()]
    chart = line_chart(
        [Series("wall time of encoding and decoding, least of several", costs, BLUE, marked=True)],
        x_label="frames",
        y_label="milliseconds a frame",
    )
    first = costs[0][1]
    rows = [[f"{n:g} frames", _number(ms, 2), f"{ms / first:.2f}"] for n, ms in costs]
    table = _table(["", "ms a frame", f"against {costs[0][0]:g} frames"], rows)
    memory = streaming["peak_memory"]
    places = list(next(iter(memory.values())))
    lines = [
        [f"{n} frames", *(f"{found[place] / 2**20:,.0f} MiB" for place in places)]
        for n, found in memory.items()
    ]
    (few, least), *_, (many, most) = memory.items()
    ratios = [f"{most[place] / least[place]:.3f}" for place in places]
    lines.append([f"{many} against {few}", *ratios])
    table_memory = _table(["most memory of a process", *places], lines)
    return (
        f"<h2>Streaming</h2><p>Frames of {streaming['size']} pixels, encoded and decoded one chunk "
        "after the other; the first frame takes a chunk of its own. Time is wall time: what "
        "else the machine did is included.</p>"
        f'<div class="charts">{chart}<div>{table}<br>{table_memory}</div></div>'
    )


def _pictures_section(out: Path, items: list[dict[str, Any]]) -> str:
    """Pictures and videos of some clips."""
    groups = []
    for item in items:
        data = base64.b64encode((out / item["picture"]).read_bytes()).decode()
        shown = f'<img alt="" src="data:image/png;base64,{data}">'
        if "video" in item:
            shown += video(out / item["video"], "original | reconstruction")
        text = f"{html.escape(item['caption'])}, {_number(item['psnr'], 2)} dB"
        groups.append(f'<div class="group"><div class="shown">{shown}</div><p>{text}</p></div>')
    return f"<h2>Held-out clips</h2>{''.join(groups)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    lines = []
    for row in rows:
        mark = ' class="ours"' if row[0] == OURS else ""
        lines.append(
            f"<tr{mark}>" + "".join(f"<td>{html.escape(str(x))}</td>" for x in row) + "</tr>"
        )
    return f'<div class="scroll"><table class="wide"><tr>{top}</tr>{"".join(lines)}</table></div>'


def _number(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00
