import jax
import numpy as np
from packs import clip, pack, perturb, tiny_config

from videodit.models.autoencoder import patch_values, to_pixels
from videodit.models.cells import cells
from videodit.models.discriminator import hinge, make_discriminator, without_discriminator

CFG = tiny_config("autoencoder")


def test_a_logit_for_every_token_that_knows_its_own_clip_only():
    init, apply = make_discriminator("smoke", patch_values((4, 8, 8)), CFG.compute)
    params = perturb(init(jax.random.key(0)))
    one, other = (pack([[clip(0), clip(1, seed=seed), clip(2)]]) for seed in (0, 9))
    a, b = (
        np.asarray(jax.jit(apply)(params, to_pixels(x.tokens), cells(x, CFG.autoencoder)))
        for x in (one, other)
    )
    changed = np.asarray(one.segment_ids) == 2
    assert a.shape == (1, 96) and a.dtype == np.float32
    np.testing.assert_array_equal(a[~changed], b[~changed])
    assert (a[changed] != b[changed]).all()


def test_hinge_stops_at_the_margins():
    real, fake = np.array([2.0, 0.5, -1.0]), np.array([-2.0, 0.0, 1.0])
    np.testing.assert_allclose(hinge(real, fake), [0, 0.75, 2])


def test_the_discriminator_is_left_out():
    assert without_discriminator({"encoder": 1, "discriminator": 2}) == {"encoder": 1}
