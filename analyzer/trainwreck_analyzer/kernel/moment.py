"""Dates and clock times of kernel logs as moments in UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r" ?(Z|UTC|[+-]\d\d:?\d\d)?(?= |$)",
    re.ASCII,
)


def iso_time(match: re.Match[str], zone: tzinfo) -> datetime | None:
    """The moment that ``ISO`` matched; ``zone`` is where a clock without a zone stands."""
    where = match[8]
    stated: tzinfo = zone
    if where in ("Z", "UTC"):
        stated = UTC
    elif where:
        digits = where[1:].replace(":", "")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if minutes >= 24 * 60:
            return None
        stated = timezone(timedelta(minutes=minutes if where[0] == "+" else -minutes))
    return at(int(match[1]), int(match[2]), match.group(3, 4, 5, 6), match[7], stated)


def at(
    year: int, month: int, clock: Sequence[str], fraction: str | None, zone: tzinfo
) -> datetime | None:
    """The moment in UTC; None for a date that does not exist.

    Args:
        year: Four digits.
        month: From 1.
        clock: Day, hour, minute, second.
        fraction: Digits after the second's point.
        zone: Where the clock stands.
    """
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    day, hour, minute, second = map(int, clock)
    try:
        # A leap second is written as 60, which no datetime can hold.
        moment = datetime(year, month, day, hour, minute, min(second, 59), microsecond, zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
