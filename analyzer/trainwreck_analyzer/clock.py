"""Times out of log lines, as aware UTC.

A time without a zone is taken as UTC; a date without a year gets the year that puts it at or
before the reference time (the file's own change time). Examples of what is understood::

    2026-11-24T08:00:00.123456+01:00    2026-11-24 08:00:00,123    [2026/11/24 08:00:00]
    11/24/2026 08:00:00                 [rank0]:[E1124 08:00:00.123456789 Proc…   Nov 24 08:00:00
    [Tue Nov 24 08:00:00 2026]          20261124 08:00:00                    1795507200.123
"""

from __future__ import annotations

import re
from collections.abc import Callable
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

_FORMATS = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?<!\d)(?P<y>20\d\d)[-/](?P<mo>\d\d)[-/](?P<d>\d\d)[T _]{1,2}" + _HMS + _ZONE,
        r"(?<!\w)[IWEF](?P<mo>\d\d)(?P<d>\d\d) " + _HMS,
        r"(?<!\d)(?P<mo>\d\d)/(?P<d>\d\d)/(?P<y>20\d\d)[ ,]{1,2}" + _HMS,
        r"(?:^|[\[ ])(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? "
        + _MONTH
        + r" {1,2}(?P<d>\d{1,2}) "
        + _HMS
        + r"(?: [A-Z]{3,4})? (?P<y>20\d\d)",
        r"(?:^|\] |: )" + _MONTH + r" {1,2}(?P<d>\d{1,2}) " + _HMS,
        r"(?<!\d)(?P<y>20\d\d)(?P<mo>[01]\d)(?P<d>[0-3]\d)[ T_-]" + _HMS,
        r"^\[?(?P<epoch>1[5-9]\d{8})(?:\.(?P<frac>\d{1,9}))?(?=[\] :])",
    )
)

Parse = Callable[[str], datetime | None]


class Clock:
    """Reads the time of lines of one file; remembers which format the file uses."""

    def __init__(self, reference: datetime | None = None) -> None:
        self._reference = reference or datetime.now(UTC)
        self._order = list(_FORMATS)

    def time(self, line: str) -> datetime | None:
        """The time that stands near the start of a line; None where there is none."""
        head = line[:_HEAD_CHARACTERS]
        for position, pattern in enumerate(self._order):
            found = pattern.search(head)
            if found is None:
                continue
            time = self._build(found.groupdict())
            if time is None:
                continue
            if position:
                self._order.insert(0, self._order.pop(position))
            return time
        return None

    def _build(self, parts: dict[str, str | None]) -> datetime | None:
        fraction = (parts.get("frac") or "0")[:6].ljust(6, "0")
        try:
            epoch = parts.get("epoch")
            if epoch:
                return datetime.fromtimestamp(int(epoch), UTC).replace(microsecond=int(fraction))
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
        return time


def _zone(text: str | None) -> timezone:
    if not text or text in ("Z", "UTC", "GMT"):
        return UTC
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset >= timedelta(hours=24):
        return UTC
    return timezone(sign * offset)
