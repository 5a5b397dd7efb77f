"""How fast the loader is, and how long a trainer would wait for it.

    python -m tools.bench.loader --config=configs/dit_xl.py --config.data.catalog=FOLDER
    python -m tools.bench.loader --catalog=FOLDER --workers=4 --vs-decode

`--vs-decode` compares it, in turns, with PyAV alone, which only decodes and resizes the same views
of the same clips of a curated folder, with as many processes (or threads).
"""

import contextlib
import dataclasses
import hashlib
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from absl import flags
from absl import logging as absl_logging
from array_record.python.array_record_module import ArrayRecordReader

from videodit.command_line import CONFIG, config_from_flags, parse_flags
from videodit.config import Config, ConfigError, DataConfig, TextConfig
from videodit.data.loader import host_batches, make_reader, train_batches
from videodit.data.packing import HostBatch, PackedBatch, row_of
from videodit.data.planning.plan import Plan, Row
from videodit.data.reading import Reader
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.video.files import View
from videodit.data.workers import Pool
from videodit.entry import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("catalog", "", "Folder made by tools.curate, instead of --config.")
flags.DEFINE_integer("row_tokens", 4096, "With --catalog: vision tokens of a row.")
flags.DEFINE_integer("batch_rows", 4, "With --catalog: rows of a batch.")
flags.DEFINE_integer("workers", None, "Decoding processes (default: the config's).")
flags.DEFINE_integer("threads", None, "Decoding threads without processes (default: the config's).")
flags.DEFINE_float("seconds", 20.0, "About how long each part is measured.")
flags.DEFINE_float("step_seconds", 0.5, "Time of the trainer's step.")
flags.DEFINE_integer("digests", 0, "Only print the content hashes of so many batches.")
flags.DEFINE_bool("vs-decode", False, "Compare with PyAV alone.")

ROUNDS = 6  # of the comparison; each times both sides, in alternating order


class Bench:
    """The opened data of a config."""

    def __init__(self, cfg: Config) -> None:
        """Opens the source and makes the plan. Raises ConfigError."""
        self.patch, start = cfg.autoencoder.patch, time.perf_counter()
        self.tokenizer = open_tokenizer(cfg.text.workdir)
        self.source = open_source(cfg.data, self.tokenizer)
        opened = time.perf_counter()
        self.plan = Plan(
            self.source.catalog,
            cfg.data,
            cfg.seed,
            self.patch,
            self.source.parts,
            chunk=cfg.autoencoder.chunk,
        )
        self.cfg = self.plan.cfg
        how = f"{self.cfg.workers} processes" if self.cfg.workers else f"{self.cfg.threads} threads"
        print(
            f"{len(self.source.catalog)} clips opened in {opened - start:.2f} s, plan made in "
            f"{time.perf_counter() - opened:.2f} s; batches of {self.cfg.batch_rows} rows of "
            f"{self.cfg.row_tokens} vision and {self.cfg.text_tokens} text tokens; {how}"
        )

    def host_batches(self, steps: range, pool: Pool | None = None) -> Iterator[HostBatch]:
        """The global batches of these steps as numpy arrays."""
        return host_batches(
            self.source,
            self.plan,
            self.tokenizer,
            self.patch,
            rows=range(self.cfg.batch_rows),
            start_step=steps.start,
            stop_step=steps.stop,
            pool=pool,
        )

    def train_batches(self) -> Generator[PackedBatch, None, None]:
        """The batches that a trainer gets, on the devices."""
        return train_batches(self.source, self.plan, self.tokenizer, self.patch, start_step=0)

    def reader(self) -> Reader:
        """A reader that fills rows in this process."""
        return make_reader(self.source, self.plan, self.tokenizer, self.patch)

    def rows(self, steps: range) -> list[Row]:
        """The rows of these steps."""
        return [row for step in steps for row in self.plan.rows(step)]


def digest(batch: HostBatch) -> str:
    """A hash of everything in a batch: 16 hexadecimal digits."""
    content = hashlib.sha256()
    for values in batch:
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()[:16]


def throughput(bench: Bench, seconds: float) -> str:
    """Tokens and clips a second that a trainer gets whose step takes no time, and the padding."""
    with contextlib.closing(bench.train_batches()) as batches:
        start = time.perf_counter()
        next(batches)
        first = time.perf_counter() - start
        tokens = clips = replaced = count = 0
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            batch = next(batches)
            tokens += int(np.count_nonzero(np.asarray(batch.segment_ids)))
            clips += int(np.count_nonzero(np.asarray(batch.valid)))
            replaced += int(np.count_nonzero(np.asarray(batch.replaced)))
            count += 1
        taken = time.perf_counter() - start
    room = count * bench.cfg.batch_rows * bench.cfg.row_tokens
    return (
        f"first batch after {first:.2f} s, then {tokens / taken:,.0f} vision tokens/s, "
        f"{clips / taken:.1f} clips/s, {count / taken:.2f} batches/s; padding "
        f"{1 - tokens / room:.2%}, {replaced} clips broken"
    )


def waits(bench: Bench, seconds: float, step_seconds: float) -> str:
    """How long a trainer whose step takes `step_seconds` waits for its next batch."""
    with contextlib.closing(bench.train_batches()) as batches:
        next(batches)
        waited = []
        for _ in range(max(4, round(seconds / step_seconds))):
            time.sleep(step_seconds)  # the device works, and the loader has the processor
            start = time.perf_counter()
            next(batches)
            waited.append(time.perf_counter() - start)
    mean = sum(waited) / len(waited)
    return (
        f"a trainer whose step takes {step_seconds:g} s waits {mean:.3f} s a step "
        f"({mean / (mean + step_seconds):.1%} of its time), at most {max(waited):.3f} s, "
        f"over {len(waited)} steps"
    )


def shares(bench: Bench, seconds: float) -> str:
    """How one thread divides its time between reading clips and filling rows with them."""
    reader, spent = bench.reader(), 0.0

    class TimedSource:
        catalog = bench.source.catalog

        def read(self, i: int, view: View) -> np.ndarray:
            nonlocal spent
            start = time.perf_counter()
            try:
                return bench.source.read(i, view)
            finally:
                spent += time.perf_counter() - start

    reader = dataclasses.replace(reader, source=TimedSource())
    start, rows = time.perf_counter(), 0
    for step in itertools.count():
        for row in bench.plan.rows(step):
            out = row_of(reader.empty_batch(1), 0)
            reader.fill(row, out, lambda *_: None)
            rows += 1
        if time.perf_counter() > start + seconds:
            break
    total = time.perf_counter() - start
    return (
        f"of one thread's time, decoding and resizing takes {spent / total:.1%}; planning, masks, "
        f"patchifying and packing {1 - spent / total:.1%} ({1e3 * total / rows:.1f} ms a row)"
    )


def versus_decode(bench: Bench, seconds: float) -> str:
    """The loader's speed over that of PyAV alone on the same rows, round by round."""
    with tempfile.TemporaryDirectory() as folder, _fillers(bench) as (pool, bare):
        encoded: dict[int, str] = {}
        list(bench.host_batches(range(bench.cfg.workers or 1), pool))  # warm: workers, shards
        start = time.perf_counter()
        list(bench.host_batches(range(2), pool))
        steps = max(2, round(seconds * 2 / (time.perf_counter() - start) / ROUNDS / 2))
        ratios = []
        for number in range(ROUNDS):
            part = range(number * steps, (number + 1) * steps)
            tasks = [_task(bench, row, encoded, folder) for row in bench.rows(part)]
            ours = lambda part=part: sum(1 for _ in bench.host_batches(part, pool))
            alone = lambda tasks=tasks: sum(bare.map(decode_alone, tasks))
            both = {"ours": ours, "alone": alone}
            order = sorted(both, reverse=bool(number % 2))
            times = {name: _timed(both[name]) for name in order}
            ratios.append(times["alone"] / times["ours"])
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return (
        f"the loader has {np.exp(np.mean(np.log(ratios))):.3f} of the speed of PyAV alone "
        f"(rounds of {steps} batches: {each})"
    )


def decode_alone(task: list[tuple[str, View, float]]) -> int:
    """Decodes and resizes views of files with PyAV alone; returns the number of frames."""
    return sum(len(_decode(*clip)) for clip in task)


def _decode(file: str, view: View, fps: float) -> list[np.ndarray]:
    wanted = set(range(view.start, view.start + view.stride * view.frames, view.stride))
    resize = av.video.reformatter.VideoReformatter()
    frames = []
    with av.open(file) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if view.start:
            container.seek(int(view.start / fps / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if round(float(frame.pts * stream.time_base) * fps) in wanted:
                small = resize.reformat(
                    frame, view.width, view.height, "rgb24", interpolation="AREA"
                )
                frames.append(small.to_ndarray())
                if len(frames) == view.frames:
                    break
    return frames


@contextlib.contextmanager
def _fillers(bench: Bench) -> Iterator[tuple[Pool | None, Executor]]:
    """Running workers: a pool for the loader (None for threads), an executor for PyAV alone."""
    workers = bench.cfg.workers
    pool = Pool(bench.reader()) if workers else None
    context = multiprocessing.get_context("spawn")
    bare: Executor = (
        ProcessPoolExecutor(workers, context) if workers else ThreadPoolExecutor(bench.cfg.threads)
    )
    with bare, contextlib.closing(pool) if pool else contextlib.nullcontext():
        list(bare.map(decode_alone, [[] for _ in range(4 * (workers or 1))]))  # starts them
        yield pool, bare


def _task(
    bench: Bench, row: Row, encoded: dict[int, str], folder: str
) -> list[tuple[str, View, float]]:
    """A row for `decode_alone`; each of its clips is written to a file."""
    catalog = bench.source.catalog
    for clip in {placed.clip for placed in row} - encoded.keys():
        shard = Path(bench.cfg.catalog) / str(catalog.shard[clip])
        encoded[clip] = str(Path(folder) / f"{clip}.mp4")
        reader = ArrayRecordReader(str(shard))
        Path(encoded[clip]).write_bytes(reader.read([int(catalog.index[clip])])[0])
        reader.close()
    return [(encoded[p.clip], p.view, float(catalog.fps[p.clip])) for p in row]


def _timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def config_of_flags() -> Config:
    """The config of --config, or of --catalog and its flags. Raises ConfigError."""
    if (CONFIG.value is None) == (not FLAGS.catalog):
        raise ConfigError("expected either --config or --catalog")
    cfg = config_from_flags() if CONFIG.value else _simple_config()
    names = ("workers", "threads")
    changes: dict[str, Any] = {
        name: FLAGS[name].value for name in names if FLAGS[name].value is not None
    }
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **changes))


def _simple_config() -> Config:
    data = DataConfig(
        catalog=FLAGS.catalog,
        row_tokens=FLAGS.row_tokens,
        text_tokens=0,
        max_segments=64,
        batch_rows=FLAGS.batch_rows,
        rows_per_group=16 * FLAGS.batch_rows,
    )
    return Config(data=data, text=TextConfig(workdir=FLAGS.catalog))


def run(cfg: Config) -> None:
    """Prints what the flags ask for. Raises ConfigError."""
    compared = FLAGS["vs-decode"].value
    if compared and not (Path(cfg.data.catalog) / "catalog.parquet").is_file():
        raise ConfigError(f"--vs-decode: data.catalog={cfg.data.catalog!r} is no curated folder")
    bench = Bench(cfg)
    if FLAGS.digests:
        for step, batch in enumerate(bench.host_batches(range(FLAGS.digests))):
            print(step, digest(batch))
        return
    seconds = FLAGS.seconds
    print(throughput(bench, seconds), flush=True)
    print(waits(bench, seconds, FLAGS.step_seconds), flush=True)
    print(shares(bench, seconds / 2), flush=True)
    if compared:
        print(versus_decode(bench, seconds), flush=True)


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    run(config_of_flags())


if __name__ == "__main__":
    run_command(main, parse_flags)
