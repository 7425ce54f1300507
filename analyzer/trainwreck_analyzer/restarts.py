"""Where in a log a run begins anew: a launcher's first words, or steps that count again.

What went wrong before a restart and what went wrong after it are two incidents.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.series import Step

LITERALS = (
    "OMP_NUM_THREADS environment variable for each process",
    "elastic_operator with launch configs",
    "Starting worker group", "Restarting worker group", "tarting elastic",
    "***** Running training *****",
    "nitializing distributed: GLOBAL_RANK",
    "nitializing torch distributed",
    "Initializing TorchBackend in DeepSpeed",
    "using world size: ",
    "esuming from checkpoint", "esumed from checkpoint", "esuming training from",
)  # fmt: skip
"""Of torchrun, torchelastic, Trainer, Lightning, Megatron-LM, DeepSpeed; checkpoints taken up."""
_START = re.compile("|".join(re.escape(literal) for literal in LITERALS))
_BACK_STEPS = 3
"""Interleaved ranks print steps out of order by one or two."""
_GOING_STEPS = 2


@dataclass(frozen=True, slots=True)
class Restart:
    """A place where a run begins anew."""

    source: str
    line: int
    time: datetime | None
    going_line: int | None = None
    """Where its second step stands: it had got going; None: it never had."""
    going_time: datetime | None = None
    file_start: bool = False
    """It is where the file begins: an attempt with a file of its own, or just one more rank."""


def may_start(text: str) -> bool:
    """Whether a line is a launcher's first word."""
    return _START.search(text) is not None


def find(reading: Reading) -> Iterator[Restart]:
    """The places in one log where a run begins anew, its beginning included, in order."""
    steps = [s for s in reading.steps if s.step is not None]
    lines = [s.line for s in steps]
    path = reading.input.path
    first = reading.input.first_time
    if steps:
        yield _restart(path, 0, first, steps, 0, file_start=True)
    places = {line: time for line, time in reading.starts if line > 1}
    places |= {s.line: s.time for s in _backward(steps)}
    for line, time in sorted(places.items(), key=lambda place: place[0]):
        yield _restart(path, line, time, steps, bisect_right(lines, line - 1))


def _restart(
    path: str,
    line: int,
    time: datetime | None,
    steps: list[Step],
    after: int,
    *,
    file_start: bool = False,
) -> Restart:
    going = steps[after + _GOING_STEPS - 1] if len(steps) >= after + _GOING_STEPS else None
    return Restart(
        path, line, time, going.line if going else None, going.time if going else None, file_start
    )


def _backward(steps: list[Step]) -> Iterator[Step]:
    """Steps with a smaller number than before, where no new epoch begins with them."""
    before: dict[int | None, Step] = {}
    for step in steps:
        last = before.get(step.rank)
        before[step.rank] = step
        if last is None or (step.step or 0) > (last.step or 0) - _BACK_STEPS:
            continue
        if step.epoch is None or last.epoch is None or step.epoch <= last.epoch:
            yield step
