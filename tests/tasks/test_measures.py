import jax.numpy as jnp
import numpy as np
from packs import clip, pack

from videodit.tasks.measures import LEVELS, OTHERS, different_captions, measures_at_levels


def row(*numbers):
    """A row of clips of one shape whose captions are those of clips 0, 1, ... as numbered."""
    return [clip(0)._replace(text_ids=clip(n).text_ids) for n in numbers]


def test_a_caption_is_another_if_its_text_is_and_is_counted_once():
    batch = pack([row(1, 2, 1, 3)], row_tokens=128)
    different = np.asarray(different_captions(batch))[:, 0, :4]  # the clip `by` places before
    assert different.shape == (OTHERS, 4)
    # Captions before: of the first 3, 1, 2, own; of the second 1, 3, 1; of the third 2, 1, 3.
    assert different[:3].T.tolist() == [
        [True, False, True],
        [True, True, False],
        [True, False, True],
        [True, True, False],
    ]
    assert not different[3:].any()  # the row has no more clips


def test_a_permuted_caption_is_another():
    first, second = clip(2), clip(2)
    second = second._replace(text_ids=np.array(second.text_ids)[::-1])
    different = np.asarray(different_captions(pack([[first, second]])))
    assert different[0, 0, :2].all()


def test_accuracy_and_gains_are_those_of_the_losses():
    batch = pack([row(1, 2, 3), row(1, 1)], row_tokens=128)

    def loss(levels, by):  # the first clip of a row prefers its own caption, the others do not
        first = jnp.arange(levels.shape[1]) == 0
        return levels + by * jnp.where(first, 0.25, -0.25)

    measures = measures_at_levels(batch, loss)
    for level in LEVELS:
        np.testing.assert_allclose(measures[f"loss_at_{level}"][0, :3], level, rtol=1e-6)
        gains = measures[f"caption_gain_at_{level}"][0, :3]
        np.testing.assert_allclose(gains, [0.25, -0.25, -0.25], rtol=1e-5)
    assert measures["caption_accuracy"][0, :3].tolist() == [1, 0, 0]
    np.testing.assert_allclose(measures["caption_chance"][0, :3], 1 / 3)
    # Where all captions of a row are one text, nothing can be told apart.
    assert measures["caption_accuracy"][1, :2].tolist() == [1, 1]
    assert measures["caption_chance"][1, :2].tolist() == [1, 1]
