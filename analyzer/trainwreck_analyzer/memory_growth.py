"""GPU memory that grew with the steps until none was left: a leak, no batch too large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import StatisticsError, correlation

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step
from trainwreck_analyzer.verdict import Component

_ENDS = frozenset({"cuda_out_of_memory", "gpu_oom_told", "series_reserved_was_enough"})
"""Only a run that ran out of memory is asked: many grow for a while and then stay."""
_FEWEST_STEPS = 12
_LEAST_GROWTH = 0.15
"""Of what was in use at first."""
_LEAST_CORRELATION = 0.97
_LATE_SHARE = 0.25
"""The second half must have at least so much of the growth: caches fill at the beginning."""


def find(steps: Sequence[Step], facts: Sequence[Fact], path: str) -> Iterator[Fact]:
    """The ranks of one file whose memory grew evenly up to an out-of-memory error."""
    ends = [fact.line or 0 for fact in facts if fact.kind in _ENDS]
    if not ends:
        return
    by_rank: dict[int | None, list[Step]] = {}
    for step in steps:
        if step.gpu_memory_mib and step.line < ends[0]:
            by_rank.setdefault(step.rank, []).append(step)
    for rank, known in by_rank.items():
        used = [step.gpu_memory_mib or 0.0 for step in known]
        if grows(used):
            last = known[-1]
            fields = {"before": f"{used[0]:.0f} MiB", "after": f"{used[-1]:.0f} MiB"}
            yield Fact(
                "series_gpu_memory_grows", last.text[:2000], "log", last.time, path, last.line,
                order=last.line, component=Component(rank=rank), value=used[-1], fields=fields,
            )  # fmt: skip


def grows(used: Sequence[float]) -> bool:
    """Whether figures rise evenly from the first to the last."""
    if len(used) < _FEWEST_STEPS:
        return False
    growth = used[-1] - used[0]
    if growth < _LEAST_GROWTH * used[0]:
        return False
    if used[-1] - used[len(used) // 2] < _LATE_SHARE * growth:
        return False
    try:
        return correlation(range(len(used)), used) >= _LEAST_CORRELATION
    except (StatisticsError, OverflowError):
        return False
