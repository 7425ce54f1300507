"""Reads one log of any kind: what its lines say as facts, its steps, its clock, how it ended.

A file is read in blocks; only lines whose shape means something are looked at.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from trainwreck_agent import step_blocks

from trainwreck_analyzer import about, bars, hosts, kernel, source, tracebacks
from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.heard import Heard, Patterns, Said, Wanted
from trainwreck_analyzer.kernel_lines import KernelLines
from trainwreck_analyzer.log_clock import LogClock
from trainwreck_analyzer.looks import LONGEST_LINE_BYTES, Look, dated, scanner
from trainwreck_analyzer.quoted import quoted
from trainwreck_analyzer.ranks import rank_of_file
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.scan import LONGEST_SHAPE_BYTES, MOST_SHAPES, Lines, Scanner
from trainwreck_analyzer.series import Layout
from trainwreck_analyzer.stepping import MOST_BAR_STATES, StepLine, Steps
from trainwreck_analyzer.verdict import Input, InputKind

_LATEST_PER_BLOCK = 3
"""Of lines that only repeat a kind, these last ones of each block are looked at."""
_COLLECTED_FROM_OBJECTS = 50_000
MOST_STARTS = 1000
_LONGEST_BLOCK_LINES = 40
_BAR_STATES_PER_BLOCK = 256
"""A progress bar is drawn ten times a second."""
_LINES_ABOVE = 4
_HEAD_BYTES = 40_000


def read(
    path: Path,
    catalogue: Catalogue,
    *,
    base_order: int = 0,
    progress: Callable[[int], None] | None = None,
    shapes: Scanner[Look] | None = None,
) -> Reading:
    """Everything one file tells.

    Args:
        path: The file, or standard input.
        catalogue: The signatures.
        base_order: The file's place among others, times more than it has lines.
        progress: Called with the bytes of the file that are done.
        shapes: What ``looks.scanner`` made for the catalogue, and learned from other files.

    Raises:
        Unreadable: The file cannot be opened or read.
    """
    reader = _Reader(path, catalogue, base_order, shapes or scanner(catalogue))
    with _seldom_collected():
        for block, done_bytes in source.blocks(path, on_damage=reader.damaged):
            reader.block(block)
            if progress:
                progress(done_bytes)
        return reader.finish()


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """What is read of a log is kept and holds no cycles: to look for them takes a tenth of it."""
    before = gc.get_threshold()
    if 0 < before[0] < _COLLECTED_FROM_OBJECTS:
        gc.set_threshold(_COLLECTED_FROM_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A line that says more of what was said often."""

    index: int
    patterns: Patterns
    """Those that say it."""
    parts: kernel.Split | None = None
    read: bool = False
    """Whether it was taken apart as a line of the kernel, where it is one."""


class _Reader:
    def __init__(
        self, path: Path, catalogue: Catalogue, base_order: int, shapes: Scanner[Look]
    ) -> None:
        self._path = path
        self._catalogue = catalogue
        self._scanner = shapes
        self._base_order = base_order
        self._rank = rank_of_file(str(path))
        self._changed = _changed(path)
        self._clock = LogClock(self._changed)
        self._held = b""
        self._above: list[bytes] = []
        """The last lines of the block before: a traceback may be the first of a block."""
        self._lines = 0
        self._unparsed = 0
        self._heard = Heard(catalogue, self._clock, str(path), base_order, self._rank)
        self._dated: dict[bytes, bool] = {}
        self._steps, self._bars = Steps(), Steps(MOST_BAR_STATES)
        self._skipped: tuple[int, Layout] | None = None
        self._repeats: dict[tuple[str, ...], deque[_Repeat]] = {}
        """The last lines of this block that say more of what was said often, by what they say."""
        self._kernel: KernelLines | None = None
        self._in_traceback: set[int] = set()
        self._open_end = False
        self._reading = Reading(Input(str(path), "unknown", 0), rank=self._rank)

    def block(self, block: bytes) -> None:
        """Reads a block of whole lines."""
        self._open_end = not block.endswith(b"\n")
        block = self._held + block
        cut = tracebacks.last_header(block)
        cut = block.rfind(b"\n", 0, cut) + 1 if cut > 0 else len(block)
        if cut == 0:
            cut = len(block)
        self._held = block[cut:]
        self._read(block[:cut])

    def damaged(self, _reason: str) -> None:
        """The rest of the file cannot be read."""
        self._unparsed += 1

    def finish(self) -> Reading:
        """Reads what is left and adds what needs the whole file."""
        if self._held:
            self._read(self._held)
        reading = self._reading
        of_bars = (s for s in self._bars.read(self._clock.time) if s.bar or s.loss is not None)
        reading.steps = bars.training((*self._steps.read(self._clock.time), *of_bars))
        reading.facts = self._heard.facts()
        if self._kernel:
            self._add_kernel_facts(self._kernel)
        first, last = self._clock.first, self._clock.last
        reading.bounds = first, last
        reading.input = Input(
            str(self._path), self._kind(), self._lines, first.time if first else None,
            last.time if last else None, self._unparsed, self._cut_off(),
        )  # fmt: skip
        return reading

    def _cut_off(self) -> bool:
        reading = self._reading
        finished = any(fact.kind == "run_finished" for fact in reading.facts)
        return self._open_end and bool(reading.steps) and not finished

    def _kind(self) -> InputKind:
        if self._kernel and self._clock.whole:
            return "kernel_log"
        reading = self._reading
        if reading.facts or reading.steps or reading.framework:
            return "training_log"
        if self._kernel:
            return "kernel_log"
        return "unknown"

    def _read(self, block: bytes) -> None:
        lines = Lines.of(block)
        if self._kernel is None:
            head = source.text(block[:_HEAD_BYTES])
            self._clock.begin(head)
            self._clock.show(lines)
            self._begin(head)
        else:
            self._clock.show(lines)
        if b"\x00" in block:
            self._unparsed += sum(1 for line in block.split(b"\n") if _garbage(line))
        first = self._lines + 1
        self._matter(lines, first)
        self._hear_repeats(lines, first)
        if self._skipped is not None:
            index, layout = self._skipped
            line = self._step_line(lines, index, first + lines.number(index), layout)
            self._steps.keep_as_last(line)
            self._skipped = None
        self._above = [raw for raw in lines.raw[-_LINES_ABOVE:] if raw]
        self._lines += lines.count
        self._in_traceback.clear()

    def _matter(self, lines: Lines, first: int) -> None:
        """Goes through the lines of a block that may mean something."""
        steps, wanted = self._steps, self._heard.wanted
        seen, stride = steps.seen, steps.stride
        own_time, shape, raw, number = self._dated.get, lines.shape, lines.raw, lines.number
        drawn: list[tuple[int, Layout]] = []
        for index, look in self._scanner.matter(lines):
            if look.only_step is not None and look.only_step.bar:
                drawn.append((index, look.only_step))
            elif look.only_step is not None:
                seen += 1
                if seen % stride:
                    self._skipped = index, look.only_step
                elif own_time(shape(index)):  # most of them
                    self._skipped = None
                    steps.keep(StepLine(raw[index], first + number(index), look.only_step, None))
                    stride = steps.stride
                else:
                    self._step(lines, index, first + lines.number(index), look.only_step)
                    stride = steps.stride
            elif look.only_says and not (want := wanted(look.patterns)).open:
                self._repeats_of(want).append(_Repeat(index, want.closed))
            elif not _garbage(lines.raw[index]):
                self._line(lines, index, first, look)
        steps.seen = seen
        every = max(self._bars.stride, -(-len(drawn) // _BAR_STATES_PER_BLOCK))
        for index, layout in drawn[::-1][::every][::-1]:  # the last among them
            self._step(lines, index, first + lines.number(index), layout)

    def _repeats_of(self, want: Wanted) -> deque[_Repeat]:
        found = self._repeats.get(want.closed_kinds)
        if found is None:
            found = self._repeats[want.closed_kinds] = deque(maxlen=_LATEST_PER_BLOCK)
        return found

    def _hear_repeats(self, lines: Lines, first: int) -> None:
        for repeat in (one for some in self._repeats.values() for one in some):
            index, parts = repeat.index, repeat.parts
            if _garbage(lines.raw[index]):
                continue
            if self._kernel is not None and self._clock.whole and not repeat.read:
                parts = self._kernel.read(lines, index, first)
            said = Said(lines, index, first + lines.number(index), parts)
            self._heard.hear(said, repeat.patterns)
        self._repeats.clear()

    def _begin(self, head: str) -> None:
        """Looks at the beginning of the file, once its first time is known."""
        reading = self._reading
        reading.framework = about.framework(head)
        reading.world_size = about.world_size(head)
        reading.job = about.job(head)
        reading.hosts = hosts.named(head)
        reading.stated_shift_s = self._clock.stated_shift_s(head)
        first = self._clock.first.time if self._clock.first else None
        self._kernel = KernelLines(str(self._path), head, first, self._changed)

    def _line(self, lines: Lines, index: int, first: int, look: Look) -> None:
        number = first + lines.number(index)
        parts = None
        if self._kernel is not None and (
            self._clock.whole or ((look.kernel or look.boot) and not self._shown(lines.raw[index]))
        ):
            parts = self._kernel.read(lines, index, first)
        if look.start and len(self._reading.starts) < MOST_STARTS:
            stamp = self._clock.nearest(lines, index)
            self._reading.starts.append((number, stamp.time if stamp else None))
        if look.traceback:
            self._traceback(lines, index, number)
            return
        if look.step is not None:
            self._step(lines, index, number, look.step)
        want = self._heard.wanted(look.patterns)
        if want.open:
            self._heard.hear(Said(lines, index, number, parts), want.open)
        if want.closed:
            self._repeats_of(want).append(_Repeat(index, want.closed, parts, read=True))

    def _shown(self, raw: bytes) -> bool:
        """Whether a line of a training log only shows what a kernel once said."""
        return quoted(source.plain(raw[:LONGEST_LINE_BYTES]))

    def _step(self, lines: Lines, index: int, number: int, layout: Layout) -> None:
        line = self._step_line(lines, index, number, layout)
        if layout.bar:
            self._bars.keep(line)
        else:
            self._skipped = None
            self._steps.keep(line)

    def _step_line(self, lines: Lines, index: int, number: int, layout: Layout) -> StepLine:
        raw, of_shape = lines.raw[index], lines.shape(index)
        if self._dated.get(of_shape):
            return StepLine(raw, number, layout, None)
        step = None
        if layout.step is None and raw[:1].isspace():
            above = lines.raw[max(0, index - _LONGEST_BLOCK_LINES) : index + 1]
            step = step_blocks.step_of([source.text(line) for line in above])
        if not layout.needs_time:
            return StepLine(raw, number, layout, None, step)
        own = self._clock.time(source.text(raw[:300])) if dated(of_shape) else None
        if len(of_shape) <= LONGEST_SHAPE_BYTES and len(self._dated) < MOST_SHAPES:
            self._dated[of_shape] = own is not None
        if own is None:
            stamp = self._clock.nearest(lines, index)
            own = stamp.time if stamp else None
        return StepLine(raw, number, layout, own, step)

    def _traceback(self, lines: Lines, index: int, number: int) -> None:
        window = [
            source.plain(line[:LONGEST_LINE_BYTES])
            for line in lines.raw[index : index + tracebacks.LONGEST_LINES]
        ]
        above = lines.raw[max(0, index - _LINES_ABOVE) : index]
        if index < _LINES_ABOVE:
            above = [*self._above, *above]
        before = [source.text(line) for line in above]
        found = tracebacks.read(window, before)
        if found is None:
            self._heard.add("traceback_cut_off", window[0], number, None, {})
            return
        if found.continued:
            return
        part = tracebacks.origin(found.files)
        suffix = f"/{part}" if part else ""
        if not found.exception:
            text = source.text(lines.raw[index])
            stamp = self._clock.nearest(lines, index)
            self._heard.add("traceback_cut_off" + suffix, text, number, stamp, {})
            return
        end = index + found.line
        place = number - lines.number(index) + lines.number(end)
        if place in self._in_traceback:
            return
        self._in_traceback.add(place)
        text = source.text(lines.raw[end])
        stamp = self._clock.nearest(lines, index)
        fields = {"exception": found.exception.rsplit(".", 1)[-1], "message": found.message[:300]}
        if found.files:
            fields["raised_in"] = found.files[-1][:200]
        if found.caused_by_earlier:
            fields["chained"] = "yes"
        if found.survived:
            fields["run_went_on"] = "yes"
        self._heard.add("python_traceback" + suffix, text, place, stamp, fields)

    def _names(self, fact: Fact) -> bool:
        """Whether a fact of the catalogue may stand beside what the kernel's decoder said."""
        signature = self._catalogue.signatures.get(fact.kind)
        return signature is not None and signature.role == "cause" and signature.weight >= 3.0

    def _add_kernel_facts(self, lines: KernelLines) -> None:
        reading = self._reading
        found = [
            replace(fact, order=self._base_order + (fact.line or 0)) for fact in lines.finish()
        ]
        taken = {f.line for f in found}
        reading.facts = [f for f in reading.facts if f.line not in taken or self._names(f)] + found
        reading.boot = lines.boot


def _garbage(line: bytes) -> bool:
    """Whether a line is no text."""
    return b"\x00" in line and b"\x00" in kernel.value(line)


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
