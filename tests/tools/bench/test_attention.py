import jax.numpy as jnp
import numpy as np

from tools.bench import attention as bench
from videodit.nn.segments import NOBODY, Segments, with_orders


def test_clips_fill_a_row():
    for seed in range(20):
        lengths = bench.packed_lengths(4096, 64, np.random.default_rng(seed))
        assert min(lengths) >= bench.SHORTEST
        assert 4096 - bench.SHORTEST < sum(lengths) <= 4096
    assert len(bench.packed_lengths(4096, 3, np.random.default_rng(0))) == 3


def test_useful_pairs_are_those_of_a_count_one_by_one():
    packed = bench.packed_ids([[3, 2], [4]], 6)
    rng = np.random.default_rng(0)
    queries = np.where(rng.random((2, 6, 2)) < 0.5, NOBODY, rng.integers(0, 4, (2, 6, 2)))
    keys = rng.integers(0, 3, (2, 5, 2))
    windowed = bench.windowed_segments(2 * 18**2, 18, shifted=True)
    for segments in (Segments(packed), Segments(queries, keys), windowed):
        query, key = (np.asarray(x) for x in (segments.query, segments.keys))
        pairs = (query[:, :, None] == key[:, None]) & (query[:, :, None] > 0)
        assert bench.useful_pairs(segments) == pairs.sum()
    earlier = (
        (packed[:, :, None] == packed[:, None]) & (packed[:, :, None] > 0) & np.tri(6, dtype=bool)
    )
    assert bench.useful_pairs(Segments(packed, causal=True)) == earlier.sum()


def test_both_ways_agree_with_the_reference():
    windows = bench.windowed_segments(512, 20, shifted=True)
    problems = [bench.Problem("", windows), bench.Problem(" in order", with_orders(windows))]
    lines = bench.compare(problems, ["masked", "blocked"], (2, 8, jnp.float32), repeats=1)
    assert [line[:24].strip() for line in lines] == ["masked", "blocked", "blocked in order"]
    assert all(float(error) < 1e-5 for line in lines for error in line.split()[-2:])
