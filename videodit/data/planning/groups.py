"""Groups of the shuffled order of clips, and how full their rows can be made.

A group is a fixed number of draws of each stream, packed on its own into exactly
`rows_per_group` rows. How many draws that takes is tried when a plan is made.
"""

import bisect
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from videodit.config import DataConfig
from videodit.data.planning import draws
from videodit.data.planning.draws import Draws, Sampler
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.planning.streams import Stream

TARGETS = (1.0, 0.998, 0.995, 0.99, *np.arange(0.98, 0.1, -0.02).round(2).tolist())
TRIAL_CLIPS = 2000  # that a target is tried on
TRIAL_DRAWS = 60_000  # about as many say how many draws a group needs
TRIAL_GROUPS = (2, 16)  # at least, at most
UNPLACED = 0.002  # share of the clips on trial that may fit into no row
TEXT_COST = 0.002  # share of the rows that a chosen text_tokens may leave empty
TEXT_UNIT = 128  # a chosen text_tokens is a multiple of it


class Stage(NamedTuple):
    """A stretch of groups in which no schedule changes."""

    group: int  # the first
    step: int  # the first
    target: float  # share of a group's vision tokens that its draws are to fill
    shares: tuple[float, ...]  # of a group's vision tokens, of each stream
    counts: tuple[int, ...]  # draws of a group, of each stream
    offsets: tuple[int, ...]  # draws before the first group, of each stream

    def starts(self, group: int) -> tuple[int, ...]:
        """Draws of each stream before a group of this stage."""
        passed = group - self.group
        return tuple(o + passed * count for o, count in zip(self.offsets, self.counts))


@dataclass(frozen=True)
class Groups:
    """What groups are made of, and how they are packed."""

    streams: tuple[Stream, ...]
    sampler: Sampler
    cfg: DataConfig

    def draw(self, starts: Sequence[int], counts: Sequence[int], step: int) -> list[Draws]:
        """Draws of each stream, `counts` from number `starts` on."""
        found, base = [], sum(starts)
        for stream, start, count in zip(self.streams, starts, counts):
            numbers = np.arange(base, base + count)  # of all streams' draws
            clips = stream.order(np.arange(start, start + count))
            found.append(self.sampler(clips, numbers, step))
            base += count
        return found

    def cuts(
        self,
        offered: Sequence[Draws],
        target: float,
        shares: Sequence[float],
        chance: Sequence[float] | None = None,
        **capacity: int,
    ) -> list[int]:
        """How many draws of each stream fill its share of a group up to the target.

        Where text tokens or segments bind more than vision tokens, all streams give less. `chance`,
        a number in [0, 1) of each stream, decides about the draw across its bound, so that shares
        hold on average however few draws a group has. `capacity` replaces what the config says.
        """
        capacity = self.capacity() | capacity
        room = {name: target * self.cfg.rows_per_group * size for name, size in capacity.items()}
        chance = [0.5] * len(offered) if chance is None else chance
        budgets = [share * room["row_tokens"] for share in shares]
        cuts = _cuts(offered, budgets, chance)
        text = sum(int(drawn.text[:cut].sum()) for drawn, cut in zip(offered, cuts))
        less = min(room["text_tokens"] / max(text, 1), room["max_segments"] / max(sum(cuts), 1))
        return cuts if less >= 1 else _cuts(offered, [less * size for size in budgets], chance)

    def fit(self, taken: Draws, **capacity: int) -> list[list[int]]:
        """The rows of a group: indices of the draws; the few that fit into none are left out."""
        return fit_decreasing(
            taken.keep.tolist(),
            taken.text.tolist(),
            **self.capacity() | capacity,
            rows=self.cfg.rows_per_group,
        )

    def capacity(self) -> dict[str, int]:
        """What a row holds at most, by the names of `fit_decreasing`."""
        names = ("row_tokens", "text_tokens", "max_segments")
        return {name: getattr(self.cfg, name) for name in names}


def take(offered: Sequence[Draws], cuts: Sequence[int]) -> Draws:
    """The first draws of each stream, so many."""
    return draws.concatenate([drawn.take(slice(cut)) for drawn, cut in zip(offered, cuts)])


def make_stages(groups: Groups) -> list[Stage]:
    """The stages of a run, in order, each with the fullest rows that its clips allow."""
    made, offsets = [], (0,) * len(groups.streams)
    for step in draws.stages(groups.cfg.views):
        group = -(-step * groups.cfg.batch_rows // groups.cfg.rows_per_group)
        if made:
            offsets = made[-1].starts(group)
        if made and made[-1].group == group:  # it was shorter than a group
            made.pop()
        made.append(_Trial(groups, step).stage(group, offsets))
    return made


def choose_text_tokens(groups: Groups) -> int:
    """The least S, a multiple of TEXT_UNIT, with which rows are about as full as with any."""
    longest = int(groups.sampler.captions.tokens.max(initial=1))
    needs = [_Trial(groups, step).text_tokens() for step in draws.stages(groups.cfg.views)]
    return -(-max(longest, *needs) // TEXT_UNIT) * TEXT_UNIT


class _Trial:
    """Groups made on trial, as at a step."""

    def __init__(self, groups: Groups, step: int):
        self.groups, self.step = groups, step
        images = draws.at(groups.cfg.views, step).images
        self.shares = tuple(stream.share(images) for stream in groups.streams)
        self.room = groups.cfg.row_tokens * groups.cfg.rows_per_group
        streams = len(self.shares)
        means = [d.keep.mean() for d in groups.draw([0] * streams, [4096] * streams, step)]
        # Half as many again as the mean says: the size of a group's draws varies.
        self.counts = [
            int(1.5 * share * self.room / mean) + 16 if share else 0
            for share, mean in zip(self.shares, means)
        ]
        least, most = TRIAL_GROUPS
        tried = int(np.clip(TRIAL_DRAWS // max(sum(self.counts), 1), least, most))
        self.offered = [
            groups.draw([count * i for count in self.counts], self.counts, step)
            for i in range(tried)
        ]

    def stage(self, group: int, offsets: tuple[int, ...]) -> Stage:
        """The stage with the fullest rows in which nearly all clips find a place."""
        target = self.target()
        cuts = [self.groups.cuts(offered, target, self.shares) for offered in self.offered]
        # A little more, as other groups may need it; a draw more where chance takes one.
        most = np.max(cuts, 0) + (len(self.shares) > 1)
        counts = np.minimum(most + np.rint(0.003 * most).astype(int), self.counts)
        return Stage(group, self.step, target, self.shares, tuple(counts.tolist()), offsets)

    def target(self, **capacity: int) -> float:
        """The largest of TARGETS at which nearly all clips fit into rows."""
        fits = lambda target: self.placed(target, **capacity)[0] >= 1 - UNPLACED
        return TARGETS[bisect.bisect_left(TARGETS[:-1], True, key=fits)]

    def text_tokens(self) -> int:
        """The least text_tokens, in TEXT_UNIT, with which rows are about as full as with any."""

        @functools.cache
        def fill(units: int) -> float:
            capacity = {"text_tokens": units * TEXT_UNIT}
            return self.placed(self.target(**capacity), **capacity)[1]

        enough = fill(2**30) - TEXT_COST
        most = next(units for units in (2**n for n in itertools.count()) if fill(units) >= enough)
        units = range(most // 2 + 1, most + 1)
        return units[bisect.bisect_left(units, enough, key=fill)] * TEXT_UNIT

    def placed(self, target: float, **capacity: int) -> tuple[float, float]:
        """The share of the draws that find a place, and the share of the rows that they fill."""
        limit = capacity.get("text_tokens", self.groups.cfg.text_tokens)
        drawn = placed = tokens = tried = 0
        for offered in self.offered:
            taken = take(offered, self.groups.cuts(offered, target, self.shares, **capacity))
            drawn, tried = drawn + len(taken.clip), tried + 1
            taken = taken.take(taken.text <= limit)
            used = [i for row in self.groups.fit(taken, **capacity) for i in row]
            placed, tokens = placed + len(used), tokens + taken.keep[used].sum()
            if drawn >= TRIAL_CLIPS:
                break
        return placed / drawn, tokens / (tried * self.room)


def _cuts(offered: Sequence[Draws], budgets: Sequence[float], chance: Sequence[float]) -> list[int]:
    """How many draws each stream gives to a group, one at least in all.

    A stream that is alone takes no more than its budget. Of several, each takes the draw across
    its budget with the probability of the part that lies within.
    """
    if len(offered) == 1:
        return [max(1, int(np.searchsorted(offered[0].keep.cumsum(), budgets[0], side="right")))]
    cuts = []
    for drawn, budget, share in zip(offered, budgets, chance):
        reached = drawn.keep.cumsum() - (1 - share) * drawn.keep
        cuts.append(int(np.searchsorted(reached, budget)) if budget else 0)
    return cuts if any(cuts) else [int(i == np.argmax(budgets)) for i in range(len(cuts))]
