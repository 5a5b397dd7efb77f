import numpy as np
import pytest

from videodit.eval.coherence import Differences, differences

PATCH = (4, 8, 8)


def test_a_ramp_differs_as_much_across_borders_as_inside():
    ramp = np.broadcast_to(np.arange(0, 64, 2)[:, None], (32, 32))
    clip = np.repeat(ramp.astype(np.uint8)[None, ..., None], 3, axis=3)
    assert differences([clip], PATCH) == Differences(1.0, 1.0)  # 2 downward, 0 to the right


def test_tiles_differ_across_borders_alone_and_noise_everywhere():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (5, 4, 6, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    noise = rng.integers(0, 256, (5, 32, 48, 3)).astype(np.uint8)
    uniform = 256 / 3  # mean distance of two uniform values
    across, inside = differences([tiles], PATCH)
    assert inside == 0 and across == pytest.approx(uniform, rel=0.1)
    assert differences([noise], PATCH) == pytest.approx((uniform, uniform), rel=0.05)
    ratio = differences([tiles, noise], PATCH).ratio(differences([noise], PATCH))
    assert ratio == pytest.approx((1, 0.5), rel=0.1)
