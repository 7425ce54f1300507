"""Reads a whole kernel log: every line taken apart, understood, folded, dated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.decode import decode
from trainwreck_analyzer.kernel.fold import Fold
from trainwreck_analyzer.kernel.prefix import LINE_LIMIT, Split, split

_SAMPLE_LINES = 200
_APPLICATION_XIDS = frozenset({"xid_13", "xid_31", "xid_43", "xid_69", "xid_137"})
_REPEATED = 3
"""Faults on one GPU, by as many different processes, from which on the GPU is suspect and not the
program."""


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
    yield from numbered_facts(
        enumerate(lines, 1), source, zone=zone, year=year, boot_time=boot_time, host=host
    )


def numbered_facts(
    lines: Iterable[tuple[int, str]],
    source: str,
    *,
    zone: tzinfo = UTC,
    year: int | None = None,
    boot_time: datetime | None = None,
    host: str | None = None,
) -> Iterator[Fact]:
    """What the kernel's lines in a longer log say; each line with its number. See ``facts``."""
    fold = Fold(source)
    repeats = _Repeats()
    clock = _Clock(zone, year, boot_time)
    for number, raw in lines:
        parts = clock.read(raw)
        found = decode(parts.text)
        if found is None:
            continue
        where = parts.host or host
        for fact in fold.feed(
            found,
            raw.rstrip("\r\n")[: LINE_LIMIT * 4],
            number,
            time=parts.time,
            monotonic_s=parts.monotonic_s,
            host=where,
        ):
            yield from repeats.with_suspects(fact)
    for fact in fold.finish():
        yield from repeats.with_suspects(fact)


class _Clock:
    """Dates what the lines leave out: the year, and the moment of relative clocks."""

    def __init__(self, zone: tzinfo, year: int | None, boot_time: datetime | None) -> None:
        self._zone = zone
        self._year = year
        self._boot_time = boot_time
        self._last: datetime | None = None

    def read(self, raw: str) -> Split:
        parts = split(raw, zone=self._zone, year=self._year)
        time = parts.time
        if parts.yearless and time is not None and self._last is not None:
            if time < self._last - timedelta(days=180) and self._year is not None:
                self._year += 1
                parts = split(raw, zone=self._zone, year=self._year)
                time = parts.time
        elif time is None and parts.monotonic_s is not None and self._boot_time is not None:
            time = self._boot_time + timedelta(seconds=parts.monotonic_s)
        elif time is None and parts.delta_s is not None and self._last is not None:
            time = self._last + timedelta(seconds=parts.delta_s)
        if time is not None:
            self._last = time
        return parts if time is parts.time else replace(parts, time=time)


class _Repeats:
    """Xids that point to a program, until they repeat on one GPU with different programs."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str | None, str | None, str], set[str]] = {}
        self._told: set[tuple[str | None, str | None, str]] = set()

    def with_suspects(self, fact: Fact) -> Iterator[Fact]:
        """The fact, and the one that the GPU is suspect, where this is the repetition."""
        yield fact
        if fact.kind not in _APPLICATION_XIDS or "caused_by_xid" in fact.fields:
            return
        place = "/".join(fact.fields.get(name, "") for name in ("gpc", "tpc", "sm"))
        where = (fact.component.host, fact.component.pci, f"{fact.kind} {place}")
        pids = self._seen.setdefault(where, set())
        pids.add(fact.fields.get("pid", ""))
        if len(pids - {""}) < _REPEATED or where in self._told:
            return
        self._told.add(where)
        yield replace(
            fact,
            kind=f"{fact.kind}_repeated",
            fields=fact.fields | {"processes": str(len(pids - {""}))},
        )


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
