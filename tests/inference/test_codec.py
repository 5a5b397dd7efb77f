import jax
import numpy as np
import pytest
from packs import PATCH, pack, perturb, tiny_config

from videodit.config import ConfigError
from videodit.data.packing import segment, unpack
from videodit.data.patches import grid
from videodit.inference.codec import Codec, NotFinite, _Tiles
from videodit.models.autoencoder import make_autoencoder, to_pixels
from videodit.models.cells import cells
from videodit.models.codec import padded_length

FPS = 12.0


def video(frames, height=16, width=24):
    return np.random.default_rng(frames).integers(0, 256, (frames, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    cfg = tiny_config("autoencoder", autoencoder__window=2)
    init, apply = make_autoencoder(cfg.autoencoder, cfg.compute)
    return cfg, perturb(init(jax.random.key(0))), apply


def whole(model, clip):
    """Latents t h w C and pixels T H W 3 of a clip coded in one piece, as in training."""
    cfg, params, apply = model
    tokens = int(np.prod(grid(*clip.shape[:3], PATCH)))
    batch = pack([[segment(clip, patch=PATCH, fps=FPS, text_ids=[1])]], row_tokens=tokens + 3)

    @jax.jit
    def code(params, batch):
        place = cells(batch, cfg.autoencoder)
        latents, _ = apply(params, to_pixels(batch.tokens), place, method="encode")
        return latents, apply(params, latents, place, method="decode")

    with jax.default_matmul_precision("highest"):
        latents, pixels = code(params, batch)
    return unpack(latents, batch, (1, 1, 1))[0], unpack(pixels, batch, PATCH)[0]


@pytest.mark.parametrize(
    "frames, width", [(n, 24) for n in (1, 5, 17, 33, 34, 37, 301)] + [(37, 72)]
)
def test_streaming_equals_the_whole_clip(model, frames, width):
    """Frames 72 pixels wide are padded within each chunk too."""
    cfg, params, _ = model
    codec, clip = Codec(cfg.autoencoder, cfg.compute, params), video(frames, width=width)
    latents, pixels = whole(model, clip)
    with jax.default_matmul_precision("highest"):
        streamed = np.concatenate(list(codec.encode_stream(clip, FPS)))
        decoded = np.concatenate(list(codec._decode_pixels([latents], FPS)))
    assert len(decoded) == 1 + 4 * -(-(frames - 1) // 4)
    scale = np.abs(latents).max()
    np.testing.assert_allclose(streamed, latents, atol=1e-5 * scale)
    np.testing.assert_allclose(decoded, pixels, atol=1e-5 * np.abs(pixels).max())


def test_two_programs_code_videos_of_any_duration_and_of_like_sizes(model):
    cfg, params, _ = model
    codec = Codec(cfg.autoencoder, cfg.compute, params)
    for frames, sides in (
        (1, (24, 24)),
        (5, (24, 24)),
        (14, (72, 8)),
        (9, (16, 40)),
        (33, (8, 80)),
    ):
        list(codec.encode_stream(video(frames, *sides), FPS))
    assert codec.codec.steps["encode"]._cache_size() == 2


def test_lengths_are_padded_by_less_than_a_quarter_to_four_of_an_octave():
    assert list(map(padded_length, (1, 7, 8, 9, 10, 11, 16, 17, 24, 33))) == [
        *(1, 7, 8, 10, 10, 12, 16, 20, 24, 40)
    ]  # fmt: skip
    lengths = np.arange(1, 5000)
    padded = np.array([padded_length(n) for n in lengths.tolist()])
    assert (padded >= lengths).all() and (padded < 1.25 * lengths).all()
    assert len(np.unique(padded[(lengths > 512) & (lengths <= 1024)])) == 4


def test_later_frames_do_not_change_earlier_chunks(model):
    cfg, params, _ = model
    codec = Codec(cfg.autoencoder, cfg.compute, params)
    clip = video(33)
    other = np.concatenate([clip[:17], 255 - clip[17:]])
    a, b = (np.concatenate(list(codec.encode_stream(x, FPS))) for x in (clip, other))
    np.testing.assert_array_equal(a[:5], b[:5])
    assert (a[5:] != b[5:]).any()


def test_tiles_cover_frames_of_any_size(model):
    cfg, params, _ = model
    codec = Codec(cfg.autoencoder, cfg.compute, params, tile=24, overlap=8)
    clip = video(6, 50, 70)
    output = codec.reconstruct(clip, FPS)
    assert output.shape == clip.shape and output.dtype == np.uint8


def test_tiles_of_a_model_without_attention_are_the_whole_frame(model):
    cfg, params, _ = model
    zeros = jax.tree.map(np.zeros_like, params)
    linear = {k: {**zeros[k], "linear": params[k]["linear"]} for k in params}
    clip = video(6, 50, 70)
    a, b = (
        np.concatenate(
            list(Codec(cfg.autoencoder, cfg.compute, linear, **o).encode_stream(clip, FPS))
        )
        for o in ({}, {"tile": 24, "overlap": 8})
    )
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_tile_is_larger_than_its_overlaps(model):
    cfg, params, _ = model
    for tile, overlap, message in (
        (64, 32, "tile=64: expected 0 or more than twice overlap=32"),
        (8, 2, "tile=8: expected more patches than overlap=2 has"),  # each is one of 8 pixels
        (-8, -40, "overlap=-40: expected 0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            Codec(cfg.autoencoder, cfg.compute, params, tile=tile, overlap=overlap)


@pytest.mark.parametrize("frames, fps, message", [
    (video(2).astype(np.float32), FPS, r"frame='float32 \(16, 24, 3\)': expected uint8"),
    (video(2)[..., :1], FPS, r"frame='uint8 \(16, 24, 1\)': expected uint8 \(height, width, 3\)"),
    (video(2)[0], FPS, "expected uint8"),
    (video(2), 0.0, "fps=0.0: expected above 0"),
    (video(0), FPS, "frames=0: expected at least one"),
])  # fmt: skip
def test_what_are_no_frames_is_refused(model, frames, fps, message):
    cfg, params, _ = model
    with pytest.raises(ConfigError, match=message):
        Codec(cfg.autoencoder, cfg.compute, params).reconstruct(frames, fps)


def test_latents_of_other_channels_are_refused(model):
    cfg, params, _ = model
    codec = Codec(cfg.autoencoder, cfg.compute, params)
    with pytest.raises(
        ConfigError, match=r"latents of shape=\(1, 2, 3, 5\): expected \(t, h, w, 16"
    ):
        list(codec.decode_stream([np.zeros((1, 2, 3, 5), np.float32)], FPS))


def test_tiles_are_blended_linearly_over_what_they_share(model):
    """Two tiles of 4 cells that share 2: from the one's value to the other's, in even steps."""
    cfg, params, _ = model
    codec = Codec(cfg.autoencoder, cfg.compute, params)
    tiles = _Tiles(codec, "decode", (2, 6), (2, 4), (1, 2), FPS)
    assert [columns for _, columns, _ in tiles.tiles] == [range(4), range(2, 6)]

    class Constant:
        def __init__(self, value):
            self.value = value

        def step(self, cells):
            return np.full((*cells.shape[:3], 1), self.value, np.float32)

    tiles.tiles = [
        (rows, columns, Constant(value)) for value, (rows, columns, _) in enumerate(tiles.tiles)
    ]
    double = lambda cells: cells.repeat(2, axis=1).repeat(2, axis=2)  # two pixels a cell
    found = tiles.step(np.zeros((1, 2, 6, 16), np.float32), double)[0, :, :, 0]
    shares = np.arange(4) + 0.5  # of the second tile's rise, of 8 pixels, beside the first's fall
    expected = np.concatenate([np.zeros(4), shares / 4, np.ones(4)])
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), atol=1e-6)


def test_frames_of_two_sizes_are_refused(model):
    cfg, params, _ = model
    frames = [*video(3), video(1, 8, 8)[0]]
    with pytest.raises(ConfigError, match="frames of one size"):
        list(Codec(cfg.autoencoder, cfg.compute, params).encode_stream(frames, FPS))


@pytest.mark.parametrize("half, what", [("encoder", "latents"), ("decoder", "pixels")])
def test_broken_weights_are_refused_and_make_no_black_video(model, half, what):
    cfg, params, _ = model
    broken = {**params, half: jax.tree.map(lambda x: np.full_like(x, np.nan), params[half])}
    codec = Codec(cfg.autoencoder, cfg.compute, broken)
    with pytest.raises(NotFinite, match=f"the codec's {what} are not finite"):
        codec.reconstruct(video(1, 24, 24), FPS)
