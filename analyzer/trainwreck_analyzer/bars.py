"""Which progress bar of a log counts the steps of the training, and what it counts.

A log may hold bars of much else, without a name: the data are prepared, and between two steps the
model is evaluated. Seen from its end, a log tells them apart: by the losses that are printed while
a bar moves, and by how long it takes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from trainwreck_analyzer.series import Step

_NEARLY = 0.9
"""A bar that begins anew after so much of it was done goes on with the next epoch."""
_State = tuple[int, Step]
"""Place in the list, step."""


def training(steps: Iterable[Step]) -> list[Step]:
    """The steps in the order of their lines, the states of all bars but the training's left out."""
    ordered = list(steps)
    groups: dict[tuple[str, int], list[_State]] = {}
    if any(step.bar is not None for step in ordered):
        ordered.sort(key=lambda step: step.line)
    for place, step in enumerate(ordered):
        if step.bar is not None:
            groups.setdefault((step.bar.label, step.bar.total), []).append((place, step))
    if not groups:
        return ordered
    losses = [place for place, step in enumerate(ordered) if step.loss is not None]
    best = max(groups.values(), key=lambda group: _weight(group, losses))
    numbers = _numbered(best)
    return [
        _as_step(step, numbers.get(place))
        for place, step in enumerate(ordered)
        if place in numbers or step.bar is None or step.loss is not None
    ]


def _weight(group: Sequence[_State], losses: Sequence[int]) -> tuple[bool, int, float, int]:
    first, last = group[0][0], group[-1][0]
    states = [step.bar for _, step in group if step.bar is not None]
    told = bisect_right(losses, last) - bisect_left(losses, first)
    return any(b.sure for b in states), told, max(b.whole_s or 0.0 for b in states), -first


def _numbered(group: Sequence[_State]) -> dict[int, int]:
    """Which step each state tells of, over the epochs."""
    numbers: dict[int, int] = {}
    before, last = 0, 0
    for place, step in group:
        bar = step.bar
        if bar is None:
            continue
        if bar.step < last:
            before = before + bar.total if last >= _NEARLY * bar.total else 0
        last = bar.step
        numbers[place] = before + bar.step
    return numbers


def _as_step(step: Step, number: int | None) -> Step:
    if step.bar is None:
        return step
    # A bar without a loss is drawn at any time: that of the line before says nothing.
    time = step.time if step.loss is not None else None
    return step._replace(step=number if step.step is None else step.step, time=time, bar=None)
