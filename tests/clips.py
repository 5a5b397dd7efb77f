"""Catalogs of made-up clips, for tests of what is planned from a catalog alone."""

import numpy as np

from videodit.data.sources.catalog import Catalog


def made_up(clips, *, seed=0, val=0, **columns):
    """Small clips of 1 to 9 frames with one to three captions, the first `val` held out."""
    rng = np.random.default_rng(seed)
    width, height = rng.choice([16, 24, 32], clips), rng.choice([16, 24, 32, 40], clips)
    texts = [tuple(rng.integers(2, 12, rng.integers(1, 4)).tolist()) for _ in range(clips)]
    made = dict(
        ids=[f"clip{i}" for i in range(clips)],
        shard=["shard"] * clips,
        index=np.arange(clips, dtype=np.int32),
        width=width.astype(np.int32),
        height=height.astype(np.int32),
        frames=rng.choice([1, 1, 5, 9], clips).astype(np.int32),
        fps=np.full(clips, 8, np.float32),
        captions=[tuple("x" * n for n in counts) for counts in texts],
        caption_lengths=texts,
        split=np.array(["val"] * val + ["train"] * (clips - val), object),
        tokenizer="",
    )
    return Catalog(**made | columns)
