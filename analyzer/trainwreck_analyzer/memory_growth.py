"""Memory that grew with the steps until none was left: a leak, no batch too large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import correlation

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step
from trainwreck_analyzer.verdict import Component

_GPU_ENDS = frozenset({"cuda_out_of_memory", "gpu_oom_told", "series_reserved_was_enough"})
_HOST_ENDS = frozenset(
    {
        "process_killed_9", "host_memory_killed_log", "host_allocation_failed",
        "dataloader_worker_killed", "slurm_oom",
    }
)  # fmt: skip
"""Only a run that ran out of memory is asked: many grow for a while and then stay."""
_FEWEST_STEPS = 12
_LEAST_GROWTH = 0.15
"""Of what was in use at first."""
_LEAST_CORRELATION = 0.97
_LATE_SHARE = 0.25
"""The second half must have at least so much of the growth: caches fill at the beginning."""


def find(steps: Sequence[Step], facts: Sequence[Fact], path: str) -> Iterator[Fact]:
    """The ranks of one file whose memory grew evenly until the run had none left."""
    yield from _growing("series_gpu_memory_grows", _GPU_ENDS, steps, facts, path)
    yield from _growing("series_resident_memory_grows", _HOST_ENDS, steps, facts, path)


def _growing(
    kind: str, ends: frozenset[str], steps: Sequence[Step], facts: Sequence[Fact], path: str
) -> Iterator[Fact]:
    end = next((fact.line or 0 for fact in facts if fact.kind in ends), None)
    if end is None:
        return
    by_rank: dict[int | None, list[tuple[Step, float]]] = {}
    for step in steps:
        used_mib = step.gpu_memory_mib if ends is _GPU_ENDS else step.resident_mib
        if used_mib and step.line < end:
            by_rank.setdefault(step.rank, []).append((step, used_mib))
    for rank, known in by_rank.items():
        used = [used_mib for _, used_mib in known]
        if grows(used):
            last = known[-1][0]
            fields = {"before": f"{used[0]:.0f} MiB", "after": f"{used[-1]:.0f} MiB"}
            yield Fact(
                kind, last.text[:2000], "log", last.time, path, last.line,
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
    except (ValueError, OverflowError):  # not finite, or all the same
        return False
