"""Reads one log of any kind: what its lines say as facts, its steps, its clock, how it ended.

A file is read in blocks; only lines that hold a literal of the catalogue are looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from trainwreck_analyzer import kernel, source, tracebacks
from trainwreck_analyzer.catalogue import NEAR_LINES, Catalogue, Hit
from trainwreck_analyzer.clock import Clock
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.decode import literals as kernel_literals
from trainwreck_analyzer.ranks import rank, rank_of_file
from trainwreck_analyzer.scan import Index
from trainwreck_analyzer.series import LITERALS as STEP_LITERALS
from trainwreck_analyzer.series import Step
from trainwreck_analyzer.series import read as read_step
from trainwreck_analyzer.verdict import Component, Input, InputKind

MOST_FACTS_PER_KIND = 200
MOST_STEPS = 100_000
LONGEST_TEXT_CHARACTERS = 2000
_HELD_BYTES = 32768
"""A traceback that starts this near a block's end is read with the next block."""
_TIME_LOOKBACK_LINES = 30
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_FRAMEWORKS = (
    ("megatron", re.compile(r"megatron|number of parameters on \(tensor, pipeline\)", re.I)),
    ("nemo", re.compile(r"\bNeMo\b|nemo_logging", re.ASCII)),
    ("deepspeed", re.compile(r"deepspeed|\[stage_?[123]", re.I)),
    ("torchtitan", re.compile(r"torchtitan", re.I)),
    ("lightning", re.compile(r"pytorch_lightning|lightning\.pytorch|lightning/fabric", re.I)),
    ("transformers", re.compile(r"transformers/trainer|'train_runtime'|\*{5} Running training")),
    ("jax", re.compile(r"\bjax(?:lib)?\b|XlaRuntimeError", re.ASCII)),
    ("tensorflow", re.compile(r"tensorflow", re.I)),
    ("mosaicml", re.compile(r"\bcomposer[./]|MosaicML", re.ASCII)),
    ("pytorch", re.compile(r"torch|ProcessGroupNCCL|c10d", re.ASCII)),
)
_WORLD = re.compile(
    r"\b(?:world[_ ]size|nranks|WORLD_SIZE|num_processes)['\"]?[ =:]{1,3}(\d{1,6})\b"
)
_JOB = re.compile(r"\b(?:SLURM_JOB_ID=|JOB |STEP |slurm job id:? |StepId=)(\d{2,12})\b")


@dataclass(slots=True)
class Reading:
    """What one file told."""

    input: Input
    facts: list[Fact] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How often each kind of fact stands in the file, the ones not kept included."""
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
        self._scanner = catalogue.scanner(kernel_literals())
        self._kernel_gate = Index()
        for literal in kernel_literals():
            self._kernel_gate.add_literal(literal, 0)
        self._base_order = base_order
        self._clock = Clock(_changed(path))
        self._held = b""
        self._lines = 0
        self._unparsed = 0
        self._first_time: datetime | None = None
        self._last_time: datetime | None = None
        self._time_before: datetime | None = None
        self._head = ""
        self._kernel_lines = 0
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
        first = self._lines + 1
        if not self._head:
            self._head = source.text(block[:40000])
            self._about(self._head)
        self._time_before = self._last_time
        self._bounds(block)
        for line in self._scanner.candidates(block, first):
            raw = block[line.start : line.end]
            if len(raw) > 100_000:
                raw = raw[:100_000]
            if b"\x00" in raw:
                self._unparsed += 1
                continue
            for text in _segments(source.text(raw)):
                self._line(block, line.start, line.end, line.number, text)
        self._lines += block.count(b"\n") + (not block.endswith(b"\n") and bool(block))
        self._in_traceback.clear()

    def _about(self, text: str) -> None:
        reading = self._reading
        for name, pattern in _FRAMEWORKS:
            if reading.framework is None and pattern.search(text):
                reading.framework = name
        world = _WORLD.search(text)
        if world and reading.world_size is None:
            reading.world_size = int(world[1])
        job = _JOB.search(text)
        if job and reading.job is None:
            reading.job = job[1]

    def _bounds(self, block: bytes) -> None:
        """First and last time: from the first and the last lines of the block that carry one."""
        if self._first_time is None:
            self._first_time = self._any_time(block[:20000].split(b"\n"))
        last = self._any_time(reversed(block[-20000:].split(b"\n")))
        if last is not None:
            self._last_time = last
        if b"\x00" in block:
            self._unparsed += sum(1 for line in block.split(b"\n") if b"\x00" in line)

    def _any_time(self, lines: Iterator[bytes] | list[bytes]) -> datetime | None:
        for line in lines:
            time = self._clock.time(source.text(line[:300]))
            if time is not None:
                return time
        return None

    def _line(self, block: bytes, start: int, end: int, number: int, text: str) -> None:
        plain = _ANSI.sub("", text)
        if (
            self._kernel_gate.possible(plain)
            and kernel.decode(kernel.split(plain).text) is not None
        ):
            self._kernel_lines += 1
        if tracebacks.HEADER in plain:
            self._traceback(block, start, number)
            return
        hits = self._catalogue.hits(plain)
        step = None
        if any(literal in plain for literal in STEP_LITERALS):
            step = read_step(plain, number, None, rank(plain))
        if not hits and step is None:
            return
        time = self._time(block, start, plain)
        if step is not None and len(self._reading.steps) < MOST_STEPS:
            self._reading.steps.append(replace(step, text=text, time=time))
        around: list[str] | None = None
        for hit in hits:
            if hit.signature.near:
                around = around if around is not None else _around(block, start, end)
                if not any(p.search(t) for p in hit.signature.surroundings for t in around):
                    continue
            self._add(hit.signature.id, text, number, time, hit)

    def _traceback(self, block: bytes, start: int, number: int) -> None:
        window = block[start : start + _HELD_BYTES]
        lines = [_ANSI.sub("", source.text(line)).rstrip("\r") for line in window.split(b"\n")]
        before = [source.text(b) for b in block[max(0, start - 1000) : start].split(b"\n")]
        found = tracebacks.read(lines, before)
        if found is None:
            self._add("traceback_cut_off", lines[0], number, None, None)
            return
        place = number + found.line
        if place in self._in_traceback:
            return
        self._in_traceback.add(place)
        text = source.text(window.split(b"\n")[found.line]).rstrip("\r")
        time = self._time(block, start, lines[0])
        fields = {"exception": found.exception.rsplit(".", 1)[-1], "message": found.message[:300]}
        if found.files:
            fields["raised_in"] = found.files[-1][:200]
        if found.caused_by_earlier:
            fields["chained"] = "yes"
        self._add("python_traceback", text, place, time, None, fields)

    def _time(self, block: bytes, start: int, line: str) -> datetime | None:
        """The line's own time, or that of the nearest line before it."""
        time = self._clock.time(line)
        if self._first_time is None:
            return time
        position = start
        for _ in range(_TIME_LOOKBACK_LINES):
            if time is not None or position <= 0:
                break
            previous = block.rfind(b"\n", 0, position - 1) + 1
            time = self._clock.time(source.text(block[previous : min(position, previous + 300)]))
            position = previous
        return time or (self._time_before if position <= 0 else None)

    def _add(
        self,
        kind: str,
        text: str,
        number: int,
        time: datetime | None,
        hit: Hit | None,
        fields: dict[str, str] | None = None,
    ) -> None:
        counts = self._reading.counts
        counts[kind] += 1
        if counts[kind] > MOST_FACTS_PER_KIND:
            return
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
            for f in kernel.facts(_text_lines(self._path), str(self._path), year=year)
        ]
        taken = {f.line for f in found}
        reading.facts = [f for f in reading.facts if f.line not in taken or self._names(f)] + found


def _text_lines(path: Path) -> Iterator[str]:
    for block, _ in source.blocks(path):
        for line in block.split(b"\n") if not block.endswith(b"\n") else block[:-1].split(b"\n"):
            yield source.text(line)


def _segments(text: str) -> list[str]:
    """The parts of a line that a progress bar rewrote: only the last is kept on a terminal."""
    text = text.rstrip("\r\n")
    if "\r" not in text:
        return [text]
    return [part for part in text.split("\r") if part.strip()]


def _around(block: bytes, start: int, end: int) -> list[str]:
    """The lines around one, itself included."""
    first = start
    for _ in range(NEAR_LINES):
        if first <= 0:
            break
        first = block.rfind(b"\n", max(0, first - 5000), first - 1) + 1
    last = end
    for _ in range(NEAR_LINES):
        following = block.find(b"\n", last + 1, last + 5000)
        if following < 0:
            last = min(len(block), last + 5000)
            break
        last = following
    return [_ANSI.sub("", source.text(line)) for line in block[first:last].split(b"\n")]


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else None


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)
