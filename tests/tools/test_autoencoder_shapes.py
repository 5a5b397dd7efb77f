import numpy as np
import pytest
from alike import AlikeSource
from packs import linear_codec

from tools import autoencoder_shapes as tool
from tools.autoencoder_scores import Clip, fit_codes
from tools.cuts import Shape
from videodit.codec import Codec
from videodit.config import ConfigError
from videodit.data.video import write_video
from videodit.eval import quality


@pytest.fixture(scope="module")
def codec():
    return linear_codec()


@pytest.fixture(scope="module")
def source():
    return AlikeSource()


def noise(frames, height, width):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(9, 16, 16), (17, 16, 24), (12, 20, 30), (5, 8, 8)])
def test_pieces_cover_a_clip_once_and_only_its_first_frame_is_a_first_frame(size):
    clip, pieces = noise(*size), []

    def code(part):
        pieces.append(part)
        coded = part.copy()
        coded[0] = 0
        return coded

    output = tool.in_pieces(code, clip, (5, 16, 16))
    assert (output[0] == 0).all()
    np.testing.assert_array_equal(output[1:], clip[1:])
    assert {part.shape for part in pieces} == {(5, min(16, size[1]), min(16, size[2]), 3)}


def test_images_are_pieces_of_a_clip():
    clip = noise(3, 16, 16)
    np.testing.assert_array_equal(tool.in_pieces(lambda x: 255 - x, clip, (1, 8, 8)), 255 - clip)


def test_shapes_of_a_code_that_knows_none_lose_nothing(codec, source):
    code = fit_codes(source, codec, 4)["PCA"]
    shapes = [Shape(16, 16, 5, None), Shape(32, 16, 9, None)]
    clips = {
        shape: [Clip("", noise(shape.frames, shape.height, shape.width), 8.0)] for shape in shapes
    }
    first, second = tool.score_shapes(codec, code, shapes, clips.get)
    assert first.psnr == first.psnr_pieces and second.clips == 1
    assert second.psnr == pytest.approx(second.psnr_pieces, abs=1e-3)
    clip = clips[shapes[1]][0].frames
    assert second.psnr_pca == quality.psnr(clip, code.reconstruct(clip))


def test_clips_of_shapes_begin_at_the_same_moments_of_a_video(tmp_path):
    t = np.arange(48, dtype=np.uint8)[:, None, None, None]
    film = np.broadcast_to(5 * t, (48, 32, 40, 3))
    write_video(tmp_path / "film.mp4", film, 24)
    clips = tool.clips_of_video(str(tmp_path / "film.mp4"), 2)
    for shape in (Shape(16, 16, 5, 12.0), Shape(32, 24, 9, 24.0)):
        found = clips(shape)
        assert [clip.frames.shape for clip in found] == [(shape.frames, *shape[1::-1], 3)] * 2
        assert [clip.fps for clip in found] == [shape.fps] * 2
        levels = [clip.frames[:2].mean((1, 2, 3)) for clip in found]
        step = 24 / shape.fps
        expected = [[5 * start, 5 * (start + step)] for start in (6, 30)]
        np.testing.assert_allclose(levels, expected, atol=2)
    with pytest.raises(ConfigError, match=r"--shapes=64x16x5: .* smaller or too short"):
        clips(Shape(64, 16, 5, None))
    with pytest.raises(ConfigError, match=r"--shapes=16x16x25: .* smaller or too short"):
        clips(Shape(16, 16, 25, None))


def test_clips_of_shapes_are_cut_out_of_held_out_clips(source):
    clips = tool.clips_of_source(source, 2)
    found = clips(Shape(16, 16, 1, None))
    assert [clip.frames.shape for clip in found] == [(1, 16, 16, 3)] * 2
    with pytest.raises(
        ConfigError, match=r"--shapes=64x64x100: no held-out clip .* give a --video"
    ):
        clips(Shape(64, 64, 100, None))


def test_seams_are_where_tiles_overlap(codec):
    tiled = Codec(codec.cfg, codec.compute, codec.params, tile=24, overlap=8)
    mask = tool.seam_mask((20, 40), tiled)  # columns 0 to 24 and 16 to 40
    assert mask.shape == (20, 40) and mask[:, 16:24].all() and mask.sum() == 20 * 8


def test_tiles_of_a_code_without_attention_lose_nothing(codec):
    clip = Clip("", noise(5, 16, 40), 8.0)
    found = tool.score_seams(codec, clip, 24, 8)
    assert found["seam_share"] == 0.2
    for place in ("", "_seams", "_elsewhere"):
        assert found["whole" + place] == pytest.approx(found["tiled" + place], abs=1e-2)
    errors = quality.squared_error(clip.frames, codec.reconstruct(clip.frames, 8.0))
    assert found["whole_seams"] == pytest.approx(quality.to_decibels(errors[:, :, 16:24].mean()))
    with pytest.raises(ConfigError, match="--tile=64: expected less than the sides"):
        tool.score_seams(codec, clip, 64, 8)
