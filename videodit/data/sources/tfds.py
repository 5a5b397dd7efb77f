"""Datasets of tensorflow-datasets, read without TensorFlow: "tfds:BUILDER_FOLDER:SPLIT".

BUILDER_FOLDER is the folder of a version, with dataset_info.json and array_record files. Its
features are recognized by their kind:

clip: an Image; or a Tensor(shape=(), dtype=object) named video, clip, image or bytes, which holds
    the encoded bytes of a video or an image; or a Tensor T H W 3 of uint8. If several features
    qualify, the first of those names is taken.
captions: a Text or a Sequence of Text. If several features qualify, the first one named caption,
    captions, text or texts is taken. An example without any text is left out.
fps: optional, a number of frames per second; needed for a Tensor of several frames.

The examples are indexed when they are first used, into BUILDER_FOLDER/.videodit, or in the cache
if the folder cannot be written. The splits val, validation and test, whole or in part, are held
out; of any other split the share data.val_fraction of the examples is.
"""

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videodit.config import ConfigError, DataConfig, one_line
from videodit.data.patches import Size
from videodit.data.sources import storage
from videodit.data.sources.indexing import Index, IndexedClip, index_folder, run_all, split_of
from videodit.data.sources.kept import KeptFile
from videodit.data.tokenizer import Tokenizer
from videodit.data.video.files import EDITION, VideoInfo, View, probe, read_clip, resize
from videodit.data.video.measure import measure, stretches

PREFIX = "tfds:"
CLIP_NAMES = ("video", "clip", "image", "bytes")
CAPTION_NAMES = ("caption", "captions", "text", "texts")
FPS_NAME = "fps"
VAL_SPLITS = ("val", "validation", "test")


class Names(NamedTuple):
    """The names of the features of an example that are used."""

    clip: str
    caption: str
    fps: str | None


class TfdsSource(KeptFile):
    """The examples of one split; the catalog's column `index` says which example a clip is."""

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        where: str = "",
        val_fraction: float = DataConfig.val_fraction,
    ) -> None:
        """Opens "tfds:BUILDER_FOLDER:SPLIT" and indexes examples that are new.

        Raises ConfigError if no example can be used.
        """
        match = re.fullmatch(PREFIX + r"(.+):(\w+(?:\[[^\]]*\])?)", name)
        if not match:
            raise ConfigError(f"data.catalog={name!r}: expected {PREFIX}BUILDER_FOLDER:SPLIT")
        folder, self._split = match.groups()
        held_out = re.split(r"\W", self._split)[0] in VAL_SPLITS
        self._val_fraction = 1.0 if held_out else val_fraction
        self._folder = storage.local_folder(folder)
        kept = index_folder(folder, re.sub(r"[^\w.-]", "_", self._split))
        with storage.locked(f"index {kept}"):  # the processes of a machine index it once
            self._update_index(Index(kept), tokenizer)
            super().__init__(kept, where, tokenizer, self._folder)

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of the clip in row i: uint8 T H W 3, RGB.

        Raises ConfigError naming the clip if it cannot be decoded or has changed since then.
        """
        row = self.catalog
        expected = (int(row.frames[i]), int(row.height[i]), int(row.width[i]))
        try:
            data = self._opened.examples[int(row.index[i])][self._opened.names.clip]
            return _read(data, view, float(row.fps[i]), expected)
        except (ConfigError, RuntimeError, ValueError, IndexError) as error:
            raise ConfigError(f"clip {row.ids[i]}: {one_line(error)}") from error

    @functools.cached_property
    def _opened(self) -> "_Opened":
        return _open(self._folder, self._split)

    def _update_index(self, index: Index, tokenizer: Tokenizer) -> None:
        examples, names, label = self._opened
        stamp = f"{storage.stamp(self._folder / 'dataset_info.json')}:{EDITION}"

        def entry(i: int) -> IndexedClip:
            name = f"{label}/{self._split}/{i:08d}"
            old, old_stamp = index.clips.get(name, (None, None))
            split = split_of(name, self._val_fraction)
            if old and old_stamp == stamp:
                return old._replace(split=split)
            try:
                return _measured(examples[i], names, name, i)._replace(split=split)
            except (ConfigError, RuntimeError, ValueError) as error:
                raise ConfigError(f"{name}: {one_line(error)}") from error

        count = len(examples)
        found = run_all(entry, range(count), count, f"indexing {self._folder}")
        clips = [clip for clip in found if clip]
        if not clips:
            raise ConfigError(f"{self._folder}: none of its {count} examples can be used")
        index.update(clips, [stamp] * len(clips), tokenizer)


class _Opened(NamedTuple):
    examples: Sequence[Mapping[str, Any]]
    names: Names
    label: str  # name of the dataset, with its version


def _open(folder: Path, split: str) -> _Opened:
    """Opens a split; images stay encoded. Raises ConfigError."""
    import tensorflow_datasets as tfds  # takes seconds, and few need it

    try:
        builder = tfds.builder_from_directory(os.fspath(folder))
        names = find_names(builder.info.features)
        is_image = isinstance(builder.info.features[names.clip], tfds.features.Image)
        decoders = {names.clip: tfds.decode.SkipDecoding()} if is_image else None
        examples = builder.as_data_source(split, decoders=decoders)
    except (OSError, ValueError, NotImplementedError, ImportError) as error:
        raise ConfigError(
            f"{PREFIX}{folder}:{split}: cannot be opened: {one_line(error)}"
        ) from error
    return _Opened(examples, names, builder.info.full_name)


def find_names(features: Mapping[str, Any]) -> Names:
    """The names of a builder's features that are the clip, its captions and its frame rate.

    Raises ConfigError, listing the features, if no feature or several could be the clip or caption.
    """
    import tensorflow_datasets as tfds

    def is_text(feature: Any) -> bool:
        inner = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
        return isinstance(inner, tfds.features.Text)

    def is_clip(name: str, feature: Any) -> bool:
        if isinstance(feature, tfds.features.Image):
            return True
        if not isinstance(feature, tfds.features.Tensor) or is_text(feature):
            return False
        if feature.shape == () and feature.np_dtype == np.object_:
            return name in CLIP_NAMES
        return len(feature.shape) == 4 and feature.shape[3] == 3 and feature.np_dtype == np.uint8

    listed = ", ".join(f"{name}: {type(feature).__name__}" for name, feature in features.items())
    clips = [name for name, feature in features.items() if is_clip(name, feature)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    clip, caption = _choose(clips, CLIP_NAMES), _choose(texts, CAPTION_NAMES)
    if clip is None or caption is None:
        what = "clip" if clip is None else "caption"
        raise ConfigError(f"cannot tell which feature is the {what}; it has {listed}")
    return Names(clip, caption, FPS_NAME if FPS_NAME in features else None)


def _choose(found: list[str], preferred: tuple[str, ...]) -> str | None:
    """The only name that was found, or the first of the preferred names."""
    return found[0] if len(found) == 1 else next((n for n in preferred if n in found), None)


def _measured(example: Mapping[str, Any], names: Names, name: str, i: int) -> IndexedClip:
    """The index entry of an example, without its split.

    Raises ConfigError if the example cannot be used.
    """
    data, texts = example[names.clip], example[names.caption]
    texts = [texts] if isinstance(texts, (bytes, str)) else list(texts)
    decoded = (text.decode() if isinstance(text, bytes) else str(text) for text in texts)
    captions = tuple(text.strip() for text in decoded if text.strip())
    if not captions:
        raise ConfigError("has no caption")
    fps = float(example[names.fps]) if names.fps else 0.0
    info = _info(data, fps)
    shape = (info.frames, info.height, info.width)
    measured = measure(_read(data, view, info.fps, shape) for view in stretches(*shape))
    return IndexedClip(
        ids=name,
        shard="",
        index=i,
        width=info.width,
        height=info.height,
        frames=info.frames,
        fps=info.fps,
        captions=captions,
        split="",
        motion=measured.motion,
        static=measured.static,
    )


def _info(data: bytes | np.ndarray, fps: float) -> VideoInfo:
    """Size and frame rate of a clip; `fps` is the example's, or 0 if it has none."""
    if isinstance(data, bytes):
        info = probe(data)
        return info._replace(fps=fps) if fps and info.frames > 1 else info
    frames, height, width = data.shape[:3]
    if frames > 1 and not fps:
        raise ConfigError(f"a Tensor of {frames} frames needs a feature {FPS_NAME!r}")
    return VideoInfo(width, height, frames, fps or 1.0)


def _read(data: bytes | np.ndarray, view: View, fps: float, expected: Size) -> np.ndarray:
    if isinstance(data, bytes):
        return read_clip(data, view, fps, expected=expected)
    if data.shape[:3] != expected:
        raise ConfigError(f"T H W is {data.shape[:3]}, the index says {expected}")
    return resize(data, view)
