"""How a row of the plan becomes tokens: clips are read, masked, thinned out and packed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data import dropping, packing, patches
from videodit.data.packing import PackedBatch
from videodit.data.patches import Size
from videodit.data.planning import given
from videodit.data.planning.plan import Placed, Row
from videodit.data.sources.latents import LatentSource
from videodit.data.sources.source import Source
from videodit.data.tokenizer import Tokenizer

# (slot, clip, why it is broken) -> the clip to read instead, None to leave the slot empty.
Replace = Callable[[int, Placed, str], Placed | None]


@dataclass(frozen=True)
class Reader:
    """Fills rows; picklable, and free of jax, so that worker processes can have one."""

    source: Source | LatentSource
    tokenizer: Tokenizer
    cfg: DataConfig
    patch: Size
    seed: int
    chunk: int = 1  # latent frames, see data/planning/given.py
    channels: int = 0  # of the float32 latents that the source reads; 0: it reads uint8 pixels

    def empty_batch(self, rows: int) -> PackedBatch:
        """Rows of padding, to be filled."""
        names = ("row_tokens", "text_tokens", "max_segments")
        capacity = {name: getattr(self.cfg, name) for name in names}
        if self.channels:
            return packing.empty_batch(rows, self.channels, **capacity, dtype=np.float32)
        return packing.empty_batch(rows, 3 * math.prod(self.patch), **capacity)

    def fill(self, row: Row, out: PackedBatch, replace: Replace) -> None:
        """Fills the empty row `out` (no leading B); `replace` is asked for each broken clip."""
        segments, replaced = [], []
        for slot, planned in enumerate(row):
            placed, frames, text = self._read_any(slot, planned, replace)
            segments.append(self._segment(frames, text, placed) if placed else None)
            replaced.append(placed is not planned)
        packing.pack_row(segments, out, patch=self._cell, replaced=replaced)

    @property
    def _cell(self) -> Size:
        """What of a clip as it is read makes up a token."""
        return (1, 1, 1) if self.channels else self.patch

    def _read_any(
        self, slot: int, placed: Placed | None, replace: Replace
    ) -> tuple[Placed | None, np.ndarray | None, list[int] | None]:
        """The planned clip or else what replaces it, with its frames and text tokens."""
        while placed:
            text = self._text(placed)
            try:
                self._check_text(placed, text)
                return placed, self._read(placed), text
            except Exception as error:  # whatever a decoder makes of damaged bytes
                placed = replace(slot, placed, _reason(error))
        return None, None, None

    def _text(self, placed: Placed) -> list[int]:
        catalog = self.source.catalog
        return self.tokenizer.encode(catalog.captions[placed.clip][placed.caption])

    def _check_text(self, placed: Placed, text: list[int]) -> None:
        expected = self.source.catalog.text_tokens[placed.clip][placed.caption]
        if len(text) != expected:
            which = f"caption {placed.caption} has {len(text)} tokens"
            raise ConfigError(f"{which}, the catalog says {expected}")

    def _read(self, placed: Placed) -> np.ndarray:
        """Frames T H W 3, or latents t h w C.

        Raises what the source raises, and ConfigError for frames that are not as planned.
        """
        frames, view = self.source.read(placed.clip, placed.view), placed.view
        expected = (view.frames, view.height, view.width, 3)
        if self.channels:
            expected = (*patches.grid(*expected[:3], self.patch), self.channels)
        if frames.shape != expected:
            raise ConfigError(f"T H W C is {frames.shape}, the plan says {expected}")
        return frames[:: -1 if placed.reversed else 1, :, :: -1 if placed.mirrored else 1]

    def _segment(self, frames: np.ndarray, text: list[int], placed: Placed) -> packing.Segment:
        """The clip with its caption, and which of its tokens are given and which stay."""
        rng = np.random.default_rng([self.seed, placed.sample_id])
        grid = patches.grid(*frames.shape[:3], self._cell)
        mode_id, mask = given.choose_mode(placed.mode_id, grid, rng, self.chunk)
        kept = None
        if placed.keep < mask.size:
            counts = dict(keep=placed.keep, drop_static=placed.drop_static)
            kept = dropping.choose(frames, self._cell, **counts, given=mask.reshape(-1), rng=rng)
        return packing.segment(
            frames,
            patch=self.patch,
            fps=float(self.source.catalog.fps[placed.clip]) / placed.view.stride,
            text_ids=text,
            grid=grid,
            given=mask,
            kept=kept,
            mode_id=mode_id,
            sample_id=placed.sample_id,
            clip_id=placed.clip,
        )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
