"""The kernel's lines of one log, kernel log or not: dated as they are read, understood at the end.

One pass: standard input and pipes give what they hold only once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from trainwreck_analyzer import kernel, source
from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.looks import LONGEST_LINE_BYTES
from trainwreck_analyzer.scan import Lines


class KernelLines:
    """Takes kernel lines apart as they come.

    Args:
        head: The beginning of the log.
        latest: When the file was changed last; None where that is not known.
    """

    def __init__(self, head: str, first: datetime | None, latest: datetime | None) -> None:
        self._every = kernel.needs_every_line(head)
        self._block = self._shown = 0
        self.boot = Boot()
        year = (first or latest or datetime.now(UTC)).year
        self._clock = kernel.KernelClock(year=year, latest=latest)
        self._lines: list[tuple[int, str, kernel.Split]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def read(self, lines: Lines, index: int, first: int) -> kernel.Split | None:
        """A line of a block taken apart; kept is what means something.

        ``first`` is the number of the block's first line. A clock that counts on from line to line
        is shown the lines before too.
        """
        if first != self._block:
            self._block, self._shown = first, 0
        parts = None
        for place in range(self._shown if self._every else index, index + 1):
            raw = lines.raw[place][:LONGEST_LINE_BYTES]
            parts = self._feed(first + lines.number(place), raw)
        self._shown = index + 1
        return parts

    def _feed(self, number: int, raw: bytes) -> kernel.Split:
        parts = self._clock.read(source.plain(raw))
        if parts.monotonic_s is not None:
            self.boot.saw(parts.monotonic_s)
            self.boot.feed(parts.text, parts.monotonic_s)
        if kernel.decode(parts.text) is not None:
            self._lines.append((number, source.text(raw), parts))
        return parts

    def facts(self, source: str) -> Iterator[Fact]:
        """What they say."""
        return kernel.facts_of(self._lines, source)
