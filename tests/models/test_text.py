import jax
import numpy as np
from packs import perturb, tiny_config

from videodit.models.text import make_text_encoder

CFG = tiny_config()


def encode(*captions, length=24):
    """The vectors of each of the captions, packed one after the other."""
    words = np.concatenate(captions)
    row = np.zeros((3, 1, length), np.int32)  # tokens, positions, segment ids
    row[0, 0, : len(words)] = words
    row[1, 0, : len(words)] = np.concatenate([np.arange(len(c)) for c in captions])
    row[2, 0, : len(words)] = np.repeat(np.arange(len(captions)) + 1, [len(c) for c in captions])
    init, apply = make_text_encoder(CFG.text, 50, CFG.compute)
    with jax.default_matmul_precision("highest"):
        vectors = np.asarray(apply(perturb(init(jax.random.key(0))), *row))[0]
    ends = np.cumsum([len(c) for c in captions])
    return [vectors[end - len(c) : end] for c, end in zip(captions, ends)]


def test_a_caption_is_read_alike_wherever_it_is_packed():
    a, b, c = [2, 7, 9, 3], [2, 30, 3], [2, 11, 12, 13, 14, 3]
    (alone,), (_, among, _) = encode(a), encode(b, a, c)
    np.testing.assert_allclose(among, alone, atol=1e-5)


def test_order_matters():
    (forward,), (turned,) = encode([2, 7, 9, 3]), encode([2, 9, 7, 3])
    assert np.abs(forward[1] - turned[2]).max() > 0.01
