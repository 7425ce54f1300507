"""Times moved onto the common line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from trainwreck_analyzer.clocks import marks
from trainwreck_analyzer.clocks.align import Alignment
from trainwreck_analyzer.fact import Fact

NOT_COMPARED = 1 << 60
"""Added to the order of facts whose time cannot be compared: they are never called the first."""


def moved(fact: Fact, alignment: Alignment | None) -> Fact:
    """The fact with its time on the common line; without one where none is known."""
    if alignment is None:
        return fact
    if alignment.shift_s is None:
        zone_is_known = fact.time is not None and fact.zoned
        if zone_is_known:
            return fact
        order = fact.order + NOT_COMPARED
        return replace(fact, time=None, unzoned_time=fact.time, order=order)
    if alignment.clock == "boot":
        since_boot_s = marks.monotonic_s(fact)
        if fact.time is not None or since_boot_s is None:
            return fact
        return replace(fact, time=_at(alignment.shift_s + since_boot_s))
    zone_is_known = fact.zoned and alignment.clock == "local"
    return fact if zone_is_known else replace(fact, time=later(fact.time, alignment.shift_s))


def later(time: datetime | None, seconds: float | None) -> datetime | None:
    """A time moved; None where there is none, or no calendar reaches so far."""
    if time is None or seconds is None:
        return None
    try:
        return time + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _at(seconds: float) -> datetime | None:
    return later(datetime.fromtimestamp(0, UTC), seconds)
