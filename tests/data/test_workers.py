import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from odd_sources import FullDisk, OddSource

from videodit.config import ConfigError, DataConfig
from videodit.data.packing import row_of
from videodit.data.planning.plan import Placed
from videodit.data.reading import Reader
from videodit.data.sources.synthetic import synthetic_tokenizer
from videodit.data.video.files import whole
from videodit.data.workers import Pool

CFG = DataConfig(row_tokens=2048, text_tokens=256, max_segments=12, workers=1, worker_memory=1.0)
PATCH = (4, 8, 8)
SPARE = 20


def reader(cfg=CFG, **odd):
    return Reader(OddSource(**odd), synthetic_tokenizer(), cfg, PATCH, seed=0)


def placed(reader, i):
    catalog = reader.source.catalog
    view = whole(*(int(column[i]) for column in (catalog.frames, catalog.height, catalog.width)))
    return Placed(i, 1000 + i, 0, 0, *view, keep=10**6, drop_static=0)


def fill(filler, reader, clips):
    """The filled row, and what was said of broken clips: (slot, clip, reason)."""
    said = []

    def replace(slot, broken, reason):
        said.append((slot, broken.clip, reason))
        return placed(reader, SPARE) if broken.clip != SPARE else None

    batch = reader.empty_batch(1)
    filler.fill(tuple(placed(reader, i) for i in clips), row_of(batch, 0), replace)
    return batch, said


def assert_equal(a, b):
    for name, x, y in zip(a._fields, a, b):
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_a_row_of_a_worker_equals_that_of_this_process_and_nothing_is_left_in_it():
    made = reader(refuse=[3])
    with closing(Pool(made)) as pool:
        for clips in ((0, 1, 2, 3, 4), (5,), (), (0, 1, 2, 3, 4)):
            (row, said), (expected, here) = fill(pool, made, clips), fill(made, made, clips)
            assert_equal(row, expected)
            assert said == here and len(said) == (3 in clips)


def test_a_fault_of_the_machine_is_raised_and_no_clip_is_blamed():
    made = dataclasses.replace(reader(), tokenizer=FullDisk())
    with closing(Pool(made)) as pool:
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                fill(pool, made, (0, 1))


def test_a_clip_whose_caption_is_not_as_long_as_the_catalog_says_is_replaced():
    made = reader()
    made.source.catalog.caption_lengths.values[2] += 1
    row, said = fill(made, made, (1, 2))
    assert len(said) == 1 and said[0][:2] == (1, 2) and "caption 0 has" in said[0][2]
    assert row.clip_ids[0, :2].tolist() == [1, SPARE]


def test_a_worker_has_no_jax_and_stays():
    made = reader(look_for_jax=[1])
    with closing(Pool(made)) as pool:
        reasons = [fill(pool, made, (0, 1))[1][0][2] for _ in range(2)]
    assert reasons[0] == reasons[1] and reasons[0].endswith("loaded []")
    assert f"pid {os.getpid()}," not in reasons[0]


@pytest.mark.parametrize(
    "odd, reason",
    [
        ("crash", "decoding process died: signal SIGSEGV"),
        ("abort", "decoding process died: signal SIGABRT"),
        ("quit", "decoding process died: status 3"),
        ("swell", "needs more than data.worker_memory=1.0 GB"),
    ],
)
def test_a_clip_that_breaks_its_process_is_replaced_and_the_others_are_not(odd, reason):
    made, good = reader(**{odd: [2]}), reader(refuse=[2])
    with closing(Pool(made)) as pool:
        for _ in range(2):
            row, said = fill(pool, made, (0, 1, 2, 3))
            assert said == [(2, 2, reason)]
            assert_equal(row, fill(good, good, (0, 1, 2, 3))[0])


def test_a_process_that_somebody_kills_costs_no_clip(tmp_path):
    made = reader(die_once=[2])
    made.source.marker = tmp_path / "killed"
    with closing(Pool(made)) as pool:
        row, said = fill(pool, made, (0, 2))
    assert made.source.marker.exists() and said == []
    assert_equal(row, fill(made, made, (0, 2))[0])


def test_an_idle_process_that_somebody_kills_is_replaced():
    made = reader(look_for_jax=[1])
    with closing(Pool(made)) as pool:
        before = fill(pool, made, (0, 1))
        pid = int(re.search(r"pid (\d+)", before[1][0][2])[1])
        os.kill(pid, signal.SIGKILL)
        after = fill(pool, made, (0, 1))
    assert_equal(before[0], after[0])
    assert f"pid {pid}," not in after[1][0][2]


def test_a_spare_that_kills_too_leaves_the_slot_empty():
    made = reader(crash=[2, SPARE])
    with closing(Pool(made)) as pool:
        for _ in range(2):
            row, said = fill(pool, made, (0, 2, 3))
            assert [clip for _, clip, _ in said] == [2, SPARE]
            assert row.clip_ids[0, :3].tolist() == [0, -1, 3] and row.replaced[0, 1]


class Unreadable:
    """What ends the process that unpickles it."""

    catalog = OddSource().catalog

    def __reduce__(self):
        return os._exit, (5,)


def test_processes_that_cannot_start_are_named():
    made = dataclasses.replace(reader(), source=Unreadable())
    stopped = pytest.raises(ConfigError, match=r"data.workers: .* before it read a clip: status 5")
    with closing(Pool(made)) as pool, stopped:
        fill(pool, made, ())


def test_what_is_wrong_with_the_program_is_raised_and_the_pool_goes_on():
    made = reader(refuse=[2])

    def stop(*_):
        raise RuntimeError("stop")

    with closing(Pool(made)) as pool:
        with pytest.raises(ConfigError, match="max_segments"):
            fill(pool, made, range(13))
        with pytest.raises(RuntimeError, match="stop"):
            pool.fill((placed(made, 2),), row_of(made.empty_batch(1), 0), stop)
        assert fill(pool, made, (0,))[1] == []


def test_closing_ends_a_process_at_work():
    made = reader(wait=[1])
    pool, raised = Pool(made), []

    def work():
        try:
            fill(pool, made, (0, 1))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)
    pool.close()
    thread.join(timeout=10)
    assert raised and not thread.is_alive()


ORPHAN = """
import os, sys

sys.path[:0] = ["tests", "tests/data"]
import test_workers as t

made = t.reader(look_for_jax=[1])
pool = t.Pool(made)
print(t.fill(pool, made, (0, 1))[1][0][2], flush=True)
os._exit(0)
"""


def test_no_process_outlives_its_parent():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=root, capture_output=True, text=True, timeout=60
    )
    pid = int(re.search(r"pid (\d+)", done.stdout)[1])
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists() and done.stderr == ""
