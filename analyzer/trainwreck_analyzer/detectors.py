"""Facts that need arithmetic over a run's steps: NaN, spikes, divergence, overflow, slowness."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from statistics import median

from trainwreck_analyzer import pace
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step, finite, got_over
from trainwreck_analyzer.verdict import Component

FEWEST_STEPS = 5
_WINDOW = 20
_SPIKE_RATIO = 0.3
_SPREADS = 6
_LOWEST_RISE = 0.5
"""A rise below this, in the loss's own unit, is no spike however calm the loss was."""
_BRIEF_STEPS = 3
_LONG_LOG = 100
"""In a log of so many steps, one or two bad ones are a hard batch."""
_FEW_AFTER = 12
"""Fewer steps than this after a rise do not say whether it stays."""
_OVERFLOW_RUN = 5
_NEAR_LINES = 12
_FALLING_RUN = 3
_LOW_SCALE = 16.0
"""Scales of fp16 settle at some thousands; one that falls through this found no floor."""
_SCALE_NOW = re.compile(
    r"(?:reducing to|loss scale to:?) (\d{1,12}(?:\.\d{1,12})?)(?![\d.e])", re.ASCII
)
_ITERATION = re.compile(r"on iteration ?[\s\d]{0,12}", re.ASCII)
_WARM_UP_STEPS = 100
"""Loss scaling starts high on purpose: overflows in the first steps are its search."""
_DATA_SHARE = 0.5
_FEWEST_STARVED = 3
"""One step waits long after every evaluation and at every epoch's start."""
_OTHER_LOSS = re.compile(r"train_loss\w{0,20}[=:] ?\d", re.ASCII)
"""A progress bar's own average may be NaN where the loss beside it is not."""
_SEQUENCE = re.compile(r"SeqNum=(\d+), OpType=(\w+)", re.ASCII)


def find(steps: Sequence[Step], facts: Sequence[Fact], path: str) -> Iterator[Fact]:
    """What the steps and the lines of one file add up to."""
    yield from _not_finite(steps, path)
    yield from _rises(steps, path)
    yield from _overflows(steps, facts)
    yield from _slower(steps, path)
    yield from _data_bound(steps, path)
    yield from _disagreement(facts)
    yield from _fragmented(facts)


def _fact(kind: str, step: Step, path: str, fields: dict[str, str]) -> Fact:
    known = {} if step.step is None else {"step": str(step.step)}
    return Fact(
        kind, step.text[:2000], "log", step.time, path, step.line, order=step.line,
        component=Component(rank=step.rank), fields=fields | known,
    )  # fmt: skip


def _not_finite(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    for step in steps:
        if step.loss is not None and not math.isfinite(step.loss):
            if _OTHER_LOSS.search(step.text) or got_over(steps, step.line):
                continue
            yield _fact("series_loss_not_finite", step, path, {})
            return
    bad = [s for s in steps if s.grad_norm is not None and math.isnan(s.grad_norm)]
    known = [s for s in steps if s.grad_norm is not None]
    # One NaN norm is a skipped step of mixed precision; when it stays, the run is lost.
    if bad and known[-1] is bad[-1] and (len(bad) > 1 or len(known) <= 2 or bad[-1].loss == 0.0):
        yield _fact("series_loss_not_finite", bad[0], path, {})


def _rises(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    """A spike (it came back) or a divergence (it stayed), judged against the steps before."""
    known = [s for s in steps if finite(s.loss)]
    losses = [s.loss or 0.0 for s in known]
    if len(losses) < FEWEST_STEPS:
        return
    for i in range(min(4, len(losses) - 2), len(losses)):
        before = losses[max(0, i - _WINDOW) : i]
        if losses[i] - min(before) < _LOWEST_RISE:
            continue
        level = median(before)
        spread = median([abs(x - level) for x in before])
        rise = losses[i] - level
        if level <= 0 or rise < max(_LOWEST_RISE, _SPIKE_RATIO * level, _SPREADS * spread):
            continue
        if _scattered(losses[i], before):
            continue
        after = losses[i + 1 :]
        fields = {"before": f"{level:.3g}", "after": f"{losses[i]:.3g}"}
        back = next((n for n, x in enumerate(after) if x < level + 0.3 * rise), None)
        if (
            back is not None
            and len(losses) >= _LONG_LOG
            and (
                back < _BRIEF_STEPS or losses[i] < max(losses[max(0, i - _LONG_LOG) : i]) + rise / 2
            )
        ):
            continue
        if back is not None:
            yield _fact("series_loss_spike", known[i], path, fields)
        elif len(after) >= _FEW_AFTER or losses[i] > 5 * level:
            yield _fact("series_loss_diverged", known[i], path, fields)
        elif after:
            yield _fact("series_loss_rise", known[i], path, fields)
        return


def _scattered(loss: float, before: Sequence[float]) -> bool:
    """Whether losses of single batches are so uneven, by their ratios, that this is one of them."""
    if min(loss, *before) <= 0:
        return False
    logs = [math.log(x) for x in before]
    level = median(logs)
    return math.log(loss) - level < _SPREADS * median([abs(x - level) for x in logs])


def _overflows(steps: Sequence[Step], facts: Sequence[Fact]) -> Iterator[Fact]:
    """Steps skipped in a row that were too many, unless the run got over them."""
    known = [s for s in steps if s.step is not None]
    runs = list(_overflow_runs(facts))
    for number, (run, last) in enumerate(runs):
        scale = _scale(run[-1])
        later = [_scale(other[0]) for other, _ in runs[number + 1 :]]
        if scale is not None and any(x is not None and x > scale for x in later):
            continue
        if sum(finite(s.loss) and s.line > last for s in steps) >= FEWEST_STEPS:
            continue
        passed = bisect_right(known, run[-1].line or 0, key=lambda s: s.line)
        late = passed > 0 and (known[passed - 1].step or 0) > _WARM_UP_STEPS
        if len(run) >= (_OVERFLOW_RUN if late else 5 * _OVERFLOW_RUN):
            yield _again("series_overflow_run", run[0], {})
            return
        if len(run) >= _FALLING_RUN and scale is not None and scale <= _LOW_SCALE:
            yield _again("series_loss_scale_floor", run[0], {"scale": f"{scale:g}"})
            return


def _overflow_runs(facts: Sequence[Fact]) -> Iterator[tuple[list[Fact], int]]:
    """Skipped steps with few lines between them, one fact a step, and the last line of each."""
    run: list[Fact] = []
    last = 0
    for fact in facts:
        if fact.kind != "overflow_skipped":
            continue
        line = fact.line or 0
        if run and line - last > _NEAR_LINES:
            yield run, last
            run = []
        last = line
        # Every rank prints it: the same scale or iteration twice is one step.
        same = _scale(fact) or _ITERATION.findall(fact.text)
        if not same or all((_scale(f) or _ITERATION.findall(f.text)) != same for f in run):
            run.append(fact)
    if run:
        yield run, last


def _scale(fact: Fact) -> float | None:
    """The loss scale that a line says it goes on with."""
    found = _SCALE_NOW.search(fact.text)
    return float(found[1]) if found else None


def _again(kind: str, fact: Fact, fields: dict[str, str]) -> Fact:
    return Fact(
        kind, fact.text, "log", fact.time, fact.source, fact.line,
        order=fact.order, component=fact.component, fields=fact.fields | fields,
    )  # fmt: skip


def _slower(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    found = pace.slower([pace.Timed(s.step, s.time, s.step_time_s) for s in steps])
    if found is not None:
        fields = {"before": f"{found.before_s:.3g}", "after": f"{found.after_s:.3g}"}
        yield _fact("series_step_time_shift", steps[found.place], path, fields)


def _data_bound(steps: Sequence[Step], path: str) -> Iterator[Fact]:
    timed = [s for s in steps if s.data_time_s is not None and s.step_time_s]
    # Over all steps: a prefetching loader makes one step in ten wait for all ten.
    waited = sum(s.data_time_s or 0.0 for s in timed)
    taken = sum(s.step_time_s or 0.0 for s in timed)
    starved = [s for s in timed if (s.data_time_s or 0.0) > _DATA_SHARE * (s.step_time_s or 0.0)]
    if len(starved) >= _FEWEST_STARVED and waited > _DATA_SHARE * taken:
        yield _fact("series_data_time_dominates", timed[0], path, {})


def _disagreement(facts: Sequence[Fact]) -> Iterator[Fact]:
    """Ranks that timed out in different collectives: not all were at the same place."""
    places: dict[int, tuple[int, Fact]] = {}
    seen: dict[str, Fact] = {}
    for fact in facts:
        if fact.kind not in ("collective_timeout", "collective_mismatch"):
            continue
        last = _ENQUEUED.search(fact.text)
        if last and fact.component.rank is not None:
            places.setdefault(fact.component.rank, (int(last[1]), fact))
        found = _SEQUENCE.search(fact.text)
        if found and "caught collective operation timeout" in fact.text:
            seen.setdefault(found[1] + found[2], fact)
    if len({place for place, _ in places.values()}) >= 2:
        behind = min(places.values(), key=lambda p: p[0])[1]
        yield _again("series_collectives_differ", behind, {})
    elif len(seen) >= 2:
        yield _again("series_collectives_differ", min(seen.values(), key=lambda f: f.order), {})


_ENQUEUED = re.compile(r"[Ll]ast enqueued (?:NCCL )?work: (\d+)", re.ASCII)


_AMOUNT = r"([\d.]+) (GiB|MiB|KiB|GB|MB)"
_TRIED = re.compile("Tried to allocate " + _AMOUNT)
_RESERVED = re.compile(_AMOUNT + r" is reserved by PyTorch but unallocated")
_TOTALS = re.compile(
    _AMOUNT + r" already allocated;.{0,60}?" + _AMOUNT + r" reserved in total by PyTorch"
)
_UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "MB": 0.954, "GiB": 1024.0, "GB": 954.0}
_ALLOCATED = re.compile(_AMOUNT + r" is allocated by PyTorch")
_ENOUGH_FACTOR = 1.2
_FRAGMENTED_SHARE = 0.1
"""A full GPU always has a few unused blocks: less than this of what is held is no fragmentation."""


def _fragmented(facts: Sequence[Fact]) -> Iterator[Fact]:
    """The allocator held more than was asked for, unused."""
    for fact in facts:
        if fact.kind != "cuda_out_of_memory":
            continue
        tried, reserved = _TRIED.search(fact.text), _RESERVED.search(fact.text)
        totals = _TOTALS.search(fact.text)
        if tried is None or (reserved is None and totals is None):
            continue
        wanted = float(tried[1]) * _UNITS[tried[2]]
        if reserved:
            unused = float(reserved[1]) * _UNITS[reserved[2]]
            used = _ALLOCATED.search(fact.text)
            held = unused + (float(used[1]) * _UNITS[used[2]] if used else 0.0)
        elif totals:
            held = float(totals[3]) * _UNITS[totals[4]]
            unused = held - float(totals[1]) * _UNITS[totals[2]]
        if unused >= max(_ENOUGH_FACTOR * wanted, _FRAGMENTED_SHARE * held):
            fields = {"reserved": f"{unused:.0f} MiB", "wanted": f"{wanted:.0f} MiB"}
            yield _again("series_reserved_was_enough", fact, fields)
            return
