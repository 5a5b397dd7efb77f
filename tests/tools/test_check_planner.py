import pytest

from tools.check_planner import CONFIGS, GIB, describe, run


@pytest.mark.slow
def test_a_step_takes_the_memory_that_was_planned():
    """The growth of a process's peak against what the compiled program says of itself."""
    found = run(next(iter(CONFIGS)), steps=1)
    assert found["bytes"] > GIB
    assert found["predicted_bytes"] == pytest.approx(found["bytes"], rel=0.25)


def test_what_is_predicted_is_told_beside_what_was_measured():
    found = {"seconds": 2.0, "predicted_seconds": 0.3, "bytes": 2 * GIB, "predicted_bytes": GIB}
    line = describe("S", found, slowness=5.0)
    assert (
        "step   2.00 s, predicted   1.50 (-25%); memory  2.00 GiB, predicted  1.00 (-50%)" in line
    )
