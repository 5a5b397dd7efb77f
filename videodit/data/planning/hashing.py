"""Chance without state: hashes of numbers, and permutations that need no table.

SplitMix64 (Steele et al., OOPSLA 2014), all on uint64 arrays that wrap around.
"""

import itertools

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FEISTEL_ROUNDS = 6


def hash_key(seed: int, *names: str) -> np.uint64:
    """A key that depends on the seed and on the names of its purpose."""
    words = itertools.chain.from_iterable(f"{name}\0".encode() for name in names)
    return np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]


def mix(x: np.ndarray) -> np.ndarray:
    """A well-mixed uint64 for each uint64."""
    x = np.asarray(x, np.uint64) * GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, numbers: np.ndarray, name: str) -> np.ndarray:
    """A float64 in [0, 1) for each number n; another `name` gives other values."""
    return (mix(hash_key(seed, name) + numbers.astype(np.uint64)) >> np.uint64(11)) * 2.0**-53


def permute(index: np.ndarray, size: np.ndarray, key: np.ndarray, most: int) -> np.ndarray:
    """Where a permutation of range(size) takes each index: n int64 from n ints, sizes and keys.

    Each key is a permutation. `most` is the largest size, and another `most` gives other
    permutations: they are Feistel networks on the smallest even number of bits that holds `most`,
    repeated until the value is in range (cycle walking; Black and Rogaway, CT-RSA 2002).
    """
    half = np.uint64(-(-max((most - 1).bit_length(), 2) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    value, size = index.astype(np.uint64), np.asarray(size, np.uint64)
    outside = np.arange(len(value))
    while len(outside):
        x, keys = value[outside], key[outside]
        left, right = x >> half, x & mask
        for _ in range(FEISTEL_ROUNDS):
            keys = keys + GOLDEN
            left, right = right, left ^ (mix(right ^ keys) & mask)
        value[outside] = x = (left << half) | right
        outside = outside[x >= size[outside]]
    return value.astype(np.int64)
