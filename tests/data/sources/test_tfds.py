import logging
import pickle
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from videodit.config import ConfigError, DataConfig
from videodit.data.sources import tfds as tfds_module
from videodit.data.sources.catalog import FILE
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.sources.tfds import TfdsSource, find_names
from videodit.data.video.files import View, encode, whole

F = tfds.features
TOKENIZER = open_tokenizer("synthetic")
OBJECT = F.Tensor(shape=(), dtype=np.object_)
tfds.disable_progress_bar()


def frames(i, t=5, height=16, width=24):
    """A clip that tells its example: grey 40 i, and 10 brighter every frame."""
    levels = (40 * i + 10 * np.arange(t, dtype=np.uint8))[:, None, None, None]
    return np.broadcast_to(levels, (t, height, width, 3)).copy()


def png(i):
    data = BytesIO()
    Image.fromarray(frames(i, 1, height=16 + 8 * i)[0]).save(data, "PNG")
    return data.getvalue()


def build(folder, name, features, example, splits=("train",), examples=4):
    """Writes a dataset; the folder of its version."""

    def generate(*_):
        for i in range(examples):
            yield i, example(i)

    fields = dict(
        VERSION=tfds.core.Version("1.0.0"),
        pkg_dir_path=epath.Path(folder),
        _info=lambda self: tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features)),
        _split_generators=lambda self, _: {split: generate() for split in splits},
        _generate_examples=generate,
        __module__="__main__",  # there is no source file of it to be looked for
    )
    builder = type(name, (tfds.core.GeneratorBasedBuilder,), fields, skip_registration=True)
    builder = builder(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return builder.data_dir


def by_content(source):
    """Rows of the catalog in the order of the examples: a builder shuffles them."""
    return sorted(range(len(source.catalog)), key=lambda i: source.catalog.captions[i])


def read(source, i):
    row = source.catalog
    return source.read(i, whole(row.frames[i], row.height[i], row.width[i]))


CASES = {
    "Images": (
        {"image": F.Image(shape=(None, None, 3)), "text": F.Text()},
        lambda i: {"image": png(i)},
    ),
    "Videos": (
        {
            "video": OBJECT,
            "image": F.Image(shape=(None, None, 3)),
            "caption": F.Text(),
            "fps": np.float32,
        },
        lambda i: {"video": encode(frames(i), 8), "image": png(i), "fps": 8.0},
    ),
    "Tensors": (
        {"x": F.Tensor(shape=(None, 16, 24, 3), dtype=np.uint8), "what": F.Text(), "fps": np.int64},
        lambda i: {"x": frames(i), "fps": 8},
    ),
    "Texts": (
        {"clip": OBJECT, "id": F.Text(), "captions": F.Sequence(F.Text())},
        lambda i: {"clip": encode(frames(i), 8), "id": "x", "captions": [f"{i}: a", f"{i}: b", ""]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_features_are_found_by_kind(tmp_path, name):
    features, example = CASES[name]
    text = next(key for key in ("caption", "captions", "text", "what") if key in features)
    folder = build(tmp_path, name, features, lambda i: {text: f"{i}: a"} | example(i))
    source = open_source(DataConfig(catalog=f"tfds:{folder}:train"), TOKENIZER)
    source = pickle.loads(pickle.dumps(source))
    catalog = source.catalog
    assert len(catalog) == 4 and len(set(catalog.ids)) == 4
    for i, row in enumerate(by_content(source)):
        expected = frames(i, 1, height=16 + 8 * i) if name == "Images" else frames(i)
        clip = read(source, row)
        assert clip.shape == expected.shape and np.abs(clip.astype(int) - expected).max() <= 2
        both = (f"{i}: a", f"{i}: b") if name == "Texts" else (f"{i}: a",)
        assert catalog.captions[row] == both
        assert catalog.caption_lengths[row] == tuple(len(TOKENIZER.encode(text)) for text in both)
        assert catalog.motion[row] == pytest.approx(0 if name == "Images" else 10 / 255, abs=2e-3)
        assert name == "Images" or catalog.fps[row] == 8
    if name != "Images":
        view = View(1, 2, 2, 8, 8)
        part = source.read(by_content(source)[2], view)
        assert part.shape == (2, 8, 8, 3)
        np.testing.assert_allclose(part.mean((1, 2, 3)), [90, 110], atol=2)


@pytest.fixture
def folder(tmp_path):
    features = {"video": OBJECT, "caption": F.Text()}

    def example(i):
        video = b"damaged" if i == 1 else encode(frames(i), 8)
        return {"video": video, "caption": "" if i == 2 else f"{i}: a"}

    return build(tmp_path / "built", "Some", features, example, splits=("train", "validation"))


def test_examples_that_cannot_be_used_are_named(folder, caplog):
    with caplog.at_level(logging.INFO):
        source = TfdsSource(f"tfds:{folder}:train", TOKENIZER)
    assert sorted(source.catalog.captions) == [("0: a",), ("3: a",)]
    assert caplog.text.count("left out: some/1.0.0/train/") == 2
    assert "cannot be read as video" in caplog.text and "has no caption" in caplog.text


def test_each_split_has_an_index_that_is_made_once(folder, monkeypatch):
    splits = {"train": "train", "validation": "validation", "train[:3]": "train__3_"}
    for split, name in splits.items():
        catalog = TfdsSource(f"tfds:{folder}:{split}", TOKENIZER).catalog
        assert 1 <= len(catalog) <= 2 and (split != "validation" or (catalog.split == "val").all())
        assert (Path(folder) / ".videodit" / name / FILE).exists()
    monkeypatch.setattr(tfds_module, "measure", None)
    for split in splits:
        assert len(TfdsSource(f"tfds:{folder}:{split}", TOKENIZER).catalog) >= 1


def test_the_share_that_is_held_out_can_be_chosen(folder):
    """The index is written anew with other splits; examples are not measured again."""
    for fraction, expected in ((0.0, {"train"}), (0.999999, {"val"}), (0.0, {"train"})):
        cfg = DataConfig(catalog=f"tfds:{folder}:train", val_fraction=fraction)
        assert set(open_source(cfg, TOKENIZER).catalog.split) == expected
    cfg = DataConfig(catalog=f"tfds:{folder}:validation", val_fraction=0.0)
    assert set(open_source(cfg, TOKENIZER).catalog.split) == {"val"}


def test_the_filter_is_over_the_index(folder):
    source = TfdsSource(f"tfds:{folder}:train", TOKENIZER, where="captions[1] like '3%'")
    assert list(source.catalog.captions) == [("3: a",)]
    assert abs(int(read(source, 0)[0, 0, 0, 0]) - 120) <= 2


def test_a_remote_builder(remote, folder):
    shutil.copytree(folder, remote / "some" / "1.0.0")
    source = open_source(DataConfig(catalog="tfds:gs://bucket/some/1.0.0:train"), TOKENIZER)
    assert len(source.catalog) == 2 and read(source, 1).shape == (5, 16, 24, 3)


@pytest.mark.parametrize(
    "features",
    [
        {"image": F.Image(), "caption": F.Tensor(shape=(), dtype=np.int64)},
        {"label": F.ClassLabel(num_classes=2), "caption": F.Text()},
        {"left": F.Image(), "right": F.Image(), "caption": F.Text()},
        {"image": F.Image(), "german": F.Text(), "english": F.Text()},
        {"x": F.Tensor(shape=(None, 8, 8, 3), dtype=np.float32), "caption": F.Text()},
    ],
)
def test_unknown_features_are_listed(features):
    with pytest.raises(ConfigError, match="cannot tell which feature is the") as caught:
        find_names(F.FeaturesDict(features))
    assert all(f"{name}: " in str(caught.value) for name in features)


def test_what_cannot_be_opened_is_named(tmp_path, folder):
    for name, message in (
        (f"tfds:{tmp_path / 'absent'}:train", "absent': no such folder"),
        (f"tfds:{folder}:dev", "dev: cannot be opened: Unknown split"),
        (f"tfds:{folder}", "expected tfds:BUILDER_FOLDER:SPLIT"),
    ):
        with pytest.raises(ConfigError, match=message):
            TfdsSource(name, TOKENIZER)


def test_frames_without_a_rate_are_refused(tmp_path, caplog):
    features = {"x": F.Tensor(shape=(None, 16, 24, 3), dtype=np.uint8), "text": F.Text()}
    folder = build(tmp_path, "Rateless", features, lambda i: {"x": frames(i), "text": "a"})
    with pytest.raises(ConfigError, match="none of its 4 examples can be used"):
        TfdsSource(f"tfds:{folder}:train", TOKENIZER)
    assert "a Tensor of 5 frames needs a feature 'fps'" in caplog.text
