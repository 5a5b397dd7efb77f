from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from alike import AlikeSource
from packs import linear_codec

from videodit.config import ConfigError
from videodit.curation.cuts import Shape
from videodit.data.video.files import write_video
from videodit.eval import quality
from videodit.eval import shapes as tool
from videodit.eval.scores import HeldOutClip, fit_codes
from videodit.inference.codec import Codec


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
    code = fit_codes(source, codec, [4, 5, 6, 7])["PCA"]
    shapes = [Shape(16, 16, 5, None), Shape(32, 16, 9, None)]
    clips = {
        shape: [HeldOutClip("", noise(shape.frames, shape.height, shape.width), 8.0)]
        for shape in shapes
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
    with pytest.raises(ConfigError, match=r"--shapes=16x16x5@30: .* has 24 frames a second"):
        clips(Shape(16, 16, 5, 30.0))


def test_clips_of_shapes_are_cut_out_of_held_out_clips(source):
    clips = tool.clips_of_source(source, 2)
    found = clips(Shape(16, 16, 1, None))
    assert [clip.frames.shape for clip in found] == [(1, 16, 16, 3)] * 2
    with pytest.raises(
        ConfigError, match=r"--shapes=64x64x100: no held-out clip .* give a --video"
    ):
        clips(Shape(64, 64, 100, None))


def test_clips_of_shapes_have_the_rate_that_is_asked_for(source):
    clips = tool.clips_of_source(source, 2)  # of 9 frames, 8 a second
    whole, halved = clips(Shape(32, 32, 9, None)), clips(Shape(32, 32, 5, 4.0))
    assert [clip.fps for clip in (*whole, *halved)] == [8, 8, 4, 4]
    for a, b in zip(whole, halved):
        np.testing.assert_array_equal(a.frames[::2], b.frames)
    with pytest.raises(ConfigError, match=r"--shapes=32x32x6@4: no held-out clip is as .* long"):
        clips(Shape(32, 32, 6, 4.0))
    message = r"--shapes=16x16x5@3: no held-out clip has a whole multiple of 3 frames a second"
    with pytest.raises(ConfigError, match=rf"^{message}, but 8; give a --video$"):
        clips(Shape(16, 16, 5, 3.0))


@pytest.mark.parametrize(
    "fps, wanted, stride",
    [
        (24, None, 1),
        (24, 24, 1),
        (24, 8, 3),
        (23.976, 12, 2),
        (24.2, 12, 2),
        (24.3, 12, 0),
        (25, 24, 0),
        (24, 48, 0),
        (24, 100, 0),
    ],
)
def test_a_stride_is_whole_within_a_hundredth(fps, wanted, stride):
    assert tool.stride_of(fps, wanted) == stride


def test_seams_are_where_tiles_overlap(codec):
    tiled = Codec(codec.cfg, codec.compute, codec.params, tile=24, overlap=8)
    mask = tool.seam_mask((20, 40), tiled)  # columns 0 to 24 and 16 to 40
    assert mask.shape == (20, 40) and mask[:, 16:24].all() and mask.sum() == 20 * 8


def test_tiles_of_a_code_without_attention_lose_nothing(codec):
    clip = HeldOutClip("", noise(5, 16, 40), 8.0)
    found = tool.score_seams(codec, clip, tool.Tiles(24, 8))
    assert found["seam_share"] == 0.2
    for place in ("", "_seams", "_elsewhere"):
        assert found["whole" + place] == pytest.approx(found["tiled" + place], abs=1e-2)
    errors = quality.squared_error(clip.frames, codec.reconstruct(clip.frames, 8.0))
    assert found["whole_seams"] == pytest.approx(quality.to_decibels(errors[:, :, 16:24].mean()))


@pytest.mark.parametrize("frame", [(16, 40), (40, 16), (8, 33), (256, 256), (31, 300)])
@pytest.mark.parametrize("patch", [(4, 8, 8), (4, 4, 8), (4, 16, 8)])
def test_two_tiles_lie_along_the_longer_side_unless_their_side_is_given(codec, frame, patch):
    cfg = replace(codec.cfg, patch=patch)
    for side in (0, 17, 24):
        try:
            tiles = tool.tiles_of(patch, frame, side)
        except ConfigError:
            assert side <= 2 * max(patch)
            continue
        if tiles:
            assert not side or tiles.side == side
            tiled = SimpleNamespace(cfg=cfg, tile=tiles.side, overlap=tiles.overlap)
            assert tool.seam_mask(frame, tiled).any()
            assert tiles.side > 2 * tiles.overlap > 0
        else:
            assert not side and max(frame) < 4 * max(patch)


def test_a_tile_is_of_more_than_two_patches_and_not_the_whole_frame():
    for side, message in (
        (16, "--tile=16: expected 0 or more than two patches, 16"),
        (-8, "--tile=-8: expected 0 or more"),
        (40, "--tile=40: expected fewer patches than a side of the tiled clip has, 40x16 pixels"),
    ):
        with pytest.raises(ConfigError, match=message):
            tool.tiles_of((4, 8, 8), (16, 40), side)
