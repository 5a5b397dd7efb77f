"""Groups of picks, and how full their rows can be made.

A group is a fixed number of picks of each stream, packed on its own into exactly `rows_per_group`
rows. A plan finds out by trial, when it is made, how many picks that takes.
"""

import bisect
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from videodit.config import DataConfig
from videodit.data.planning.fitting import Capacity, fit_decreasing
from videodit.data.planning.picks import Picker, Picks, concatenate, schedules_at, stages
from videodit.data.planning.streams import Stream

TARGETS = (1.0, 0.998, 0.995, 0.99, *np.arange(0.98, 0.1, -0.02).round(2).tolist())
TRIAL_CLIPS = 2000  # clips that a target is tried on
TRIAL_PICKS = 60_000  # about how many picks are tried to find out how many a group needs
TRIAL_GROUPS = (2, 16)  # least and largest number of groups that are tried
UNPLACED = 0.002  # share of the clips on trial that may find no place
TEXT_COST = 0.002  # share of the rows that a chosen text_tokens may leave empty
TEXT_UNIT = 128  # a chosen text_tokens is a multiple of it


class Stage(NamedTuple):
    """A stretch of groups in which no schedule changes."""

    group: int  # first group
    step: int  # first step
    target: float  # share of a group's vision tokens that its picks are to fill
    shares: tuple[float, ...]  # for each stream, its share of a group's vision tokens
    counts: tuple[int, ...]  # for each stream, its picks in a group
    offsets: tuple[int, ...]  # for each stream, its picks before the first group

    def starts(self, group: int) -> tuple[int, ...]:
        """Picks of each stream before a group of this stage."""
        passed = group - self.group
        return tuple(o + passed * count for o, count in zip(self.offsets, self.counts))


@dataclass(frozen=True)
class Groups:
    """What groups are made of, and how many picks their rows hold."""

    streams: tuple[Stream, ...]
    picker: Picker
    cfg: DataConfig

    def pick(self, starts: Sequence[int], counts: Sequence[int], step: int) -> list[Picks]:
        """For each stream, `counts` picks from number `starts` on."""
        found, base = [], sum(starts)
        for stream, start, count in zip(self.streams, starts, counts):
            numbers = np.arange(base, base + count)  # of the picks of all streams
            clips = stream.order(np.arange(start, start + count))
            found.append(self.picker(clips, numbers, step))
            base += count
        return found

    def cuts(
        self,
        offered: Sequence[Picks],
        target: float,
        shares: Sequence[float],
        chance: Sequence[float] | None = None,
        text_tokens: int | None = None,
    ) -> list[int]:
        """For each stream, how many picks fill its share of a group up to the target.

        Where text tokens or segments are scarcer than vision tokens, all streams give less.
        `chance` holds a number in [0, 1) for each stream; it decides whether the pick that crosses
        the stream's bound is taken, so that shares hold on average however few picks a group has.
        `text_tokens` replaces what the config says.
        """
        sizes = self.capacity(text_tokens)
        scale = target * self.cfg.rows_per_group
        row_room, text_room, clip_room = (
            scale * sizes[name] for name in ("row_tokens", "text_tokens", "max_segments")
        )
        chance = [0.5] * len(offered) if chance is None else chance
        budgets = [share * row_room for share in shares]
        cuts = _cuts(offered, budgets, chance)
        text = sum(int(picked.text_length[:cut].sum()) for picked, cut in zip(offered, cuts))
        less = min(text_room / max(text, 1), clip_room / max(sum(cuts), 1))
        return cuts if less >= 1 else _cuts(offered, [less * size for size in budgets], chance)

    def fit(self, taken: Picks, text_tokens: int | None = None) -> list[list[int]]:
        """The rows of a group, as indices of the picks; the few that fit into no row are left out.

        `text_tokens` replaces what the config says.
        """
        return fit_decreasing(
            taken.keep.tolist(),
            taken.text_length.tolist(),
            **self.capacity(text_tokens),
            rows=self.cfg.rows_per_group,
        )

    def capacity(self, text_tokens: int | None = None) -> Capacity:
        """What a row holds at most; `text_tokens` replaces what the config says."""
        return Capacity(
            row_tokens=self.cfg.row_tokens,
            text_tokens=self.cfg.text_tokens if text_tokens is None else text_tokens,
            max_segments=self.cfg.max_segments,
        )


def take(offered: Sequence[Picks], cuts: Sequence[int]) -> Picks:
    """The first `cuts` picks of each stream, as one."""
    return concatenate([picked.take(slice(cut)) for picked, cut in zip(offered, cuts)])


def make_stages(groups: Groups) -> list[Stage]:
    """The stages of a run, in order, each with the fullest rows that its clips allow."""
    made: list[Stage] = []
    offsets = (0,) * len(groups.streams)
    for step in stages(groups.cfg.views):
        group = -(-step * groups.cfg.batch_rows // groups.cfg.rows_per_group)
        if made:
            offsets = made[-1].starts(group)
        if made and made[-1].group == group:  # it was shorter than a group
            made.pop()
        made.append(_Trial(groups, step).stage(group, offsets))
    return made


def choose_text_tokens(groups: Groups) -> int:
    """The least S, a multiple of TEXT_UNIT, that keeps rows about as full as any larger S."""
    longest = int(groups.picker.captions.tokens.max(initial=1))
    needs = [_Trial(groups, step).text_tokens() for step in stages(groups.cfg.views)]
    return -(-max(longest, *needs) // TEXT_UNIT) * TEXT_UNIT


class _Trial:
    """Groups made on trial, with the schedules of a step."""

    def __init__(self, groups: Groups, step: int) -> None:
        self.groups, self.step = groups, step
        images = schedules_at(groups.cfg.views, step).images
        self.shares = tuple(stream.share(images) for stream in groups.streams)
        self.room = groups.cfg.row_tokens * groups.cfg.rows_per_group
        streams = len(self.shares)
        means = [d.keep.mean() for d in groups.pick([0] * streams, [4096] * streams, step)]
        # Half as many again as the mean asks for, because the sizes of the picks vary.
        self.counts = [
            int(1.5 * share * self.room / mean) + 16 if share else 0
            for share, mean in zip(self.shares, means)
        ]
        least, most = TRIAL_GROUPS
        tried = int(np.clip(TRIAL_PICKS // max(sum(self.counts), 1), least, most))
        self.offered = [
            groups.pick([count * i for count in self.counts], self.counts, step)
            for i in range(tried)
        ]

    def stage(self, group: int, offsets: tuple[int, ...]) -> Stage:
        """The stage with the fullest rows in which nearly all clips find a place."""
        target = self.target()
        cuts = [self.groups.cuts(offered, target, self.shares) for offered in self.offered]
        # A little more, as other groups may need it; one more where chance may take one.
        most = np.max(cuts, 0) + (len(self.shares) > 1)
        counts = np.minimum(most + np.rint(0.003 * most).astype(int), self.counts)
        return Stage(group, self.step, target, self.shares, tuple(counts.tolist()), offsets)

    def target(self, text_tokens: int | None = None) -> float:
        """The largest of TARGETS at which nearly all clips fit into rows."""
        fits = lambda target: self.placed(target, text_tokens)[0] >= 1 - UNPLACED
        return TARGETS[bisect.bisect_left(TARGETS[:-1], True, key=fits)]

    def text_tokens(self) -> int:
        """The least multiple of TEXT_UNIT that keeps rows about as full as any larger one."""

        @functools.cache
        def fill(units: int) -> float:
            tokens = units * TEXT_UNIT
            return self.placed(self.target(tokens), tokens)[1]

        enough = fill(2**30) - TEXT_COST
        most = next(units for units in (2**n for n in itertools.count()) if fill(units) >= enough)
        units = range(most // 2 + 1, most + 1)
        return units[bisect.bisect_left(units, enough, key=fill)] * TEXT_UNIT

    def placed(self, target: float, text_tokens: int | None = None) -> tuple[float, float]:
        """The share of the picks that find a place, and the share of the rows that they fill."""
        limit = self.groups.capacity(text_tokens)["text_tokens"]
        picked = placed = tokens = tried = 0
        for offered in self.offered:
            taken = take(
                offered, self.groups.cuts(offered, target, self.shares, text_tokens=text_tokens)
            )
            picked, tried = picked + len(taken.clip), tried + 1
            taken = taken.take(taken.text_length <= limit)
            used = [i for row in self.groups.fit(taken, text_tokens) for i in row]
            placed, tokens = placed + len(used), tokens + taken.keep[used].sum()
            if picked >= TRIAL_CLIPS:
                break
        return placed / picked, tokens / (tried * self.room)


def _cuts(offered: Sequence[Picks], budgets: Sequence[float], chance: Sequence[float]) -> list[int]:
    """For each stream, how many picks it gives to a group; together they give at least one.

    A stream that is alone takes no more than its budget. One of several takes the pick that crosses
    its budget with the probability of the part that lies within it.
    """
    if len(offered) == 1:
        return [max(1, int(np.searchsorted(offered[0].keep.cumsum(), budgets[0], side="right")))]
    cuts = []
    for picked, budget, share in zip(offered, budgets, chance):
        reached = picked.keep.cumsum() - (1 - share) * picked.keep
        cuts.append(int(np.searchsorted(reached, budget)) if budget else 0)
    return cuts if any(cuts) else [int(i == np.argmax(budgets)) for i in range(len(cuts))]
