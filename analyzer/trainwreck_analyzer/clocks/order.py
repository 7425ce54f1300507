"""What comes just after what: the complaint after the kernel's fault, the job's end after all.

Less sure than a shared event, so only whole hours are tried, and none where none is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from trainwreck_analyzer.clock import FARTHEST_ZONE_S
from trainwreck_analyzer.clocks import marks
from trainwreck_analyzer.fact import Fact

_LATEST_S = 60.0
_EARLIEST_S = -2.0
_END_LATE_S = 120.0
_END_EARLY_S = 30.0
"""A log that is buffered is written to its end a little after the job's."""
_SOON_S = 300.0
_HOUR_S = 3600
_MOST_FAULTS = 20


def zone_s(
    run: Sequence[Fact], host: Sequence[Fact], initiates: Callable[[Fact], bool]
) -> int | None:
    """Seconds to add to the host's clock so that its fault comes just before the complaint.

    Whole hours, and none at all where that is enough; None where two zones would do, or no zone.

    Args:
        run: Facts of a training log.
        host: Facts of a kernel log.
        initiates: Whether a fact by itself shows that something went wrong.
    """
    complaints = [f for f in run if f.evidence == "log" and f.time and initiates(f)]
    faults = [f for f in host if f.evidence == "kernel" and f.time and initiates(f)]
    if not complaints:
        return None
    first_s, earliest_s = _first_s(complaints)
    times_s = [fault.time.timestamp() for fault in faults[:_MOST_FAULTS] if fault.time]
    return _only_hour_s((first_s - at_s for at_s in times_s), earliest_s, _LATEST_S)


def _first_s(complaints: Sequence[Fact]) -> tuple[float, float]:
    """When the first was made, and how much later than that the fault may seem to be, < 0.

    A traceback has the time of the last step before it: the first that shows its own is surer.
    """
    first_s = min(began_s(f) for f in complaints)
    own_s = min((began_s(f) for f in complaints if marks.has_own_time(f)), default=None)
    if own_s is not None and own_s - first_s <= _SOON_S:
        return own_s, _EARLIEST_S
    return first_s, -_LATEST_S


def end_zone_s(last: datetime | None, scheduler: Sequence[Fact]) -> int | None:
    """Seconds to add to the scheduler's clock so that the job ends with its log's last line.

    None where two zones would do, or no zone, or the scheduler tells of no end.
    """
    ends = [f.time for f in scheduler if f.time and f.kind.startswith("slurm_")]
    if last is None:
        return None
    times_s = (last.timestamp() - end.timestamp() for end in ends[:_MOST_FAULTS])
    return _only_hour_s(times_s, -_END_LATE_S, _END_EARLY_S)


def _only_hour_s(later_s: Iterable[float], earliest_s: float, latest_s: float) -> int | None:
    """The whole hour that leaves between so and so much of one of some differences."""
    hours: set[int] = set()
    for seconds in later_s:
        hour_s = int((seconds - earliest_s) // _HOUR_S) * _HOUR_S
        if seconds - hour_s <= latest_s and abs(hour_s) <= FARTHEST_ZONE_S:
            hours.add(hour_s)
    if 0 in hours:
        return 0
    return hours.pop() if len(hours) == 1 else None


def began_s(fact: Fact) -> float:
    """When what a line complains of began: a timeout is told of after all its waiting."""
    at_s = fact.time.timestamp() if fact.time else 0.0
    found = marks.WAITED.search(fact.text)
    return at_s - int(found[1]) / 1000 if found else at_s
