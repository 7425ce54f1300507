"""The kernel's lines of one log, kernel log or not: dated as they are read, understood at the end.

One pass: standard input and pipes give what they hold only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from trainwreck_analyzer import kernel
from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.fact import Fact


class KernelLines:
    """Takes kernel lines apart as they come.

    Args:
        head: The beginning of the log.
        latest: When the file was changed last; None where that is not known.
    """

    def __init__(self, head: str, first: datetime | None, latest: datetime | None) -> None:
        self.every = kernel.needs_every_line(head)
        """Whether the clock counts on from line to line, so that each must be shown to it."""
        self.boot = Boot()
        year = (first or latest or datetime.now(UTC)).year
        self._clock = kernel.KernelClock(year=year, latest=latest)
        self._lines: list[tuple[int, str, kernel.Split]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def feed(self, number: int, plain: str, text: str) -> kernel.Split:
        """Takes a line apart; kept is what means something. ``text`` is the line as it stands."""
        parts = self._clock.read(plain)
        if parts.monotonic_s is not None:
            self.boot.saw(parts.monotonic_s)
            self.boot.feed(parts.text, parts.monotonic_s)
        if kernel.decode(parts.text) is not None:
            self._lines.append((number, text, parts))
        return parts

    def facts(self, source: str) -> Iterator[Fact]:
        """What they say."""
        return kernel.facts_of(self._lines, source)
