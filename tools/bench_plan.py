"""How full the packing plan's rows are, and how fast it is made: `python -m tools.bench_plan`.

The clips are a mixture as it is met in pretraining: three in ten are images of 64 to 1024 tokens,
the others are clips of log-normal length, 1500 tokens in the middle and at most a whole row.
"""

import time

import numpy as np
from absl import app, flags

from videodit.config import DataConfig
from videodit.data.catalog import Catalog
from videodit.data.plan import Plan

CLIPS = flags.DEFINE_integer("clips", 200_000, "clips of the catalog")
ROW_TOKENS = flags.DEFINE_integer("row_tokens", 16384, "vision tokens of a row")
TEXT_TOKENS = flags.DEFINE_integer("text_tokens", 4096, "text tokens of a row")
MAX_SEGMENTS = flags.DEFINE_integer("max_segments", 64, "clips of a row")


def mixture(clips: int, longest: int) -> Catalog:
    """A catalog of clips of 64..`longest` tokens in patches of one pixel, with two captions."""
    rng = np.random.default_rng(0)
    videos = np.exp(rng.normal(np.log(1500), 1.1, clips)).clip(64, longest)
    lengths = np.where(
        rng.random(clips) < 0.3, rng.choice([64, 144, 256, 576, 1024], clips), videos
    )
    return Catalog(
        ids=np.arange(clips).astype(str),
        shard=np.full(clips, "shard"),
        index=np.arange(clips),
        width=lengths.astype(np.int64),
        height=np.ones(clips, np.int64),
        frames=np.ones(clips, np.int64),
        fps=np.ones(clips),
        captions=[("", "")] * clips,
        text_tokens=list(map(tuple, rng.integers(8, 120, (clips, 2)).tolist())),
        split=np.full(clips, "train"),
        tokenizer="",
    )


def bench(catalog: Catalog, rows_per_window: int) -> str:
    """One line of the report: plans the catalog's first epoch window by window."""
    cfg = DataConfig(
        row_tokens=ROW_TOKENS.value,
        text_tokens=TEXT_TOKENS.value,
        max_segments=MAX_SEGMENTS.value,
        batch_rows=rows_per_window,
        rows_per_window=rows_per_window,
    )
    start = time.process_time()
    plan = Plan(catalog, cfg, seed=0, patch=(1, 1, 1))
    made = time.process_time()
    clips = step = 0
    while plan.rows(step)[0][0].sample_id < len(catalog):
        clips, step = clips + sum(map(len, plan.rows(step))), step + 1
    seconds = time.process_time() - made
    return (
        f"{rows_per_window:5d} rows a window: fill {plan.fill(range(step)):.4f}, "
        f"target {plan.target:.3f}, left over {1 - clips / len(catalog):.4f}, "
        f"{clips / seconds / 1e3:.0f}k clips/s of CPU time, made in {made - start:.2f} s"
    )


def main(_):
    catalog = mixture(CLIPS.value, ROW_TOKENS.value)
    for rows_per_window in (16, 64, 256, 1024):
        print(bench(catalog, rows_per_window), flush=True)


if __name__ == "__main__":
    app.run(main)
