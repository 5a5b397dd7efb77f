from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from packs import perturb, tiny_config

from videodit.models.registry import make_text_encoder
from videodit.nn.segments import Segments

CFG = tiny_config()


def encode(*captions, length=24, change=perturb, size=CFG.text.size):
    """The vectors of each of the captions, packed one after the other, of changed weights."""
    words = np.concatenate(captions)
    row = np.zeros((3, 1, length), np.int32)  # tokens, positions, segment ids
    row[0, 0, : len(words)] = words
    row[1, 0, : len(words)] = np.concatenate([np.arange(len(c)) for c in captions])
    row[2, 0, : len(words)] = np.repeat(np.arange(len(captions)) + 1, [len(c) for c in captions])
    text = replace(CFG.text, size=size)
    encoder = make_text_encoder(text, SimpleNamespace(vocab_size=50), CFG.compute)
    params = change(encoder.init(jax.random.key(0)))
    with jax.default_matmul_precision("highest"):
        vectors = np.asarray(encoder.encode(params, *row[:2], Segments(row[2])))[0]
    ends = np.cumsum([len(c) for c in captions])
    return [vectors[end - len(c) : end] for c, end in zip(captions, ends)]


SIZES = pytest.mark.parametrize("size", [CFG.text.size, "words"])


@SIZES
def test_a_caption_is_read_alike_wherever_it_is_packed(size):
    a, b, c = [2, 7, 9, 3], [2, 30, 3], [2, 11, 12, 13, 14, 3]
    (alone,), (_, among, _) = encode(a, size=size), encode(b, a, c, size=size)
    np.testing.assert_allclose(among, alone, atol=1e-5)


@SIZES
def test_order_matters(size):
    (forward,), (turned,) = encode([2, 7, 9, 3], size=size), encode([2, 9, 7, 3], size=size)
    assert np.abs(forward[1] - turned[2]).max() > 0.01


def test_at_the_start_a_word_is_alike_in_any_caption():
    vectors = encode([2, 7, 9, 3], [2, 30, 9, 11, 9, 3], change=lambda params: params)
    nine, again, seven = vectors[0][2], vectors[1][4], vectors[0][1]
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine(nine, again) > 0.9 and abs(cosine(nine, seven)) < 0.6


def test_without_a_stack_a_vector_depends_on_its_word_and_place_alone():
    (a, b), (c,) = encode([2, 7, 9, 3], [2, 30, 9, 3], size="words"), encode([7, 9], size="words")
    np.testing.assert_allclose(a[2:], b[2:], atol=1e-6)
    assert np.abs(a[1] - c[0]).max() > 0.01
