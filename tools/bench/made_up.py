"""Writes a catalog of made-up clips, without the clips, to try plans at scale.

    python -m tools.bench.made_up --out=FOLDER --clips=10_000_000

Three in ten clips are images; the others are videos of log-normal length at usual sizes and rates.
Each clip has one or two captions of 20 to 200 tokens of word-like text, and values of motion and
static; one in a hundred is held out. The catalog's tokenizer and shards do not exist.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import flags

from videodit.config import check
from videodit.data.sources.catalog import FILE, SCHEMA, TOKENIZER_KEY
from videodit.entry import run_command

CHUNK = 1 << 18  # clips written at a time
IMAGES = 0.3  # share of the clips
SIZES = ((1280, 720), (1920, 1080), (640, 360), (854, 480), (720, 1280), (1024, 1024), (640, 480))
RATES = (23.976, 24, 25, 29.97, 30, 60)
SECONDS = (4.0, 0.8)  # length of a video: median, and std of the logarithm
CAPTION_TOKENS = (20, 200)
WORD_TOKENS = 1.3  # tokens of a word on average
CAPTIONS = 20_000  # different captions


def write(folder: str | os.PathLike, clips: int, seed: int = 0) -> None:
    """Writes `folder`/catalog.parquet, a function of (clips, seed) alone. Raises ConfigError."""
    check(clips >= 1, "clips", clips, "at least 1")
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = SCHEMA.with_metadata({TOKENIZER_KEY: b"made up"})
    texts, tokens = _captions(np.random.default_rng((seed, 0)))
    with pq.ParquetWriter(path, schema, use_dictionary=["shard", "split"]) as writer:
        for chunk, start in enumerate(range(0, clips, CHUNK)):
            rows = np.arange(start, min(start + CHUNK, clips))
            rng = np.random.default_rng((seed, 1, chunk))
            writer.write_table(_chunk(rows, rng, texts, tokens, schema))


def _captions(rng: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    """Texts of captions, and the number of tokens of each."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(5000)])
    tokens = rng.integers(CAPTION_TOKENS[0], CAPTION_TOKENS[1] + 1, CAPTIONS, np.int32)
    counts = (tokens / WORD_TOKENS).astype(int)
    return pa.array([" ".join(rng.choice(words, count)) for count in counts]), tokens


def _chunk(
    rows: np.ndarray,
    rng: np.random.Generator,
    texts: pa.Array,
    tokens: np.ndarray,
    schema: pa.Schema,
) -> pa.Table:
    """The rows of the catalog with these numbers."""
    n = len(rows)
    image = rng.random(n) < IMAGES
    width, height = np.array(SIZES, np.int32)[rng.integers(len(SIZES), size=n)].T
    fps = np.array(RATES, np.float32)[rng.integers(len(RATES), size=n)]
    seconds = np.exp(rng.normal(np.log(SECONDS[0]), SECONDS[1], n))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 3, n))]).astype(np.int32)
    caption = rng.integers(CAPTIONS, size=offsets[-1])
    columns = {
        "ids": [f"clip {i:09d}" for i in rows.tolist()],
        "shard": [f"{i // 1000:06d}.array_record" for i in rows.tolist()],
        "index": rows % 1000,
        "width": width,
        "height": height,
        "frames": np.where(image, 1, np.maximum(2, seconds * fps)).astype(np.int32),
        "fps": fps,
        "captions": pa.ListArray.from_arrays(offsets, texts.take(pa.array(caption))),
        "text_tokens": pa.ListArray.from_arrays(offsets, tokens[caption]),
        "split": np.where(rng.random(n) < 0.01, "val", "train"),
        "motion": np.where(image, 0, rng.gamma(2, 0.02, n)),
        "static": np.where(image, 0, rng.beta(1, 2, n)),
    }
    arrays = []
    for name, field in zip(columns, schema):
        plain = pa.string() if pa.types.is_dictionary(field.type) else field.type
        arrays.append(pa.array(columns[name]).cast(plain).cast(field.type))
    return pa.table(arrays, schema=schema)


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    write(flags.FLAGS.out, flags.FLAGS.clips)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder of the catalog", required=True)
    flags.DEFINE_integer("clips", 10_000_000, "how many")
    run_command(main)
