from types import SimpleNamespace

import jax
import numpy as np
from packs import perturb, tiny_config

from videodit.models.registry import make_text_encoder
from videodit.nn.segments import Segments

CFG = tiny_config()


def encode(*captions, length=24, change=perturb):
    """The vectors of each of the captions, packed one after the other, of changed weights."""
    words = np.concatenate(captions)
    row = np.zeros((3, 1, length), np.int32)  # tokens, positions, segment ids
    row[0, 0, : len(words)] = words
    row[1, 0, : len(words)] = np.concatenate([np.arange(len(c)) for c in captions])
    row[2, 0, : len(words)] = np.repeat(np.arange(len(captions)) + 1, [len(c) for c in captions])
    encoder = make_text_encoder(CFG.text, SimpleNamespace(vocab_size=50), CFG.compute)
    params = change(encoder.init(jax.random.key(0)))
    with jax.default_matmul_precision("highest"):
        vectors = np.asarray(encoder.encode(params, *row[:2], Segments(row[2])))[0]
    ends = np.cumsum([len(c) for c in captions])
    return [vectors[end - len(c) : end] for c, end in zip(captions, ends)]


def test_a_caption_is_read_alike_wherever_it_is_packed():
    a, b, c = [2, 7, 9, 3], [2, 30, 3], [2, 11, 12, 13, 14, 3]
    (alone,), (_, among, _) = encode(a), encode(b, a, c)
    np.testing.assert_allclose(among, alone, atol=1e-5)


def test_order_matters():
    (forward,), (turned,) = encode([2, 7, 9, 3]), encode([2, 9, 7, 3])
    assert np.abs(forward[1] - turned[2]).max() > 0.01


def test_at_the_start_a_word_is_alike_in_any_caption():
    vectors = encode([2, 7, 9, 3], [2, 30, 9, 11, 9, 3], change=lambda params: params)
    nine, again, seven = vectors[0][2], vectors[1][4], vectors[0][1]
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine(nine, again) > 0.9 and abs(cosine(nine, seven)) < 0.6
