"""Reads a whole kernel log: every line taken apart, understood, folded, dated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.conclusions import Conclusions
from trainwreck_analyzer.kernel.decode import decode
from trainwreck_analyzer.kernel.decoded import Decoded
from trainwreck_analyzer.kernel.fold import Fold
from trainwreck_analyzer.kernel.parts import LINE_LIMIT, Split
from trainwreck_analyzer.kernel.prefix import split

_SAMPLE_LINES = 200


def facts(
    lines: Iterable[str],
    source: str,
    *,
    zone: tzinfo = UTC,
    year: int | None = None,
    boot_time: datetime | None = None,
    host: str | None = None,
) -> Iterator[Fact]:
    """What a kernel log says, in the order in which each event is complete.

    Args:
        lines: The log.
        source: Its path, for the facts.
        zone: Where a clock without a zone stands.
        year: Of dates without a year: the year of the first of them.
        boot_time: Aware; when the machine booted, to date lines that only carry seconds since boot.
        host: For logs whose lines do not name one.
    """
    clock = KernelClock(zone=zone, year=year, boot_time=boot_time)
    folded = Folded(source, host=host)
    for number, raw in enumerate(lines, 1):
        parts = clock.read(raw)
        found = decode(parts.text)
        if found is not None:
            yield from folded.feed(found, raw, number, parts)
    yield from folded.finish()


class Folded:
    """The events of a log whose lines a ``KernelClock`` has taken apart, as each is complete.

    Args:
        source: The log's path, for the facts.
        host: For logs whose lines do not name one.
    """

    def __init__(self, source: str, *, host: str | None = None) -> None:
        self._host = host
        self._fold = Fold(source)
        self._conclusions = Conclusions()

    def feed(self, found: Decoded, raw: str, number: int, parts: Split) -> Iterator[Fact]:
        """What is complete now that this line has come."""
        for fact in self._fold.feed(
            found,
            raw.rstrip("\r\n")[: LINE_LIMIT * 4],
            number,
            time=parts.time,
            monotonic_s=parts.monotonic_s,
            host=parts.host or self._host,
            zoned=parts.zoned,
        ):
            yield from self._conclusions.of(fact)

    def finish(self) -> Iterator[Fact]:
        """What is still open at the end."""
        for fact in self._fold.finish():
            yield from self._conclusions.of(fact)
        yield from self._conclusions.finish()


class KernelClock:
    """Takes lines apart, and dates what they leave out: the year, the moment of relative clocks.

    Args:
        zone: Where a clock without a zone stands.
        year: Of dates without a year: the year of the first of them.
        boot_time: Aware; when the machine booted, to date lines that only carry seconds since boot.
        latest: No date without a year lies more than two days after this.
    """

    def __init__(
        self,
        *,
        zone: tzinfo = UTC,
        year: int | None = None,
        boot_time: datetime | None = None,
        latest: datetime | None = None,
    ) -> None:
        self._zone = zone
        self._year = year
        self._boot_time = boot_time
        self._latest = latest
        self._last: datetime | None = None

    def read(self, raw: str) -> Split:
        """A line taken apart, with its time where that can be known."""
        parts = split(raw, zone=self._zone, year=self._year)
        time = parts.time
        if parts.yearless and time is not None and self._year is not None:
            turn = self._turn(time)
            if turn:
                self._year += turn
                parts = split(raw, zone=self._zone, year=self._year)
                time = parts.time
        elif time is None and parts.monotonic_s is not None and self._boot_time is not None:
            time = self._boot_time + timedelta(seconds=parts.monotonic_s)
        elif time is None and parts.delta_s is not None and self._last is not None:
            time = _later(self._last, parts.delta_s)
        if time is not None:
            self._last = time
        if time is parts.time:
            return parts
        return replace(parts, time=time, zoned=parts.monotonic_s is not None)

    def _turn(self, time: datetime) -> int:
        """By how many years the date is beside the year that is in use."""
        if self._last is None:
            late = self._latest is not None and time > self._latest + timedelta(days=2)
            return -1 if late else 0
        return 1 if time < self._last - timedelta(days=180) else 0


def _later(time: datetime, seconds: float) -> datetime | None:
    try:
        return time + timedelta(seconds=seconds)
    except OverflowError:
        return None


def needs_every_line(sample: str) -> bool:
    """Whether a text's clock tells only how long after the line before a line came."""
    parts = (split(line) for line in sample.split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES])
    return any(p.delta_s is not None and p.time is None and p.monotonic_s is None for p in parts)


def looks_like_kernel(sample: str) -> bool:
    """Whether a text's first lines are a kernel log: half of them, blank ones aside."""
    kernel = others = 0
    for line in sample.split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES]:
        if not line.strip():
            continue
        parts = split(line)
        if parts.program == "kernel" or decode(parts.text) is not None:
            kernel += 1
        else:
            others += 1
    return kernel > 0 and kernel >= others
