"""Times out of log lines, as aware UTC.

A time without a zone is taken as UTC; a date without a year gets the year that puts it at or
before the reference time (the file's own change time). Examples of what is understood::

    2026-11-24T08:00:00.123456+01:00    2026-11-24 08:00:00,123    [2026/11/24 08:00:00]
    11/24/2026 08:00:00                 [rank0]:[E1124 08:00:00.123456789 Proc…   Nov 24 08:00:00
    [Tue Nov 24 08:00:00 2026]          20261124 08:00:00                    1795507200.123
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_MONTH = "(?P<mon>" + "|".join(_MONTHS) + ")"
_HMS = r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)(?:[.,:](?P<frac>\d{1,9}))?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d))?"
_HEAD_CHARACTERS = 160
_MOST_MINUTES = 1000
_MICROSECONDS = (0, 100_000, 10_000, 1000, 100, 10, 1, 1, 1, 1)
"""In the last of so many digits after the second's point, the first six of them taken."""

_PATTERNS = (
    r"(?<!\d)(?P<y>20\d\d)[-/](?P<mo>\d\d)[-/](?P<d>\d\d)[T _]{1,2}" + _HMS + _ZONE,
    r"(?<!\w)[IWEF](?P<mo>\d\d)(?P<d>\d\d) " + _HMS,
    r"(?<!\d)(?P<mo>\d\d)/(?P<d>\d\d)/(?P<y>20\d\d)[ ,]{1,2}" + _HMS,
    r"(?:^|[\[ ])(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? "
    + _MONTH
    + r" {1,2}(?P<d>\d{1,2}) "
    + _HMS
    + r"(?: (?:(?P<zone>UTC|GMT)|[A-Z]{3,4}))? (?P<y>20\d\d)",
    r"(?:^|\] |: )" + _MONTH + r" {1,2}(?P<d>\d{1,2}) " + _HMS,
    r"(?<!\d)(?P<y>20\d\d)(?P<mo>[01]\d)(?P<d>[0-3]\d)[ T_-]" + _HMS,
    r"^\[?(?P<epoch>1[5-9]\d{8})(?:\.(?P<frac>\d{1,9}))?(?=[\] :])",
)


class _Format:
    """One way to write a time, made ready."""

    __slots__ = ("fraction", "has_year", "search", "second")

    def __init__(self, pattern: str) -> None:
        compiled = re.compile(pattern, re.ASCII)
        self.search = compiled.search
        groups = compiled.groupindex
        self.has_year = "y" in groups
        self.second, self.fraction = groups.get("s", 0), groups["frac"]


_FORMATS = tuple(map(_Format, _PATTERNS))


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time of a line."""

    time: datetime
    """Aware UTC."""
    zoned: bool
    """False: the line names no zone, so UTC was assumed."""


class Clock:
    """Reads the time of lines of one file; remembers which format the file uses."""

    def __init__(self, reference: datetime | None = None) -> None:
        self._reference = reference or datetime.now(UTC)
        self._order = list(_FORMATS)
        self._minutes: dict[str, tuple[datetime, bool] | None] = {}

    def time(self, line: str) -> datetime | None:
        """The time that stands near the start of a line; None where there is none."""
        found = self._read(line)
        return found[0] if found else None

    def stamp(self, line: str) -> Stamp | None:
        """The same, and whether the line names its zone."""
        found = self._read(line)
        return Stamp(*found) if found else None

    def _read(self, line: str) -> tuple[datetime, bool] | None:
        head = line[:_HEAD_CHARACTERS]
        for written in self._order:
            match = written.search(head)
            if match is None:
                continue
            found = self._in_minute(match, written) if written.has_year else self._build(match)
            if found is None:
                continue
            if written is not self._order[0]:
                self._order.remove(written)
                self._order.insert(0, written)
            return found
        return None

    def _in_minute(self, match: re.Match[str], written: _Format) -> tuple[datetime, bool] | None:
        """A time with its year: what the lines of one minute share is worked out once."""
        second, fraction = match.group(written.second, written.fraction)
        text, (start, end) = match.string, match.span()
        minute_end = match.start(written.second)
        rest = match.end(written.fraction if fraction else written.second)
        key = text[start:minute_end] + text[rest:end]
        try:
            found = self._minutes[key]
        except KeyError:
            if len(self._minutes) >= _MOST_MINUTES:
                self._minutes.clear()
            found = self._minutes[key] = self._build(match, {"s": "0", "frac": None})
        if found is None or second > "59":
            return None
        micro = int(fraction[:6]) * _MICROSECONDS[len(fraction)] if fraction else 0
        return found[0].replace(second=int(second), microsecond=micro), found[1]

    def _build(
        self, match: re.Match[str], instead: dict[str, str | None] | None = None
    ) -> tuple[datetime, bool] | None:
        parts = match.groupdict() | (instead or {})
        fraction = (parts.get("frac") or "0")[:6].ljust(6, "0")
        try:
            epoch = parts.get("epoch")
            if epoch:
                time = datetime.fromtimestamp(int(epoch), UTC)
                return time.replace(microsecond=int(fraction)), True
            mon = parts.get("mon")
            month = _MONTHS[mon] if mon else int(parts["mo"] or 0)
            year = parts.get("y")
            time = datetime(
                int(year) if year else self._reference.year,
                month,
                int(parts["d"] or 0),
                int(parts["h"] or 0),
                int(parts["m"] or 0),
                int(parts["s"] or 0),
                int(fraction),
                tzinfo=_zone(parts.get("zone")),
            ).astimezone(UTC)
            if not year and time > self._reference + timedelta(days=2):
                time = time.replace(year=time.year - 1)
        except (ValueError, OverflowError):
            return None
        return time, bool(parts.get("zone"))


def _zone(text: str | None) -> timezone:
    if not text or text in ("Z", "UTC", "GMT"):
        return UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset >= timedelta(hours=24):
        return UTC
    return timezone(sign * offset)


ZONE_STEP_S = 900
"""Every zone in use is a whole number of quarters of an hour from UTC."""
FARTHEST_ZONE_S = 14 * 3600
_NEIGHBOUR_S = 60


def zone_and_skew_s(difference_s: float) -> tuple[int, float] | None:
    """A difference of two clocks as a zone's and what is left; None where no zone is so far."""
    zone_s = round(difference_s / ZONE_STEP_S) * ZONE_STEP_S
    return None if abs(zone_s) > FARTHEST_ZONE_S else (zone_s, difference_s - zone_s)


def stated_shift_s(stamps: Iterable[Stamp]) -> int | None:
    """Seconds to add to the clock without a zone, by neighbours with one; None: nothing says it.

    ``stamps`` are those of one file, in order.
    """
    found: set[int] = set()
    before: Stamp | None = None
    for stamp in stamps:
        if before is not None and before.zoned != stamp.zoned:
            zoned, local = (before, stamp) if before.zoned else (stamp, before)
            apart = zone_and_skew_s((zoned.time - local.time).total_seconds())
            if apart is None or abs(apart[1]) > _NEIGHBOUR_S:
                return None
            found.add(apart[0])
        before = stamp
    return found.pop() if len(found) == 1 else None
