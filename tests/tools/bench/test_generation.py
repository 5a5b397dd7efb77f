import pytest

from tools.bench.generation import MIB, Measured, measure_apart, mixed_requests, table


@pytest.mark.slow
def test_memory_does_not_grow_with_requests_and_the_first_clip_is_early():
    few, many = (measure_apart(count, workdir="", steps=1) for count in (16, 128))
    assert many.groups > 6 * few.groups
    assert many.memory < 1.15 * few.memory
    assert many.first_seconds < 0.1 * many.total_seconds


def test_requests_have_several_sizes_and_a_seed_each():
    requests = mixed_requests(20)
    assert len({(r.width, r.height, r.frames) for r in requests}) == 5
    assert [r.seed for r in requests] == list(range(20))


def test_counts_are_compared():
    few = Measured(16, 8, 30.0, 1.0, 10.0, 500 * MIB, 0)
    many = few._replace(requests=128, groups=60, total_seconds=100.0, memory=550 * MIB)
    first, second, last = table([few, many]).splitlines()
    assert "first clip after 1.00 s of 10.00 s (10.0%)" in first and "550 MiB" in second
    assert last == "memory of 128 requests against 16: +10.0%"
