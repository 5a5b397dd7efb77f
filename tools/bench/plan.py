"""How full the plan's rows are, how fast a plan is made, and what other schemes do with the clips.

    python -m tools.bench.plan                     # the plan, then padding and buckets
    python -m tools.bench.plan --rows=10_000_000   # time and memory of a catalog of that size

The clips are a typical mixture of pretraining: three in ten are images of 64 to 1024 tokens; the
others are videos of log-normal length with a median of 1500 tokens and at most a whole row.
Captions have 20 to 200 tokens. Times are those of one core.
"""

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

START = time.perf_counter()  # of the process, so that its imports are timed

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from absl import flags  # noqa: E402

from videodit.config import DataConfig, ViewConfig  # noqa: E402
from videodit.data import patches  # noqa: E402
from videodit.data.planning.fitting import fit_decreasing  # noqa: E402
from videodit.data.planning.plan import Plan  # noqa: E402
from videodit.data.sources.catalog import FILE, Catalog  # noqa: E402
from videodit.data.sources.columns import Ragged, Texts  # noqa: E402
from videodit.data.sources.source import ArrayRecordSource  # noqa: E402
from videodit.entry import run_command  # noqa: E402

ROW_TOKENS, MAX_SEGMENTS = 16384, 128
IMAGE_TOKENS = (64, 144, 256, 576, 1024)
IMAGES = 0.3  # share of the clips
CAPTION = (20, 200)  # tokens: least, most
GROUP_ROWS = (64, 256, 1024, 2048)  # values of rows_per_group
BATCH_ROWS = 512  # at most
HOSTS = (8, 64)
LEAST_SHARE = 8  # rows of a host; with fewer, no order of whole rows is balanced

PATCH = (4, 32, 32)  # frames and pixels of a token where clips have sizes
FRAMES = (33, 241)  # of a video with a size: least, most
LEAST_AREA = 16  # tokens of a frame of such a video
ASPECT = 3.0  # largest width over height; the least is its inverse
PADDED = 8  # clips that are padded to the longest of them

# Areas in pixels and frame counts of Open-Sora's training buckets: configs/opensora-v1-2/train/
# stage1.py and configs/diffusion/train/stage1.py of github.com/hpcaitech/Open-Sora. Buckets that
# its tables never choose are left out, and each clip gets the largest bucket that it fills.
OPEN_SORA_1 = {
    256 * 144: (1, 32, 48, 96, 192),
    256 * 256: (1, 32, 48, 64),
    426 * 240: (1, 32, 48, 64),
    640 * 360: (1, 32),
    512 * 512: (1, 32),
    854 * 480: (1, 16),
    1280 * 720: (1,),
    1024 * 1024: (1,),
    1920 * 1080: (1,),
}
OPEN_SORA_2 = {256 * 256: tuple(range(1, 130, 4)), 768 * 768: (1,), 1024 * 1024: (1,)}
# Values of height over width for every area; and the least share of a bucket that a clip has.
ASPECTS = (0.39, 0.42, 0.48, 0.5, 0.52, 0.56, 0.66, 0.75, 1, 1.33, 1.52, 1.78, 1.92, 2, 2.1)
SLACK = 0.8


def lengths(clips: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of each clip (n int64), and whether it is an image (n bool)."""
    videos = np.exp(rng.normal(np.log(1500), 1.1, clips)).clip(64, ROW_TOKENS)
    image = rng.random(clips) < IMAGES
    return np.where(image, rng.choice(IMAGE_TOKENS, clips), videos).astype(np.int64), image


def sizes(tokens: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames, height and width (n 3 int64) of clips of about this many tokens, but not more."""
    uniform = lambda least, most: np.exp(rng.uniform(np.log(least), np.log(most), len(tokens)))
    most = np.maximum(tokens // LEAST_AREA, 1)
    time = np.where(image, 1, patches.grid(uniform(*FRAMES).astype(int), 1, 1, PATCH)[0])
    time = np.minimum(time, most)
    area = tokens // time
    width = np.maximum(np.sqrt(area * uniform(1 / ASPECT, ASPECT)).round().astype(int), 1)
    cells = np.stack([time, area // width, width], 1)
    return (cells - [1, 0, 0]) * PATCH + [1, 0, 0]


def catalog_of(
    frames: np.ndarray, height: np.ndarray, width: np.ndarray, captions: np.ndarray
) -> Catalog:
    """A catalog of clips of these sizes; `captions` are the tokens of the caption of each."""
    n = len(captions)
    return Catalog(
        ids=Texts.of([""] * n, pa.string()),
        shard=Texts.of([""] * n, pa.string()),
        index=np.zeros(n, np.int32),
        width=width.astype(np.int32),
        height=height.astype(np.int32),
        frames=frames.astype(np.int32),
        fps=np.full(n, 24, np.float32),
        captions=Texts.of([("",)] * n, pa.list_(pa.string())),
        caption_lengths=Ragged.of(captions[:, None].tolist()),
        split=np.full(n, "train"),
        tokenizer="",
    )


# The plan.


def bench(catalog: Catalog, rows_per_group: int, text_tokens: int) -> str:
    """A line of the report on one epoch of clips; a token is a pixel."""
    cfg = DataConfig(
        row_tokens=ROW_TOKENS,
        text_tokens=text_tokens,
        max_segments=MAX_SEGMENTS,
        batch_rows=min(BATCH_ROWS, rows_per_group),
        rows_per_group=rows_per_group,
    )
    start = time.process_time()
    plan = Plan(catalog, cfg, seed=0, patch=(1, 1, 1))
    made, placed, spent, figures = time.process_time() - start, 0, 0.0, []
    for step in itertools.count():
        start = time.process_time()
        rows = plan.rows(step)
        spent += time.process_time() - start
        placed += sum(map(len, rows))
        figures.append(_figures(plan, step))
        if rows[0][0].sample_id >= len(catalog):
            break
    fill, text_fill, left_over, *imbalance = np.mean(figures, 0)
    return (
        f"{rows_per_group:6d}{fill:9.2%}{plan.cfg.text_tokens:7d}{text_fill:9.1%}{left_over:11.2%}"
        f"{packing_speed(plan):10,.0f}{placed / spent:10,.0f}{made:9.2f}"
        + "".join(
            f"{value:9.4f}" if cfg.batch_rows >= hosts * LEAST_SHARE else f"{'-':>9s}"
            for hosts, value in zip(HOSTS, imbalance)
        )
    )


def _figures(plan: Plan, step: int) -> list[float]:
    """Fill of the vision rows, fill of the text rows, share left over, and imbalances of HOSTS."""
    imbalance = [plan.metrics(step, hosts)["imbalance"] for hosts in HOSTS]
    left_over = plan.metrics(step)["left_over"]
    return [plan.fill([step]), plan.text_fill([step]), left_over, *imbalance]


def packing_speed(plan: Plan, seconds: float = 0.5) -> float:
    """Clips that the packer alone places in a second of CPU time, on the plan's groups."""
    names = ("row_tokens", "text_tokens", "max_segments")
    capacity = {name: getattr(plan.cfg, name) for name in names}
    steps, rng = plan.cfg.rows_per_group // plan.cfg.batch_rows, np.random.default_rng(0)
    placed, spent, first = 0, 0.0, 0
    while spent <= seconds:
        clips = [clip for step in range(first, first + steps) for clip in plan.lengths(step)]
        keep, _, text = rng.permutation(clips).T.tolist()
        start = time.process_time()
        fit_decreasing(keep, text, **capacity, rows=plan.cfg.rows_per_group)
        spent += time.process_time() - start
        placed += len(clips)
        first += steps
    return placed / spent


# What others do with the same clips.


class Scheme(NamedTuple):
    """A way to make batches of clips, and shares that it reaches over an epoch."""

    name: str
    useful: float  # share of the computed tokens that show a clip
    kept: float  # share of the clips' own tokens that are computed
    used: float  # share of the clips that are in a batch at all
    shapes: int  # number of compiled shapes


def packed(catalog: Catalog) -> Scheme:
    """The plan's rows. Clips that are left over come in the next epoch, so nothing is lost."""
    cfg = DataConfig(
        row_tokens=ROW_TOKENS,
        text_tokens=0,
        max_segments=MAX_SEGMENTS,
        batch_rows=BATCH_ROWS,
        rows_per_group=GROUP_ROWS[-1],
    )
    plan, steps = Plan(catalog, cfg, 0, PATCH), GROUP_ROWS[-1] // BATCH_ROWS
    return Scheme("packed rows (videodit)", plan.fill(range(8 * steps)), 1.0, 1.0, 1)


def padded_to_longest(tokens: np.ndarray) -> Scheme:
    """Batches of PADDED clips in the order given; a last batch that is not full is left out."""
    batches = tokens[: len(tokens) // PADDED * PADDED].reshape(-1, PADDED)
    longest = batches.max(1)
    useful = batches.sum() / (PADDED * longest.sum())
    return Scheme(f"padded to the longest of {PADDED}", useful, 1.0, 1.0, len(np.unique(longest)))


def padded_to_powers(tokens: np.ndarray) -> Scheme:
    """Each clip is padded to a power of two and batched with clips of the same length."""
    room = 2 ** np.ceil(np.log2(tokens)).astype(int)
    useful = tokens.sum() / room.sum()
    return Scheme("power-of-two buckets", useful, 1.0, 1.0, len(np.unique(room)))


def bucketed(
    name: str,
    table: dict[int, tuple[int, ...]],
    frames: np.ndarray,
    height: np.ndarray,
    width: np.ndarray,
    slack: float = SLACK,
) -> Scheme:
    """Each clip is scaled, cropped and cut to a bucket of `table`: area in pixels -> frame counts.

    A clip's bucket has the largest area of which the clip has at least `slack`, then the largest
    frame count that the clip has, then the nearest of ASPECTS, in whole patches. If a clip is
    enlarged, only as many tokens count as useful as it has at its own size.
    """
    own = np.prod(patches.grid(frames, height, width, PATCH), 0)
    computed, free, shapes = np.zeros(len(own)), np.ones(len(own), bool), 0
    aspect = np.abs((height / width)[:, None] - ASPECTS).argmin(1)
    for area in sorted(table, reverse=True):
        for count in sorted(table[area], reverse=True):
            long_enough = frames >= count if count > 1 else frames == 1
            chosen = free & (height * width >= slack * area) & long_enough
            free &= ~chosen
            for n in np.unique(aspect[chosen]):
                computed[chosen & (aspect == n)] = _bucket_tokens(area, count, ASPECTS[n])
                shapes += 1
    useful = np.minimum(computed, own).sum()
    return Scheme(name, useful / computed.sum(), useful / own.sum(), 1 - free.mean(), shapes)


def _bucket_tokens(area: int, frames: int, aspect: float) -> int:
    """About how many tokens a bucket has whose height over width is `aspect`."""
    rows = round((area * aspect) ** 0.5 / PATCH[1])
    columns = round((area / aspect) ** 0.5 / PATCH[2])
    return patches.grid(frames, 1, 1, PATCH)[0] * rows * columns


def compare(clips: int) -> list[Scheme]:
    """All schemes on the same clips."""
    rng = np.random.default_rng(1)
    frames, height, width = sizes(*lengths(clips, rng), rng).T
    tokens = np.prod(patches.grid(frames, height, width, PATCH), 0)
    captions = rng.integers(CAPTION[0], CAPTION[1] + 1, clips)
    return [
        packed(catalog_of(frames, height, width, captions)),
        padded_to_longest(tokens),
        padded_to_powers(tokens),
        bucketed("buckets of Open-Sora 1.2", OPEN_SORA_1, frames, height, width),
        bucketed("buckets of Open-Sora 2.0", OPEN_SORA_2, frames, height, width),
    ]


# A large catalog.


def bench_large(rows: int, folder: Path) -> None:
    """Prints time and memory of this process as it opens a catalog and plans a first and a late
    batch. The catalog is made in `folder` if it is not there, by a process of its own.
    """
    if not (folder / FILE).exists():
        command = [
            sys.executable,
            "-m",
            "tools.bench.made_up",
            f"--out={folder}",
            f"--clips={rows}",
        ]
        subprocess.run(command, check=True)
    views = ViewConfig(sides=((0, 96, 192),), seconds=((0, 0.5, 2.0),), rates=((0, 12.0, 24.0),))
    cfg = DataConfig(
        row_tokens=ROW_TOKENS,
        text_tokens=0,
        max_segments=MAX_SEGMENTS,
        batch_rows=BATCH_ROWS,
        rows_per_group=GROUP_ROWS[-1],
        views=views,
    )
    said("started", START)
    start = time.perf_counter()
    source = ArrayRecordSource(folder)
    said(f"opened {len(source.catalog):,} clips", start)
    start = time.perf_counter()
    plan = Plan(source.catalog, cfg, seed=0, patch=(4, 8, 8), parts=source.parts)
    plan.rows(0)
    said("planned the first batch", start)
    start = time.perf_counter()
    plan.rows(1_000_003)
    said("planned the batch of step 1,000,003", start)


def said(what: str, start: float) -> None:
    """Prints how long something took, and the peak memory of the process so far."""
    now, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{what}: {now - start:.2f} s ({now - START:.2f} s after the start), at most "
        f"{memory / 2**20:.2f} GiB of memory",
        flush=True,
    )


def report(clips: int) -> None:
    """Prints what the plan and other schemes make of the mixture."""
    rng = np.random.default_rng(0)
    tokens, _ = lengths(clips, rng)
    captions = rng.integers(CAPTION[0], CAPTION[1] + 1, clips)
    one = np.ones_like(tokens)
    for title, texts, text_tokens in (
        ("captions of one token", one, MAX_SEGMENTS),
        (f"captions of {CAPTION[0]} to {CAPTION[1]} tokens, S chosen", captions, 0),
    ):
        print(f"{clips:,} clips, {title}; clips/s of CPU time; heaviest of {HOSTS} hosts over mean")
        names = ("fill", 9), ("S", 7), ("text", 9), ("left over", 11), ("packing", 10), ("plan", 10)
        print(
            "  rows" + "".join(f"{name:>{width}}" for name, width in (*names, ("made, s", 9))),
            end="",
        )
        print("".join(f"{hosts:9d}" for hosts in HOSTS))
        catalog = catalog_of(one, one, tokens, texts)
        for rows_per_group in GROUP_ROWS:
            print(bench(catalog, rows_per_group, text_tokens), flush=True)
    print(f"\nsuch clips with sizes, in patches of {PATCH}; shares of tokens, and of clips in use")
    print(f"{'':28s}{'useful/computed':>16s}{'useful/own':>12s}{'clips':>9s}{'shapes':>8s}")
    for s in compare(clips):
        print(f"{s.name:28s}{s.useful:16.2%}{s.kept:12.2%}{s.used:9.2%}{s.shapes:8d}")


def main(_: list[str]) -> None:
    """Runs the command line."""
    if not flags.FLAGS.rows:
        return report(flags.FLAGS.clips)
    folder = flags.FLAGS.folder or Path(tempfile.gettempdir()) / f"made_up_{flags.FLAGS.rows}"
    bench_large(flags.FLAGS.rows, Path(folder))


if __name__ == "__main__":
    flags.DEFINE_integer("clips", 200_000, "Clips of the mixture.")
    flags.DEFINE_integer("rows", 0, "Clips of a large catalog, to measure that instead.")
    flags.DEFINE_string("folder", "", "Folder of the large catalog, made if it is missing.")
    run_command(main)
