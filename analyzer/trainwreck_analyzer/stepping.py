"""Keeps the steps of a log, thinned out evenly where there are too many; the last one always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from trainwreck_analyzer import source
from trainwreck_analyzer.series import Layout, Step

MOST_STEPS = 20_000
MOST_BAR_STATES = 2000
"""A progress bar is drawn ten times a second, and between two steps too."""


class StepLine(NamedTuple):
    """A line with a step, not read yet: most are thinned out."""

    raw: bytes
    number: int
    layout: Layout
    time: datetime | None
    """That of a line before; None where the line has its own."""
    step: int | None = None
    """That of the lines before that it belongs to."""


class Steps:
    """The steps of one log; of too many every 2nd, then every 4th, and so on.

    Args:
        most: So many are too many.
    """

    def __init__(self, most: int = MOST_STEPS) -> None:
        self._most = most
        self._kept: list[StepLine] = []
        self._last: StepLine | None = None
        self.seen = 0
        """Steps so far; counted by the reader, which sees millions."""
        self.stride = 1
        """Every so many steps one is kept."""

    def keep(self, line: StepLine) -> None:
        """Keeps one."""
        self._last = None
        self._kept.append(line)
        if len(self._kept) >= self._most:
            del self._kept[::2]
            self.stride *= 2

    def keep_as_last(self, line: StepLine) -> None:
        """Keeps one until another comes."""
        self._last = line

    def read(self, time_of: Callable[[str], datetime | None]) -> Iterator[Step]:
        """Their numbers, in order; ``time_of`` reads the time of a line."""
        for line in (*self._kept, *([self._last] if self._last else [])):
            text = source.text(line.raw)
            time = line.time
            if time is None and line.layout.needs_time:
                time = time_of(text[:300])
            plain = source.plain(line.raw) if "\x1b" in text else text
            found = line.layout.read(plain, line.number, text, time)
            yield found if line.step is None else found._replace(step=line.step)
