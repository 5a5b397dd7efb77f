import pytest
from alike import AlikeSource
from packs import linear_codec

from videodit.config import ConfigError
from videodit.eval import quality
from videodit.eval import scores as tool
from videodit.eval.baselines import h264
from videodit.eval.scores import Scored, Scorer


@pytest.fixture(scope="module")
def codec():
    return linear_codec()


@pytest.fixture(scope="module")
def source():
    return AlikeSource()


def test_every_code_is_scored_by_its_own_output(codec, source):
    scorer = Scorer(codec, tool.fit_codes(source, codec, [4, 5, 6, 7]))
    clip = tool.read_one(source, 0)
    one = scorer.score(clip)
    outputs = {"autoencoder": codec.reconstruct(clip.frames, clip.fps)}
    outputs |= {
        name: scorer.linear_codes[name].reconstruct(clip.frames) for name in ("PCA", "3D DCT")
    }
    outputs["H.264"], size = h264(clip.frames, clip.fps, one.latent_values)
    assert list(one.scores) == ["autoencoder", "PCA", "3D DCT", "H.264"] == scorer.coders
    for name, output in outputs.items():
        score = one.scores[name]
        assert score["psnr"] == quality.psnr(clip.frames, output)
        assert score["flicker"] == quality.flicker(clip.frames, output)
    frames, height, width = one.size
    cells = (1 + -(-(frames - 1) // 4)) * -(-height // 8) * -(-width // 8)
    assert one.latent_values == cells * codec.cfg.channels
    bits = 8 * one.latent_values / (frames * height * width)
    assert one.scores["PCA"]["bits_per_pixel"] == bits
    assert one.scores["H.264"]["bits_per_pixel"] == 8 * size / (frames * height * width) <= bits
    frechet = scorer.frechet()
    assert frechet["autoencoder"] > frechet["H.264"] >= 0
    assert one.scores["autoencoder"]["perceptual"] > one.scores["H.264"]["perceptual"] >= 0


def scored(**psnr):
    scores = {
        name.replace("_", " "): {"psnr": value, "flicker": 1.0} for name, value in psnr.items()
    }
    return Scored("", (1, 8, 8), 1, scores)


def test_a_gain_is_the_mean_difference_to_pca():
    clips = [scored(autoencoder=30.0, PCA=29.0), scored(autoencoder=26.0, PCA=23.0)]
    clips[0].scores["PCA"]["flicker"] = float("nan")  # an image
    table = tool.means(clips)
    assert table["autoencoder"] == {"psnr": 28, "flicker": 1, "gain": 2, "gain_stderr": 1}
    assert table["PCA"]["gain"] == 0 and table["PCA"]["flicker"] == 1
    assert tool.means(clips[:1])["autoencoder"]["gain_stderr"] is None


@pytest.mark.parametrize(
    "size, name",
    [
        ((1, 8, 8), "1 to 63 px, 1 frame"),
        ((17, 64, 64), "64 to 127 px, 2 to 17 frames"),
        ((18, 32, 127), "1 to 63 px, 18 to 65 frames"),
        ((129, 720, 1280), "512 and more px, 66 and more frames"),
    ],
)
def test_clips_are_binned_by_side_and_duration(size, name):
    assert tool.bin_name(tool.bin_of(size)) == name


def test_clips_of_a_split_are_evenly_spread(source):
    catalog = source.catalog
    assert tool.rows_of(catalog, tool.HELD_OUT, 2) == [0, 3]
    assert tool.rows_of(catalog, tool.HELD_OUT, 100) == [0, 1, 2, 3]
    assert tool.rows_of(catalog, tool.TRAINING, 100) == list(range(4, 12))


def test_a_split_without_clips_is_named():
    for val, splits, named in ((0, tool.HELD_OUT, "val or test"), (12, tool.TRAINING, "train")):
        catalog = AlikeSource(12, val).catalog
        with pytest.raises(ConfigError, match=rf"^--data: expected clips of the split {named}; "):
            tool.rows_of(catalog, splits, 3)


def test_a_broken_clip_is_named_and_left_out(source, capsys):
    class Broken:
        catalog = source.catalog

        def read(self, i, view):
            if i == 1:
                raise ConfigError(f"clip {self.catalog.ids[i]}: damaged")
            return source.read(i, view)

    names = [clip.name for clip in tool.read(Broken(), [1, 2], "clips")]
    assert names == ["clip2"]
    assert "left out: clip clip1: damaged" in capsys.readouterr().out
