"""PackedBatch, the one form in which visual data reaches a model, and how a row is filled."""

from typing import NamedTuple

import numpy as np


class PackedBatch(NamedTuple):
    """B rows of L vision tokens and S text tokens, holding up to M clips each; K = 2 M.

    Tokens of one clip are contiguous and ordered (t, h, w); clips follow one another from the
    start of the row and padding ends it. The caption of segment m lies in the text row under
    text segment id m. Without the leading B the same tuple is one row.
    """

    tokens: np.ndarray  # B L P uint8 pixels of a patch (or float32 latents)
    positions: np.ndarray  # B L 3 float32: t in seconds, h and w in patches
    segment_ids: np.ndarray  # B L int32: 1..M, non-decreasing; 0 is padding
    given: np.ndarray  # B L bool: tokens that the task gives (noise level 0)
    noise_slot_ids: np.ndarray  # B L int32: 2 (segment - 1) + given; -1 is padding
    text_tokens: np.ndarray  # B S int32
    text_segment_ids: np.ndarray  # B S int32: segment of the caption; 0 is padding
    text_positions: np.ndarray  # B S int32: index within the caption
    sample_ids: np.ndarray  # B M uint32: which draw of the stream of clips; seeds level and noise
    clip_ids: np.ndarray  # B M int32: row of the catalog; -1 where there is no clip
    grids: np.ndarray  # B M 3 int32: latent frames, height, width in patches; 0 where no clip
    fps: np.ndarray  # B M float32: frames per second of the pixels
    task_ids: np.ndarray  # B M int32: index into data/tasks.py:TASKS
    valid: np.ndarray  # B M bool: the segment holds a clip
