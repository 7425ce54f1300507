"""From which step on a run was slower, for good: not the odd slow step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from statistics import median

FEWEST = 5
_WINDOW = 20
_FEW_TIMES = 20
_SETTLED_STEPS = 8
_TOLD_RATIO = 0.04
_SEEN_RATIO = 0.3
"""Of times between lines; they hold evaluation, saving, and what else a loop does."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One step with what is known of its time."""

    step: int | None
    at: datetime | None
    took_s: float | None
    """As the log says it."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The steps from one on took longer."""

    place: int
    """Which of the steps given is the first of them."""
    before_s: float
    after_s: float


def slower(steps: Sequence[Timed]) -> Shift | None:
    """The first step from which on all took longer; by the log's own times, else by its clock.

    ``steps`` are those of one log in order; of several ranks' lines the first of each step counts.
    """
    once = _once(steps)
    told = [(n, steps[n].took_s or 0.0) for n in once if steps[n].took_s]
    if len(told) >= FEWEST:
        # A long log's first steps warm up: caches fill, kernels are chosen.
        settled = 2 if len(told) < _FEW_TIMES else _SETTLED_STEPS
        return _shift(told, settled, _TOLD_RATIO)
    return _shift(_between(steps, once), _SETTLED_STEPS, _SEEN_RATIO)


def _once(steps: Sequence[Timed]) -> list[int]:
    last: int | None = None
    once = []
    for number, step in enumerate(steps):
        if step.step is None or step.step != last:
            once.append(number)
        last = step.step
    return once


def _between(steps: Sequence[Timed], once: Sequence[int]) -> list[tuple[int, float]]:
    """The seconds that each step took by the clock; a run that counts anew begins again."""
    found: list[tuple[int, float]] = []
    before: Timed | None = None
    for number in once:
        step = steps[number]
        if step.step is None or step.at is None:
            continue
        if before is not None and before.step is not None and before.at is not None:
            if step.step < before.step:
                found.clear()
            elif step.step > before.step:
                seconds = (step.at - before.at).total_seconds()
                found.append((number, seconds / (step.step - before.step)))
        before = step
    return found


def _shift(timed: Sequence[tuple[int, float]], settled: int, ratio: float) -> Shift | None:
    times = [seconds for _, seconds in timed]
    if len(times) < FEWEST:
        return None
    lowest_from = list(accumulate(reversed(times), min))[::-1]
    latest = len(times) - (1 if ratio == _TOLD_RATIO else _SETTLED_STEPS)
    for i in range(settled, latest):
        before, after = times[max(0, i - _WINDOW) : i], times[i : i + _WINDOW]
        lowest = lowest_from[i]
        if lowest <= min(before):
            continue
        level, now = median(before), median(after)
        if level <= 0:
            continue
        spread = max(abs(x - level) for x in before[-8:])
        if len(times) < _FEW_TIMES and max(after) - min(after) > now - level:
            continue  # a short log of steps that differ anyway
        if now - level > max(ratio * level, 3 * spread) and lowest > level + spread:
            return Shift(timed[i][0], level, now)
    return None
