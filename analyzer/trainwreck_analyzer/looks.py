"""What the lines of one shape may mean: asked once for each shape, not for each line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from trainwreck_analyzer import kernel, restarts, series, source, tracebacks
from trainwreck_analyzer.boot import LITERALS as BOOT_LITERALS
from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.kernel.decode import literals as decoded_literals
from trainwreck_analyzer.kernel.gate import Present
from trainwreck_analyzer.kernel.journal_entry import LITERALS as JOURNAL_LITERALS
from trainwreck_analyzer.literals import shape
from trainwreck_analyzer.scan import Scanner, Search
from trainwreck_analyzer.series import Layout

LONGEST_LINE_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Look:
    """What the lines of one shape may mean."""

    patterns: tuple[int, ...]
    kernel: bool
    traceback: bool
    step: Layout | None
    only_step: Layout | None
    """The same, where the lines can mean nothing else."""
    only_says: bool
    """Whether the lines can say nothing else."""
    boot: bool
    start: bool


def scanner(catalogue: Catalogue) -> Scanner[Look]:
    """Finds the lines of a log that may mean something."""

    def look(line: bytes) -> Look | None:
        return _look(line, catalogue)

    others = (
        *kernel_literals(), *series.LITERALS, *restarts.LITERALS, *BOOT_LITERALS,
        tracebacks.HEADER,
    )  # fmt: skip

    def search() -> Search | None:
        return accelerator_of(catalogue, others)

    def needles() -> tuple[str, ...]:
        return (*catalogue.needles, *map(shape, others))

    return Scanner((*catalogue.literals, *others), look, search, needles)


def accelerator_of(catalogue: Catalogue, texts: tuple[str, ...]) -> Search | None:
    """The accelerator for a catalogue, where it is installed; imported late."""
    from trainwreck_analyzer.accelerator import accelerator

    return accelerator(tuple(catalogue.expressions), texts)


def _look(line: bytes, catalogue: Catalogue) -> Look | None:
    text = source.plain(line[:LONGEST_LINE_BYTES])
    said = catalogue.possible(text)
    in_kernel = _kernel_gate()(text) and (kernel.may_decode(text) or kernel.may_count(text))
    header = tracebacks.HEADER in text
    boot = any(literal in text for literal in BOOT_LITERALS)
    start = restarts.may_start(text)
    step = series.layout(text)
    quiet = not (said.patterns or in_kernel or header or boot or start)
    if quiet and step is None:
        return None
    more = in_kernel or header or boot or start or step is not None
    return Look(
        said.patterns, in_kernel, header, step, step if quiet else None,
        bool(said.patterns) and not more, boot, start,
    )  # fmt: skip


def dated(of_shape: bytes) -> bool:
    """Whether a time may stand near the start of a line of this shape: one of these texts does."""
    head = of_shape[:300]
    return b"00:00:00" in head or b"0000000000" in head


def kernel_literals() -> tuple[str, ...]:
    """Texts of which one stands in every line that may be the kernel's."""
    return (*decoded_literals(), *JOURNAL_LITERALS)


@cache
def _kernel_gate() -> Callable[[str], bool]:
    """Says whether a kernel line may have this shape."""
    wanted = Present([shape(literal) for literal in kernel_literals()])
    return lambda text: bool(wanted.places(text))
