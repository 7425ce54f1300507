"""The clock of one log: the time of a line, or of the nearest line before it that has one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trainwreck_analyzer import kernel, source
from trainwreck_analyzer.clock import Clock, Stamp, stated_shift_s
from trainwreck_analyzer.looks import dated
from trainwreck_analyzer.scan import Lines

_LOOKBACK_LINES = 30
_BOUNDS_LINES = 200
_LONGEST_BYTES = 5000


class LogClock:
    """Reads the times of one log, block by block.

    Args:
        changed: When the file was changed last; None where that is not known.
    """

    def __init__(self, changed: datetime | None) -> None:
        self.whole = False
        """Whether the log is the kernel's, so that its prefixes date every line."""
        self.first: Stamp | None = None
        self.last: Stamp | None = None
        self._clock = Clock(changed)
        self._before: Stamp | None = None
        self._timeless = False
        self._lines: Lines | None = None
        self._looked = -1
        """The line of that block whose time was asked for last, and where what it got stands."""
        self._found: tuple[int, Stamp] | None = None

    def begin(self, head: str) -> None:
        """Looks at the beginning of the log."""
        self.whole = kernel.are_records(head) or kernel.looks_like_kernel(head)

    def show(self, lines: Lines) -> None:
        """Takes the first and the last time of a block: those of its outer lines that have one."""
        self._before = self.last
        most = _LOOKBACK_LINES if self._timeless else _BOUNDS_LINES
        if self.first is None:
            self.first = self._any(lines.raw[:most])
        last = self._any(reversed(lines.raw[-most:]))
        if last is not None:
            self.last = last
        self._timeless = last is None

    def stated_shift_s(self, head: str) -> int | None:
        """What lines that name the zone say of those beside them; see ``clock``."""
        stamps = (self.stamp(line) for line in head.split("\n")[:_BOUNDS_LINES])
        return stated_shift_s(s for s in stamps if s is not None)

    def time(self, line: str) -> datetime | None:
        """A line's own time, whatever sort of log it stands in."""
        return self._clock.time(line[:300])

    def stamp(self, line: str) -> Stamp | None:
        """A line's own time: in a kernel log that of its prefix, whatever else stands in it."""
        if self.whole:
            parts = kernel.split(line)
            if parts.time is not None:
                return Stamp(parts.time, parts.zoned)
            if parts.monotonic_s is not None and not parts.yearless:
                return None
        return self._clock.stamp(line[:300])

    def nearest(self, lines: Lines, index: int) -> Stamp | None:
        """The line's own time, or that of the nearest line before it."""
        lookback = 0 if self.first is None else _LOOKBACK_LINES
        last = max(-1, index - lookback - 1)
        if lines is not self._lines or self._looked > index:
            self._lines, self._looked, self._found = lines, -1, None
        for place in range(index, max(last, self._looked), -1):
            if not dated(lines.shape(place)):
                continue
            stamp = self.stamp(source.text(lines.raw[place][:_LONGEST_BYTES]))
            if stamp is not None:
                self._looked, self._found = index, (place, stamp)
                return stamp
        self._looked = index
        if self._found is not None and self._found[0] > last:
            return self._found[1]
        return self._before if index < lookback else None

    def _any(self, lines: Iterable[bytes]) -> Stamp | None:
        stamps = (self.stamp(source.text(line[:_LONGEST_BYTES])) for line in lines)
        return next((stamp for stamp in stamps if stamp is not None), None)
