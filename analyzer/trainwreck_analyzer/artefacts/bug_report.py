"""Reads ``nvidia-bug-report.log.gz``: each section goes to the reader that knows it.

A report is one text of a hundred sections, divided by a line of underscores. The kernel log comes
in several of them (dmesg, journal, files of syslog), so the same line appears more than once: it
becomes one fact, with the place where it stood first.

Source: https://docs.nvidia.com/deploy/rma-process/ (how a report is made)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from trainwreck_analyzer.artefacts import nvidia_smi
from trainwreck_analyzer.artefacts.text import lines_of
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.decode import decode
from trainwreck_analyzer.kernel.fold import Fold
from trainwreck_analyzer.kernel.prefix import split

_BREAK = re.compile(r"_{20,}\s{0,8}$", re.ASCII)
_NAME = re.compile(r"(?:\*\*\* )?(\S.{0,200})$", re.ASCII)


def read(path: Path) -> list[Fact]:
    """The facts of one report, gzipped or not.

    Raises:
        Unreadable: It cannot be opened.
    """
    return list(facts(lines_of(path), str(path)))


def sections(lines: Iterable[str]) -> Iterator[tuple[str, Iterator[tuple[int, str]]]]:
    """Name and numbered lines of each section. Each must be used up before the next."""
    numbered = enumerate(lines, 1)
    name = ""
    ended = False

    def body(first: tuple[int, str] | None) -> Iterator[tuple[int, str]]:
        nonlocal ended
        for number, line in chain([first] if first else [], numbered):
            if _BREAK.match(line):
                return
            yield number, line
        ended = True

    yield name, body(None)
    while not ended:
        title: tuple[int, str] | None = None
        for number, line in numbered:
            if line.strip() and not _BREAK.match(line):
                title = number, line
                break
        if title is None:
            return
        match = _NAME.match(title[1])
        yield (match[1] if match else ""), body(title)


def facts(lines: Iterable[str], source: str) -> Iterator[Fact]:
    """The facts of a report's lines."""
    told: set[tuple[str, str | None, str]] = set()
    for name, body in sections(lines):
        reader = nvidia_smi.facts if "nvidia-smi" in name else _kernel
        for fact in reader(body, source):
            # The same record in dmesg and in the journal differs by its prefix only.
            key = fact.kind, fact.component.pci, split(fact.text).text
            if key not in told:
                told.add(key)
                yield fact


def _kernel(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Fact]:
    fold = Fold(source)
    for number, raw in lines:
        parts = split(raw)
        found = decode(parts.text)
        if found is not None:
            yield from fold.feed(
                found,
                raw,
                number,
                time=parts.time,
                monotonic_s=parts.monotonic_s,
                host=parts.host,
                zoned=parts.zoned,
            )
    yield from fold.finish()
