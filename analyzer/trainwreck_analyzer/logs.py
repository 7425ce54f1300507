"""Reads one log of any kind: what its lines say as facts, its steps, its clock, how it ended.

A file is read in blocks; only lines whose shape means something are looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from trainwreck_analyzer import about, kernel, series, source, tracebacks
from trainwreck_analyzer.catalogue import NEAR_LINES, Catalogue, Hit
from trainwreck_analyzer.clock import Clock
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.decode import literals as kernel_literals
from trainwreck_analyzer.kernel.gate import gate
from trainwreck_analyzer.literals import shape
from trainwreck_analyzer.ranks import rank, rank_of_file
from trainwreck_analyzer.scan import LONGEST_SHAPE_BYTES, MOST_SHAPES, Lines, Scanner
from trainwreck_analyzer.series import Layout, Step
from trainwreck_analyzer.verdict import Component, Input, InputKind

MOST_FACTS_PER_KIND = 200
MOST_STEPS = 20_000
"""More than so many are thinned out evenly; the last one is always kept."""
LONGEST_LINE_BYTES = 100_000
_LONGEST_NEIGHBOUR_BYTES = 5000
LONGEST_TEXT_CHARACTERS = 2000
_HELD_BYTES = 32768
"""A traceback that starts this near a block's end is read with the next block."""
_TIME_LOOKBACK_LINES = 30
_BOUNDS_LINES = 200
_CLOCKS = re.compile(rb"00:00:00|0000000000")
"""Stands in the shape of every time that a clock reads."""
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the lines of one shape may mean."""

    patterns: tuple[int, ...]
    kernel: bool
    traceback: bool
    step: Layout | None
    only_step: bool
    only_says: tuple[str, ...]
    """The signatures that may speak, where the lines can say nothing else."""


@dataclass(frozen=True, slots=True)
class _StepLine:
    """A line with a step, not read yet: most are thinned out."""

    raw: bytes
    number: int
    layout: Layout
    time: datetime | None
    """That of a line before; None where the line has its own."""


@dataclass(slots=True)
class Reading:
    """What one file told."""

    input: Input
    facts: list[Fact] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    framework: str | None = None
    world_size: int | None = None
    job: str | None = None
    rank: int | None = None


def read(
    path: Path,
    catalogue: Catalogue,
    *,
    base_order: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Reading:
    """Everything one file tells.

    Raises:
        Unreadable: The file cannot be opened or read.
    """
    reader = _Reader(path, catalogue, base_order)
    for block, done_bytes in source.blocks(path):
        reader.block(block)
        if progress:
            progress(done_bytes)
    return reader.finish()


class _Reader:
    def __init__(self, path: Path, catalogue: Catalogue, base_order: int) -> None:
        self._path = path
        self._catalogue = catalogue
        self._scanner = Scanner(
            [*catalogue.literals, *kernel_literals(), *series.LITERALS, tracebacks.HEADER],
            self._classify,
        )
        self._base_order = base_order
        self._clock = Clock(_changed(path))
        self._held = b""
        self._lines = 0
        self._unparsed = 0
        self._first_time: datetime | None = None
        self._last_time: datetime | None = None
        self._time_before: datetime | None = None
        self._head = ""
        self._timeless = False
        self._step_lines = 0
        self._stride = 1
        self._kept: Counter[str] = Counter()
        self._dated: dict[bytes, bool] = {}
        self._steps: list[_StepLine] = []
        self._last_step: _StepLine | None = None
        self._skipped: tuple[int, Layout] | None = None
        self._kernel_lines: list[tuple[int, str]] = []
        self._in_traceback: set[int] = set()
        self._reading = Reading(Input(str(path), "unknown", 0), rank=rank_of_file(str(path)))

    def block(self, block: bytes) -> None:
        """Reads a block of whole lines."""
        block = self._held + block
        cut = block.rfind(tracebacks.HEADER.encode(), max(0, len(block) - _HELD_BYTES))
        cut = block.rfind(b"\n", 0, cut) + 1 if cut > 0 else len(block)
        if cut == 0:
            cut = len(block)
        self._held = block[cut:]
        self._read(block[:cut])

    def finish(self) -> Reading:
        """Reads what is left and adds what needs the whole file."""
        if self._held:
            self._read(self._held)
        reading = self._reading
        self._add_steps()
        if self._kernel_lines:
            self._add_kernel_facts()
        reading.input = Input(
            str(self._path), self._kind(), self._lines, self._first_time, self._last_time,
            self._unparsed,
        )  # fmt: skip
        return reading

    def _kind(self) -> InputKind:
        if self._kernel_lines and kernel.looks_like_kernel(self._head):
            return "kernel_log"
        reading = self._reading
        if reading.facts or reading.steps or reading.framework:
            return "training_log"
        if self._kernel_lines:
            return "kernel_log"
        return "unknown"

    def _read(self, block: bytes) -> None:
        if not self._head:
            self._head = source.text(block[:40000])
            self._about(self._head)
        self._time_before = self._last_time
        lines = Lines.of(block)
        self._bounds(lines)
        if b"\x00" in block:
            self._unparsed += sum(1 for line in block.split(b"\n") if b"\x00" in line)
        first = self._lines + 1
        kept = self._kept
        for index, look in self._scanner.matter(lines.shapes):
            if look.only_step and look.step is not None:
                self._step_lines += 1
                if self._step_lines % self._stride:
                    self._skipped = index, look.step
                else:
                    self._step(lines, index, first + lines.number(index), look.step)
            elif look.only_says and all(kept[k] >= MOST_FACTS_PER_KIND for k in look.only_says):
                continue
            elif b"\x00" not in lines.raw[index]:
                self._line(lines, index, first + lines.number(index), look)
        if self._skipped is not None:
            index, layout = self._skipped
            self._last_step = self._step_line(lines, index, first + lines.number(index), layout)
            self._skipped = None
        self._lines += lines.count
        self._in_traceback.clear()

    def _classify(self, line: bytes) -> _Look | None:
        """What the lines of a shape may mean; None for nothing."""
        text = _plain(line[:LONGEST_LINE_BYTES])
        said = self._catalogue.possible(text)
        in_kernel = _kernel_gate()(text)
        header = tracebacks.HEADER in text
        step = series.layout(text)
        quiet = not (said.patterns or in_kernel or header)
        if quiet and step is None:
            return None
        only_says = () if in_kernel or header or step is not None else said.signatures
        return _Look(said.patterns, in_kernel, header, step, quiet, only_says)

    def _about(self, text: str) -> None:
        reading = self._reading
        reading.framework = about.framework(text)
        reading.world_size = about.world_size(text)
        reading.job = about.job(text)

    def _bounds(self, lines: Lines) -> None:
        """First and last time: from the first and the last lines of the block that carry one."""
        most = _TIME_LOOKBACK_LINES if self._timeless else _BOUNDS_LINES
        if self._first_time is None:
            self._first_time = self._any_time(lines.raw[:most])
        last = self._any_time(reversed(lines.raw[-most:]))
        if last is not None:
            self._last_time = last
        self._timeless = last is None

    def _any_time(self, lines: Iterable[bytes]) -> datetime | None:
        for line in lines:
            time = self._clock.time(source.text(line[:300]))
            if time is not None:
                return time
        return None

    def _line(self, lines: Lines, index: int, number: int, look: _Look) -> None:
        text = source.text(lines.raw[index][:LONGEST_LINE_BYTES])
        plain = _ANSI.sub("", text)
        if look.kernel and kernel.decode(kernel.split(plain).text) is not None:
            self._kernel_lines.append((number, text))
        if look.traceback:
            self._traceback(lines, index, number)
            return
        hits = [
            hit
            for hit in self._catalogue.hits(plain, look.patterns)
            if self._kept[hit.signature.id] < MOST_FACTS_PER_KIND
        ]
        if look.step is not None:
            self._step(lines, index, number, look.step)
        if not hits:
            return
        around: list[str] | None = None
        time, dated = None, False
        for hit in hits:
            if hit.signature.near:
                around = around if around is not None else _around(lines, index)
                if not any(p.search(t) for p in hit.signature.surroundings for t in around):
                    continue
            if not dated:
                time, dated = self._time(lines, index), True
            self._add(hit.signature.id, text, number, time, hit)

    def _step(self, lines: Lines, index: int, number: int, layout: Layout) -> None:
        """Keeps a step; of more than ``MOST_STEPS`` every 2nd, then every 4th, and so on."""
        self._skipped = self._last_step = None
        self._steps.append(self._step_line(lines, index, number, layout))
        if len(self._steps) >= MOST_STEPS:
            del self._steps[::2]
            self._stride *= 2

    def _step_line(self, lines: Lines, index: int, number: int, layout: Layout) -> _StepLine:
        raw, of_shape = lines.raw[index], lines.shapes[index]
        if self._dated.get(of_shape):
            return _StepLine(raw, number, layout, None)
        own = self._clock.time(source.text(raw[:300])) if _dated(of_shape) else None
        if len(of_shape) <= LONGEST_SHAPE_BYTES and len(self._dated) < MOST_SHAPES:
            self._dated[of_shape] = own is not None
        return _StepLine(raw, number, layout, own or self._time(lines, index))

    def _add_steps(self) -> None:
        for line in (*self._steps, *([self._last_step] if self._last_step else [])):
            text = source.text(line.raw)
            time = line.time or self._clock.time(text[:300])
            plain = _ANSI.sub("", text)
            self._reading.steps.append(line.layout.read(plain, line.number, text, time))

    def _traceback(self, lines: Lines, index: int, number: int) -> None:
        window = [
            _plain(line[:LONGEST_LINE_BYTES])
            for line in lines.raw[index : index + tracebacks.LONGEST_LINES]
        ]
        before = [source.text(line) for line in lines.raw[max(0, index - 3) : index]]
        found = tracebacks.read(window, before)
        if found is None:
            self._add("traceback_cut_off", window[0], number, None, None)
            return
        end = index + found.line
        place = number - lines.number(index) + lines.number(end)
        if place in self._in_traceback:
            return
        self._in_traceback.add(place)
        text = source.text(lines.raw[end])
        time = self._time(lines, index)
        fields = {"exception": found.exception.rsplit(".", 1)[-1], "message": found.message[:300]}
        if found.files:
            fields["raised_in"] = found.files[-1][:200]
        if found.caused_by_earlier:
            fields["chained"] = "yes"
        self._add("python_traceback", text, place, time, None, fields)

    def _time(self, lines: Lines, index: int) -> datetime | None:
        """The line's own time, or that of the nearest line before it."""
        lookback = 0 if self._first_time is None else _TIME_LOOKBACK_LINES
        for place in range(index, max(-1, index - lookback - 1), -1):
            if not _dated(lines.shapes[place]):
                continue
            time = self._clock.time(source.text(lines.raw[place][:300]))
            if time is not None:
                return time
        return self._time_before if index < lookback else None

    def _add(
        self,
        kind: str,
        text: str,
        number: int,
        time: datetime | None,
        hit: Hit | None,
        fields: dict[str, str] | None = None,
    ) -> None:
        if self._kept[kind] >= MOST_FACTS_PER_KIND:
            return
        self._kept[kind] += 1
        said = (hit.fields if hit else {}) | (fields or {})
        speaker = rank(text)
        component = Component(
            host=said.get("host"),
            gpu=_whole(said.get("gpu")),
            pci=said.get("pci"),
            rank=_first(_whole(said.get("rank")), speaker, self._reading.rank),
            device=said.get("device"),
        )
        text = text.rstrip("\r\n")[:LONGEST_TEXT_CHARACTERS]
        self._reading.facts.append(
            Fact(
                kind,
                text,
                "log",
                time,
                str(self._path),
                number,
                order=self._base_order + number,
                component=component,
                fields=said,
            )
        )

    def _names(self, fact: Fact) -> bool:
        """Whether a fact of the catalogue may stand beside what the kernel's decoder said."""
        signature = self._catalogue.signatures.get(fact.kind)
        return signature is not None and signature.role == "cause" and signature.weight >= 3.0

    def _add_kernel_facts(self) -> None:
        reading = self._reading
        changed = _changed(self._path)
        year = (self._first_time or changed or datetime.now(UTC)).year
        lines: Iterable[tuple[int, str]] = self._kernel_lines
        if kernel.looks_like_kernel(self._head) and self._path != source.STDIN:
            # Clocks that only say how long after the line before need every line.
            lines = enumerate(_text_lines(self._path), 1)
        found = [
            Fact(
                f.kind,
                f.text,
                "kernel",
                f.time,
                f.source,
                f.line,
                order=self._base_order + (f.line or 0),
                component=f.component,
                value=f.value,
                fields=f.fields,
            )
            for f in kernel.numbered_facts(lines, str(self._path), year=year)
        ]
        taken = {f.line for f in found}
        reading.facts = [f for f in reading.facts if f.line not in taken or self._names(f)] + found


def _text_lines(path: Path) -> Iterator[str]:
    for block, _ in source.blocks(path):
        for line in block.split(b"\n") if not block.endswith(b"\n") else block[:-1].split(b"\n"):
            yield source.text(line)


def _dated(of_shape: bytes) -> bool:
    """Whether a time may stand near the start of a line."""
    return _CLOCKS.search(of_shape, 0, 300) is not None


@cache
def _kernel_gate() -> Callable[[str], bool]:
    """Says whether a kernel line may have this shape."""
    wanted = tuple(shape(literal) for literal in kernel_literals())
    quick = gate(wanted).search

    def may_be_kernel(text: str) -> bool:
        return quick(text) is not None and any(literal in text for literal in wanted)

    return may_be_kernel


def _plain(line: bytes) -> str:
    return _ANSI.sub("", source.text(line))


def _around(lines: Lines, index: int) -> list[str]:
    """The lines around one, itself included."""
    some = lines.raw[max(0, index - NEAR_LINES) : index + NEAR_LINES + 1]
    return [_plain(line[:_LONGEST_NEIGHBOUR_BYTES]) for line in some]


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else None


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)
