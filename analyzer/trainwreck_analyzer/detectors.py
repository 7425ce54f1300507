"""Facts that need arithmetic over the steps of a run: NaN, spikes, divergence, overflow, silence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from statistics import median

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step, finite
from trainwreck_analyzer.verdict import Component

FEWEST_STEPS = 8
_WINDOW = 20
_SPIKE_FACTOR = 2.0
_LOWEST_RISE = 0.5
"""A rise below this, in the loss's own unit, is no spike however calm the loss was."""
_OVERFLOW_RUN = 8
_SEQUENCE = re.compile(r"SeqNum=(\d+), OpType=(\w+)", re.ASCII)


def find(steps: Sequence[Step], facts: Sequence[Fact], path: str) -> Iterator[Fact]:
    """What the steps and the lines of one file add up to."""
    yield from _not_finite(steps, path)
    yield from _rises(steps, path)
    yield from _overflows(facts)
    yield from _disagreement(facts)


def _fact(kind: str, step: Step, path: str, fields: dict[str, str]) -> Fact:
    return Fact(
        kind, step.text[:2000], "log", step.time, path, step.line, order=step.line,
        component=Component(rank=step.rank), fields=fields | {"step": str(step.step)},
    )  # fmt: skip


def _not_finite(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    for step in steps:
        if step.loss is not None and not math.isfinite(step.loss):
            yield _fact("series_loss_not_finite", step, path, {})
            return
    for step in steps:
        if step.grad_norm is not None and not math.isfinite(step.grad_norm):
            # One infinite norm is a skipped step of mixed precision; a row of them is not.
            following = [s.grad_norm for s in steps if s.line >= step.line][:5]
            if len(following) >= 5 and not any(finite(g) for g in following):
                yield _fact("series_loss_not_finite", step, path, {})
            return


def _rises(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    """A spike (it came back) or a divergence (it stayed), judged against the steps before."""
    known = [s for s in steps if finite(s.loss)]
    losses = [s.loss or 0.0 for s in known]
    if len(losses) < FEWEST_STEPS:
        return
    for i in range(4, len(losses)):
        before = losses[max(0, i - _WINDOW) : i]
        level = median(before)
        spread = median([abs(x - level) for x in before])
        rise = losses[i] - level
        if level <= 0 or rise < max(_LOWEST_RISE, (_SPIKE_FACTOR - 1) * level, 8 * spread):
            continue
        after = losses[i + 1 :]
        fields = {"before": f"{level:.3g}", "after": f"{losses[i]:.3g}"}
        came_back = any(x < level + 0.3 * rise for x in after)
        if came_back:
            yield _fact("series_loss_spike", known[i], path, fields)
        elif len(after) >= 2 or losses[i] > 5 * level:
            yield _fact("series_loss_diverged", known[i], path, fields)
        return


def _overflows(facts: Sequence[Fact]) -> Iterator[Fact]:
    skipped = [f for f in facts if f.kind == "overflow_skipped"]
    run: list[Fact] = []
    for fact in skipped:
        near = not run or (fact.line or 0) - (run[-1].line or 0) <= 12
        run = [*run, fact] if near else [fact]
        if len(run) >= _OVERFLOW_RUN:
            first = run[0]
            yield Fact(
                "series_overflow_run", first.text, "log", first.time, first.source, first.line,
                order=first.order, component=first.component, fields=first.fields,
            )  # fmt: skip
            return


def _disagreement(facts: Sequence[Fact]) -> Iterator[Fact]:
    """Ranks that timed out in different collectives: not all were at the same place."""
    seen: dict[str, Fact] = {}
    for fact in facts:
        if fact.kind != "collective_timeout":
            continue
        found = _SEQUENCE.search(fact.text)
        if found:
            seen.setdefault(found[1] + found[2], fact)
    if len(seen) >= 2:
        fact = sorted(seen.values(), key=lambda f: f.order)[1]
        yield Fact(
            "series_collectives_differ", fact.text, "log", fact.time, fact.source, fact.line,
            order=fact.order, component=fact.component, fields=fact.fields,
        )  # fmt: skip
