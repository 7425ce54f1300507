"""A kernel line taken apart, and what stands between its clock and its text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

LINE_LIMIT = 4096
"""Characters of a line that are looked at. The kernel cuts a record at 1,024 bytes; the prefix and
a control-group path come on top. A longer line is cut, so that no pattern sees a megabyte."""

DMESG = re.compile(
    r"\[ {0,12}(\d{1,12}\.\d{1,9})(?: <[ +]{0,12}(-?\d{1,9}\.\d{1,9})[ *]?>| {1,24})?\] ?"
)
CALLER = re.compile(r"\[ {0,8}[TC]\d{1,10}\] ?", re.ASCII)
HOST_TAG = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._:-]{0,252}) ([A-Za-z0-9_./()@-]{1,64})(?:\[\d{1,10}\])?: ?", re.ASCII
)
TAG = re.compile(r"kernel(?:\[\d{1,10}\])?: ?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Split:
    """A line without its prefix, and what the prefix said."""

    text: str
    time: datetime | None = None
    """Aware UTC. None: no wall clock, or a date without a year and no ``year`` was given."""
    zoned: bool = True
    """False: the wall clock names no zone, so the ``zone`` of the caller was assumed."""
    yearless: bool = False
    """True: the date carries no year; ``time`` uses the caller's, or is None."""
    monotonic_s: float | None = None
    """Seconds since boot."""
    delta_s: float | None = None
    """Seconds since the line before (``dmesg -d`` and ``-e``)."""
    host: str | None = None
    program: str | None = None
    """``kernel`` where the prefix says so, else the syslog tag."""
    priority: int | None = None
    """Syslog severity, 0 emergency … 7 debug."""
    sequence: int | None = None
    """Sequence number of ``/dev/kmsg``; a gap means lost lines."""

    @property
    def dated(self) -> bool:
        """Whether the prefix carried any clock at all."""
        return (
            self.time is not None
            or self.yearless
            or self.monotonic_s is not None
            or self.delta_s is not None
        )


def tagged(rest: str) -> Split:
    """``host tag: text`` taken apart; without it the rest is the text."""
    match = HOST_TAG.match(rest)
    if match:
        return replace(inner(rest[match.end() :]), host=match[1], program=match[2])
    match = TAG.match(rest)
    if match:
        return replace(inner(rest[match.end() :]), program="kernel")
    return inner(rest)


def inner(rest: str) -> Split:
    """What syslog got from the kernel, which often carries the kernel's own clock."""
    match = DMESG.match(rest)
    if match:
        return Split(text=uncall(rest[match.end() :]), monotonic_s=float(match[1]))
    return Split(text=uncall(rest))


def uncall(text: str) -> str:
    """The text without ``[ T1946]``, which ``CONFIG_PRINTKCALLER`` adds."""
    match = CALLER.match(text)
    return text[match.end() :] if match else text
