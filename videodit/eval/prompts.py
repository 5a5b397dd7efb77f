"""Prompt following: how much of what its prompt says a generated clip shows.

The prompts are captions of held-out clips of a world, whose claims are known. The world's detector
reads the generated clips. The share of claimed slots that it reads right is to be seen beside three
others: what it reads right in the true clips and in a codec's reconstructions of them (the
ceilings), and in clips that were generated for other prompts (chance).
"""

import collections
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, check
from videodit.data.sources.source import ArrayRecordSource
from videodit.data.video.files import whole
from videodit.inference.pipeline import Pipeline
from videodit.inference.request import Request
from videodit.worlds.matching import kind_of, match
from videodit.worlds.truth import FOLDER, Truth, read_truth
from videodit.worlds.world import Detection, Slots, open_world

ALL = "all"  # the row of a table that counts all kinds of slots
OTHERS = 7  # prompts whose clips tell what chance gives

Said = dict[str, Detection]


class Prompt(NamedTuple):
    """A caption of a held-out clip."""

    claims: Slots
    world: str
    row: int  # of the catalog
    request: Request  # whose prompt is the caption


class Share(NamedTuple):
    """Claimed slots, how many of them a detector reads right, and in clips of other prompts."""

    claimed: int = 0
    right: int = 0
    right_elsewhere: float = 0.0  # mean over at most OTHERS clips

    def plus(self, other: "Share") -> "Share":
        """The sums of both."""
        return Share(
            self.claimed + other.claimed,
            self.right + other.right,
            self.right_elsewhere + other.right_elsewhere,
        )

    def figures(self) -> dict[str, float]:
        """The number of claims, the share of them that is right, and that by chance."""
        count = max(self.claimed, 1)
        shares = (self.right / count, self.right_elsewhere / count)
        return dict(zip(("claimed", "right", "chance"), (self.claimed, *shares)))


def has_truth(folder: str | os.PathLike) -> bool:
    """Whether `folder` holds a dataset of tools.make_worlds."""
    return (Path(folder) / FOLDER).is_dir()


def read_prompts(
    source: ArrayRecordSource, folder: str | os.PathLike, split: str, count: int
) -> list[Prompt]:
    """The short captions of the first `count` clips of a split that claim something.

    `folder`: of the source. Each is asked for at the shape and rate of its clip. Raises ConfigError
    if the folder has no truth, or no such clip.
    """
    check(has_truth(folder), "data", str(folder), f"a dataset of tools.make_worlds, with {FOLDER}/")
    catalog, truths, prompts = source.catalog, {}, []
    for row in np.flatnonzero(catalog.split == split).tolist():
        shard = catalog.shard[row]
        if shard not in truths:
            truths[shard] = read_truth(folder, shard)
        truth = truths[shard][catalog.index[row]]
        if truth.short_slots:
            prompts.append(_prompt(truth, row, source))
        if len(prompts) == count:
            break
    expected = f"a dataset with captions in the split {split!r}"
    check(bool(prompts), "data", str(folder), expected)
    return prompts


def _prompt(truth: Truth, row: int, source: ArrayRecordSource) -> Prompt:
    catalog = source.catalog
    width, height, frames = (int(x[row]) for x in (catalog.width, catalog.height, catalog.frames))
    request = Request(truth.short, width, height, frames, float(catalog.fps[row]), row)
    return Prompt(truth.short_slots, truth.world, row, request)


def following(prompts: Sequence[Prompt], clips: Sequence[np.ndarray]) -> dict[str, Share]:
    """What the worlds' detectors read right, by kind of slot and for ALL.

    clips: one for each prompt, T H W 3 uint8; at least two, as chance is read in those of others.
    """
    detect = {name: open_world(name).detect for name in {p.world for p in prompts}}
    said = [detect[p.world](clip, p.request.fps) for p, clip in zip(prompts, clips)]
    table: dict[str, Share] = collections.defaultdict(Share)
    for i, prompt in enumerate(prompts):
        others = [said[(i + by) % len(said)] for by in range(1, min(OTHERS, len(said) - 1) + 1)]
        right = _right(prompt.claims, said[i])
        elsewhere = [_right(prompt.claims, other) for other in others]
        for slot in prompt.claims:
            mean = sum(slot in found for found in elsewhere) / len(elsewhere)
            share = Share(1, slot in right, mean)
            for name in (ALL, kind_of(slot)):
                table[name] = table[name].plus(share)
    return dict(table)


def _right(claims: Slots, said: Said) -> set[str]:
    """The claimed slots that a detector reads right; it may give objects in another order."""
    said = match(claims, said)
    return {slot for slot, value in claims.items() if slot in said and said[slot].value == value}


def true_clips(prompts: Sequence[Prompt], source: ArrayRecordSource) -> list[np.ndarray]:
    """The clips that the prompts are captions of: T H W 3 uint8 each."""
    return [
        source.read(p.row, whole(p.request.frames, p.request.height, p.request.width))
        for p in prompts
    ]


class PromptFollowing:
    """Prompts of a run's own data, followed at each evaluation.

    Raises ConfigError if `folder` is not a dataset of a world.
    """

    def __init__(self, folder: str, count: int) -> None:
        if not has_truth(folder):
            raise ConfigError(
                f"sample.followed={count}: data.catalog={folder!r} is not a dataset of a world, "
                "whose captions' claims are known"
            )
        self.prompts = read_prompts(ArrayRecordSource(folder), folder, "val", count)
        expected = "a dataset with at least two captions to follow"
        check(len(self.prompts) > 1, "data.catalog", folder, expected)

    def measure(self, pipeline: Pipeline) -> dict[str, float]:
        """The `figures` of clips that the pipeline makes."""
        clips = dict(pipeline([prompt.request for prompt in self.prompts]))
        return self.figures([clips[i] for i in range(len(self.prompts))])

    def figures(self, clips: Sequence[np.ndarray]) -> dict[str, float]:
        """`following` and `following_chance`, and both for each kind of slot."""
        found: dict[str, float] = {}
        for kind, share in following(self.prompts, clips).items():
            name = "following" if kind == ALL else f"following_{kind.removeprefix('*.')}"
            figures = share.figures()
            found |= {name: figures["right"], f"{name}_chance": figures["chance"]}
        return found
