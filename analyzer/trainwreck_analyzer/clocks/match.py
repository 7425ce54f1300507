"""What the events that two files both tell of say about the difference of their clocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from trainwreck_analyzer.clock import ZONE_STEP_S, zone_and_skew_s
from trainwreck_analyzer.clocks.marks import Key, Mark

LARGEST_SKEW_S = 120.0
"""Clocks of one cluster that are further apart than this, zone aside, are not taken for one."""
_BOOT_SPREAD_S = 2.0
_FEWEST_STEPS = 3
"""One step with the same number and loss may be chance."""
_RANKS_APART_S = 5.0
_MOST_PAIRS = 400
_SAME_S = 0.0015
"""Two stamps of one kernel line, written by different programs."""


@dataclass(frozen=True, slots=True)
class Match:
    """What to add to one clock so that it shows the other's time."""

    shift_s: float
    """Zone and skew together."""
    skew_s: float
    """The part that no zone explains; for a clock that counts from boot 0."""
    events: int
    """How many different events say so."""
    exact: bool
    """False: only reports that come some time after the event, so a skew may hide in that time."""


@dataclass(frozen=True, slots=True)
class _Difference:
    seconds: float
    at_s: float
    """When the event was, on the clock that is asked about."""
    key: Key
    exact: bool
    least: bool | None
    """Not exact: the true difference is at least this (else at most); None: either."""
    grain_s: float = 0.0
    """What is cut off: a clock that shows whole seconds is up to one behind. Infinite where one of
    the two has its time from a line before."""


def wall(
    own: Iterable[Mark], other: Iterable[Mark], *, largest_skew_s: float = LARGEST_SKEW_S
) -> Match | None:
    """The difference of two wall clocks, one of which may stand in another zone.

    None: they share no event, or what they share does not agree.
    """
    votes: dict[int, list[_Difference]] = defaultdict(list)
    for difference in _differences(own, other):
        apart = zone_and_skew_s(difference.seconds)
        if apart is not None and abs(apart[1]) <= largest_skew_s:
            votes[apart[0]].append(difference)
    best = _most_keys(votes)
    if best is None:
        return None
    zone_s, found = best
    skew_s = _agreed([d.seconds - zone_s for d in found], found, 0.0)
    return Match(zone_s + skew_s, skew_s, _events(found), any(d.exact for d in found))


def ranks(own: Iterable[Mark], other: Iterable[Mark]) -> Match | None:
    """The difference of the clocks of two ranks of one run, which print the same steps.

    Many steps agree, so a clock may be wrong by minutes; that one rank prints a little later than
    the other is no skew.
    """
    seen = wall(own, other, largest_skew_s=ZONE_STEP_S / 2)
    if seen is None or abs(seen.skew_s) > _RANKS_APART_S:
        return seen
    return Match(seen.shift_s - seen.skew_s, 0.0, seen.events, seen.exact)


def same_clock(own: Iterable[Mark], other: Iterable[Mark]) -> Match | None:
    """The skew of two clocks that both name their zone."""
    found = [d for d in _differences(own, other) if d.exact and abs(d.seconds) <= LARGEST_SKEW_S]
    if not found:
        return None
    skew_s = median(d.seconds for d in found)
    return Match(skew_s, skew_s, _events(found), True)


def since_boot(own: Iterable[Mark], other: Iterable[Mark]) -> Match | None:
    """When the machine booted, in seconds of the other clock."""
    usable = (d for d in _differences(own, other) if d.least is not None)
    differences = sorted(usable, key=lambda d: d.seconds)
    exact = [d for d in differences if d.exact]
    candidates = _runs(exact or differences, _BOOT_SPREAD_S if exact else LARGEST_SKEW_S)
    best = _most_keys(candidates)
    if best is None:
        return None
    _, found = best
    seconds = [d.seconds for d in found]
    shift_s = median(seconds) if exact else min(seconds)
    return Match(shift_s, 0.0, _events(found), bool(exact))


def _differences(own: Iterable[Mark], other: Iterable[Mark]) -> list[_Difference]:
    theirs: dict[Key, list[Mark]] = defaultdict(list)
    for mark in other:
        theirs[mark.key].append(mark)
    ours: dict[Key, list[Mark]] = defaultdict(list)
    for mark in own:
        if mark.key in theirs:
            ours[mark.key].append(mark)
    found: list[_Difference] = []
    for key, marks in ours.items():
        for mine, their in _pairs(marks, theirs[key]):
            found.append(_difference(mine, their, key))
    steps = {d.key for d in found if d.key[0] == "step"}
    return found if len(steps) >= _FEWEST_STEPS else [d for d in found if d.key not in steps]


def _pairs(ours: Sequence[Mark], theirs: Sequence[Mark]) -> list[tuple[Mark, Mark]]:
    """The first with the first where both tell of it as often, else each with each."""
    if len(ours) == len(theirs):
        return list(zip(ours, theirs, strict=True))
    return [(mine, their) for mine in ours for their in theirs][:_MOST_PAIRS]


def _most_keys(votes: dict[int, list[_Difference]]) -> tuple[int, list[_Difference]] | None:
    """The answer that most events give; None where two have as many."""
    ranked = sorted(votes.items(), key=lambda v: -len({d.key for d in v[1]}))
    if not ranked:
        return None
    if len(ranked) > 1 and len({d.key for d in ranked[0][1]}) == len({d.key for d in ranked[1][1]}):
        return None
    return ranked[0]


def _runs(differences: Sequence[_Difference], spread_s: float) -> dict[int, list[_Difference]]:
    """Neighbours in a sorted list that are no further apart than ``spread_s`` in all."""
    runs: dict[int, list[_Difference]] = {}
    for difference in differences:
        run = runs.get(len(runs) - 1)
        if run is not None and difference.seconds - run[0].seconds <= spread_s:
            run.append(difference)
        else:
            runs[len(runs)] = [difference]
    return runs


def _agreed(seconds: Sequence[float], found: Sequence[_Difference], default: float) -> float:
    """The middle of what exact marks say; else ``default``, moved as far as reports demand.

    A report comes after its event, whichever of the files it stands in.
    """
    exact = [(s, d.grain_s) for s, d in zip(seconds, found, strict=True) if d.exact]
    if exact:
        middle = median(s for s, _ in exact)
        return default if abs(middle - default) <= min(grain for _, grain in exact) else middle
    least = [s - d.grain_s for s, d in zip(seconds, found, strict=True) if d.least]
    most = [s + d.grain_s for s, d in zip(seconds, found, strict=True) if d.least is False]
    if least and max(least) > default:
        return max(least)
    if most and min(most) < default:
        return min(most)
    return default


def _difference(mine: Mark, their: Mark, key: Key) -> _Difference:
    whole = mine.at_s == int(mine.at_s) or their.at_s == int(their.at_s)
    loose = mine.loose or their.loose
    return _Difference(
        their.at_s - mine.at_s,
        mine.at_s,
        key,
        not (mine.late or their.late),
        None if mine.late and their.late else mine.late,
        inf if loose else 1.0 if whole else _SAME_S,
    )


def _events(found: Sequence[_Difference]) -> int:
    """How many moments they speak of: one kernel line tells of a kill and of a process's end."""
    return len({d.at_s for d in found})
