"""A fault that the kernel tells of, and what the run complains of within a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainwreck_analyzer.clock import FARTHEST_ZONE_S
from trainwreck_analyzer.clocks import marks
from trainwreck_analyzer.fact import Fact

_LATEST_S = 60.0
_EARLIEST_S = -2.0
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
    first_s = min(began_s(f) for f in complaints)
    hours: set[int] = set()
    for fault in faults[:_MOST_FAULTS]:
        later_s = first_s - (fault.time.timestamp() if fault.time else 0.0)
        hour_s = int((later_s - _EARLIEST_S) // _HOUR_S) * _HOUR_S
        if later_s - hour_s <= _LATEST_S and abs(hour_s) <= FARTHEST_ZONE_S:
            hours.add(hour_s)
    if 0 in hours:
        return 0
    return hours.pop() if len(hours) == 1 else None


def began_s(fact: Fact) -> float:
    """When what a line complains of began: a timeout is told of after all its waiting."""
    at_s = fact.time.timestamp() if fact.time else 0.0
    found = marks.WAITED.search(fact.text)
    return at_s - int(found[1]) / 1000 if found else at_s
