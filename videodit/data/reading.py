"""Turns a row of the plan into tokens: clips are read, masked, thinned out and packed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data import dropping, packing, patches
from videodit.data.packing import HostBatch
from videodit.data.patches import Size
from videodit.data.planning import given
from videodit.data.planning.plan import Placed, Row
from videodit.data.sources.source import Clips
from videodit.data.tokenizer import Tokenizer

# (slot, clip, why it is broken) -> the clip to read instead, or None to leave the slot empty.
Replace = Callable[[int, Placed, str], Placed | None]


@dataclass(frozen=True)
class Reader:
    """Fills rows. It can be pickled and needs no jax, so worker processes can have one."""

    source: Clips
    tokenizer: Tokenizer
    cfg: DataConfig
    patch: Size
    seed: int
    chunk: int = 1  # the autoencoder's, in latent frames: see data/planning/given.py
    channels: int = 0  # channels of the float32 latents that the source reads; 0: uint8 pixels

    def empty_batch(self, rows: int) -> HostBatch:
        """Rows of padding, which `fill` fills."""
        return packing.empty_batch(
            rows,
            self.channels or 3 * math.prod(self.patch),
            row_tokens=self.cfg.row_tokens,
            text_tokens=self.cfg.text_tokens,
            max_segments=self.cfg.max_segments,
            dtype=np.float32 if self.channels else np.uint8,
        )

    def fill(self, row: Row, out: HostBatch, replace: Replace) -> None:
        """Fills the empty row `out` (no leading B); calls `replace` for each broken clip."""
        segments, replaced = [], []
        for slot, planned in enumerate(row):
            found = self._read_any(slot, planned, replace)
            segments.append(self._segment(*found) if found else None)
            replaced.append(found is None or found[0] is not planned)
        packing.pack_row(segments, out, patch=self._cell, replaced=replaced)

    @property
    def _cell(self) -> Size:
        """The patch that makes a token, in the units that the source reads: pixels or latents."""
        return (1, 1, 1) if self.channels else self.patch

    def _read_any(
        self, slot: int, placed: Placed | None, replace: Replace
    ) -> tuple[Placed, np.ndarray, list[int]] | None:
        """The planned clip, or the one that replaces it, with its frames and text ids.

        None if neither can be read.
        """
        while placed:
            text_ids = self._text_ids(placed)
            try:
                self._check_text(placed, text_ids)
                return placed, self._read(placed), text_ids
            except Exception as error:  # decoders raise all kinds of errors for damaged bytes
                placed = replace(slot, placed, _reason(error))
        return None

    def _text_ids(self, placed: Placed) -> list[int]:
        catalog = self.source.catalog
        return self.tokenizer.encode(catalog.captions[placed.clip][placed.caption])

    def _check_text(self, placed: Placed, text_ids: list[int]) -> None:
        expected = self.source.catalog.caption_lengths[placed.clip][placed.caption]
        if len(text_ids) != expected:
            which = f"caption {placed.caption} has {len(text_ids)} tokens"
            raise ConfigError(f"{which}, the catalog says {expected}")

    def _read(self, placed: Placed) -> np.ndarray:
        """The frames T H W 3 of a clip, or its latents t h w C.

        Raises what the source raises, and ConfigError for a size that is not the planned one.
        """
        frames, view = self.source.read(placed.clip, placed.view), placed.view
        expected = (view.frames, view.height, view.width, 3)
        if self.channels:
            grid = patches.grid(view.frames, view.height, view.width, self.patch)
            expected = (*grid, self.channels)
        if frames.shape != expected:
            raise ConfigError(f"T H W C is {frames.shape}, the plan says {expected}")
        return frames[:: -1 if placed.reversed else 1, :, :: -1 if placed.mirrored else 1]

    def _segment(self, placed: Placed, frames: np.ndarray, text_ids: list[int]) -> packing.Segment:
        """The clip with its caption and the masks of its given tokens and of those that stay."""
        rng = np.random.default_rng([self.seed, placed.sample_id])
        grid = patches.grid_of(frames, self._cell)
        mode_id, mask = given.choose_mode(placed.mode_id, grid, rng, self.chunk)
        kept = None
        if placed.keep < mask.size:
            kept = dropping.choose(
                frames,
                self._cell,
                keep=placed.keep,
                drop_static=placed.drop_static,
                given=mask.reshape(-1),
                rng=rng,
            )
        return packing.segment(
            frames,
            patch=self.patch,
            fps=float(self.source.catalog.fps[placed.clip]) / placed.view.stride,
            text_ids=text_ids,
            grid=grid,
            given=mask,
            kept=kept,
            mode_id=mode_id,
            sample_id=placed.sample_id,
            clip_id=placed.clip,
        )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
