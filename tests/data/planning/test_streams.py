import numpy as np
import pytest

from videodit.data.planning.streams import ShuffledOrder


@pytest.mark.parametrize("count", [1, 40, 1000, 1023, 5000])
def test_every_epoch_holds_every_clip_once_in_another_order(count):
    clips, sizes = np.arange(count) + 7, np.random.default_rng(0).integers(1, 100, count)
    order = ShuffledOrder(clips, sizes, seed=1, name="")
    epochs = order(np.arange(3 * count)).reshape(3, count)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), clips)
    if count > 1:
        assert (epochs[0] != epochs[1]).mean() > 0.5
        assert (
            ShuffledOrder(clips, sizes, seed=2, name="")(np.arange(count)) != epochs[0]
        ).mean() > 0.5
    pieces = [order(np.arange(start, min(start + 20, count))) for start in range(0, count, 20)]
    np.testing.assert_array_equal(np.concatenate(pieces), epochs[0])


def test_any_stretch_of_the_order_holds_about_as_many_tokens():
    sizes = np.exp(np.random.default_rng(0).normal(7, 1.2, 20_000))
    drawn = sizes[ShuffledOrder(np.arange(20_000), sizes, seed=0, name="")(np.arange(20_000))]
    stretches = drawn[: 20_000 // 150 * 150].reshape(-1, 150).sum(1)
    # In a plain shuffle, sums of 150 clips would vary by std / mean / sqrt(150).
    assert stretches.std() / stretches.mean() < 0.5 * sizes.std() / sizes.mean() / np.sqrt(150)
