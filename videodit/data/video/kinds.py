"""Kinds of media files: which are read, and which are read by Pillow before FFmpeg has them."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from PIL import Image, ImageOps

SUFFIXES = (  # of videos and images, in folders
    *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    *(".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
)
# FFmpeg leaves out the transparency and all tiles but one of AVIF, and the turns of TIFF.
OF_PILLOW = (".avif", ".tif", ".tiff")
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def is_media(name: str) -> bool:
    """Whether a file's name ends like that of a video or an image."""
    return PurePath(name).suffix.lower() in SUFFIXES


def unread(names: Iterable[str], sidecars: Iterable[str]) -> str:
    """Counts captioned files of other kinds by suffix, such as "2 .heic, 1 .psd"; "" if none.

    A file is captioned if one of the same name, but with a suffix of `sidecars`, is beside it.
    """
    names = set(names)
    read = {PurePath(name).with_suffix("") for name in names if is_media(name)}
    counts: Counter[str] = Counter()
    for name in names:
        path = PurePath(name)
        captioned = any(str(path.with_suffix(suffix)) in names for suffix in sidecars)
        if captioned and path.suffix not in sidecars and path.with_suffix("") not in read:
            counts[path.suffix.lower()] += 1
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())


def as_png(path: str) -> bytes | None:
    """A still image of a kind that FFmpeg reads in part only; None: FFmpeg is to read the file."""
    if PurePath(path).suffix.lower() not in OF_PILLOW:
        return None
    with contextlib.suppress(Exception), Image.open(path) as image:  # FFmpeg names what is wrong
        if image.format == "TIFF" or not getattr(image, "is_animated", False):
            still, png = ImageOps.exif_transpose(image), io.BytesIO()
            still = still if still.mode in PNG_MODES else still.convert("RGB")
            still.save(png, "PNG", compress_level=0, exif=b"")
            return png.getvalue()
    return None
