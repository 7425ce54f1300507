"""The kernel's lines of one log, kernel log or not: dated and understood as they are read.

One pass: standard input and pipes give what they hold only once. However long the log, what is kept
of one kind of event is bounded: the first ones and the latest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from trainwreck_analyzer import kernel, source
from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.both_ends import BothEnds
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.looks import LONGEST_LINE_BYTES
from trainwreck_analyzer.scan import Lines

MOST_PER_KIND = 5000
"""Events of one kind that are kept from the beginning of a log, and as many from its end."""


class KernelLines:
    """Takes kernel lines apart as they come.

    Args:
        source: The log's path, for the facts.
        head: The beginning of the log.
        latest: When the file was changed last; None where that is not known.
    """

    def __init__(
        self, source: str, head: str, first: datetime | None, latest: datetime | None
    ) -> None:
        self._records = kernel.are_records(head)
        self._every = not self._records and kernel.needs_every_line(head)
        self._block = self._shown = 0
        self.boot = Boot()
        year = (first or latest or datetime.now(UTC)).year
        self._clock = kernel.KernelClock(year=year, latest=latest)
        self._folded = kernel.Folded(source)
        self._any = False
        self._facts = BothEnds(MOST_PER_KIND, MOST_PER_KIND)

    def __bool__(self) -> bool:
        return self._any

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
            record = kernel.journal_record(lines.raw, place) if self._records else None
            parts = self._feed(first + lines.number(place), raw, record)
        self._shown = index + 1
        return parts

    def _feed(self, number: int, raw: bytes, record: kernel.Split | None) -> kernel.Split:
        parts = record or self._clock.read(source.plain(raw))
        if parts.monotonic_s is not None:
            self.boot.saw(parts.monotonic_s)
            self.boot.feed(parts.text, parts.monotonic_s)
        found = kernel.decode(parts.text)
        if found is not None:
            self._any = True
            self._keep(self._folded.feed(found, source.text(kernel.value(raw)), number, parts))
        return parts

    def _keep(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._facts.add(fact)

    def finish(self) -> list[Fact]:
        """What they say, all lines read."""
        self._keep(self._folded.finish())
        return self._facts.facts()
