import jax.numpy as jnp
import numpy as np
import pytest

from videodit.nn.rope import frequencies, rotary, rotate, video_rotary


@pytest.mark.parametrize("axes", [1, 3])
def test_products_depend_on_differences_of_position_only(axes):
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 1, 6, 2, 16)).astype(np.float32)
    positions = rng.uniform(0, 8, (1, 6, axes)).astype(np.float32)

    def products(offset):
        angles = rotary(positions + np.float32(offset), 16)
        return jnp.einsum(
            "blnh,bsnh->bnls", rotate(q, *angles), rotate(k, *angles), precision="highest"
        )

    np.testing.assert_allclose(products(0.0), products(5.0), atol=2e-5)
    assert not np.allclose(products(0.0), jnp.einsum("blnh,bsnh->bnls", q, k), atol=0.1)


def test_equals_rotation_of_complex_pairs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 1, 8)).astype(np.float32)
    positions = rng.uniform(0, 9, (1, 5, 3)).astype(np.float32)
    angles = positions[0] @ frequencies(8, 3)
    turned = (x[0, :, 0, :4] + 1j * x[0, :, 0, 4:]) * np.exp(1j * angles)
    y = rotate(x, *rotary(positions, 8))[0, :, 0]
    np.testing.assert_allclose(y, np.concatenate([turned.real, turned.imag], -1), atol=1e-6)


@pytest.mark.parametrize("head_size", [8, 48, 64, 128])
def test_every_pair_turns_with_one_axis(head_size):
    table = frequencies(head_size, 3)
    assert ((table > 0).sum(0) == 1).all()
    time, height, width = (table > 0).sum(1)
    assert height == width > 0 and time > 0


def test_frame_rate_matters():
    slow, fast = (np.float32([[[4 / fps, 1, 2]]]) for fps in (8, 24))
    assert not np.allclose(video_rotary(slow, 16)[0], video_rotary(fast, 16)[0])
