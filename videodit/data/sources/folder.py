"""A plain folder of videos and images, with captions in files beside them.

A video or image NAME.mp4, NAME.png and so on is described by NAME.txt (one caption a line) or
NAME.json ({"caption": TEXT} or {"captions": [TEXT, ...]}) beside it. A file without captions is
left out.

The folder is indexed when it is first used, into FOLDER/.videodit/catalog.parquet, or in the cache
if the folder cannot be written. Later only new and changed files are indexed. The share
data.val_fraction of the files, chosen by a hash of their names, is held out for validation.
"""

import logging
import os
from pathlib import PurePosixPath

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data.sources import storage
from videodit.data.sources.indexing import Index, IndexedClip, index_folder, run_all, split_of
from videodit.data.sources.kept import KeptFile
from videodit.data.tokenizer import Tokenizer
from videodit.data.video.files import EDITION, View, probe, read_clip
from videodit.data.video.kinds import SUFFIXES, is_media, unread
from videodit.data.video.measure import measure, stretches
from videodit.files import captions_of, named, read_lines, read_object

LEFT_OUT = "left out: %s"
SIDECARS = (".json", ".txt")  # suffixes of the files with captions
logger = logging.getLogger(__name__)


class FolderSource(KeptFile):
    """Clips of a folder. Their ids are the names of their files relative to it."""

    def __init__(
        self,
        folder: str | os.PathLike,
        tokenizer: Tokenizer,
        where: str = "",
        val_fraction: float = DataConfig.val_fraction,
    ) -> None:
        """Indexes new and changed files. Raises ConfigError if no file can be used."""
        self._folder = os.fspath(folder)
        kept = index_folder(folder)
        with storage.locked(f"index {kept}"):  # the processes of a machine index it once
            update_index(folder, Index(kept), tokenizer, val_fraction)
            super().__init__(kept, where, tokenizer, folder)

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of the clip in row i: uint8 T H W 3, RGB.

        Raises ConfigError naming the clip if it cannot be decoded or has changed since then.
        """
        row, name = self.catalog, self.catalog.ids[i]
        expected = (int(row.frames[i]), int(row.height[i]), int(row.width[i]))
        try:
            file = storage.local(os.path.join(self._folder, name))
            return read_clip(file, view, float(row.fps[i]), expected=expected)
        except ConfigError as error:
            raise ConfigError(f"clip {name}: {error}") from error


def update_index(
    folder: str | os.PathLike, index: Index, tokenizer: Tokenizer, val_fraction: float
) -> None:
    """Brings a folder's index up to date. Raises ConfigError if no clip comes out."""
    names = set(storage.files(folder))
    media = sorted(filter(is_media, names))
    if others := unread(names, SIDECARS):
        logger.warning("%s: captioned files of other kinds are left out: %s", folder, others)
    if not media:
        raise ConfigError(f"{folder}: expected videos or images in it ({', '.join(SUFFIXES)})")
    sidecars = {name: min(found) for name in media if (found := _sidecars(name) & names)}
    if not sidecars:
        raise ConfigError(
            f"{folder}: none of its {len(media)} videos and images has captions; expected NAME.txt "
            f"or NAME.json beside each, such as {max(_sidecars(media[0]))}"
        )
    missing = [name for name in media if name not in sidecars]
    if missing:
        count = f"{len(missing)} of {len(media)} files have no captions"
        logger.info("%s: %s and are left out, such as %s", folder, count, missing[0])

    def entry(name: str) -> tuple[IndexedClip, str]:
        captions = read_captions(os.path.join(folder, sidecars[name]))
        stamp = f"{storage.stamp(os.path.join(folder, name))}:{EDITION}"
        old, old_stamp = index.clips.get(name, (None, None))
        clip = old if old and stamp == old_stamp else _measured(folder, name)
        return clip._replace(captions=captions, split=split_of(name, val_fraction)), stamp

    results = run_all(entry, sidecars, len(sidecars), f"indexing {folder}")
    entries = [result for result in results if result]
    if not entries:
        raise ConfigError(f"{folder}: none of its {len(sidecars)} captioned files can be read")
    clips, stamps = zip(*entries)
    index.update(list(clips), list(stamps), tokenizer)


def _sidecars(name: str) -> set[str]:
    path = PurePosixPath(name)
    return {str(path.with_suffix(suffix)) for suffix in SIDECARS}


def read_captions(path: str) -> tuple[str, ...]:
    """The captions in a .txt or .json file. Raises ConfigError naming it if there are none.

    A line of a .txt that is no UTF-8 is logged and left out.
    """
    file = storage.local(path)
    if path.endswith(".json"):
        values = read_object(file)
        with named(path):
            return captions_of(values)
    captions = tuple(read_lines(file, str.strip, lambda reason: logger.warning(LEFT_OUT, reason)))
    if not captions:
        raise ConfigError(f"{path}: holds no caption")
    return captions


def _measured(folder: str | os.PathLike, name: str) -> IndexedClip:
    """The index entry of a file without captions and split, from decoded parts.

    Raises ConfigError.
    """
    file = storage.local(os.path.join(folder, name))
    info = probe(file)
    views = stretches(info.frames, info.height, info.width)
    measured = measure(read_clip(file, view, info.fps) for view in views)
    return IndexedClip(
        ids=name,
        shard="",
        index=0,
        width=info.width,
        height=info.height,
        frames=info.frames,
        fps=info.fps,
        captions=(),
        split="",
        motion=measured.motion,
        static=measured.static,
    )
