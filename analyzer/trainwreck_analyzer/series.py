"""Steps of a training run as the logs print them: number, loss, norms, rates, times.

Understands Megatron-LM, NeMo and Lightning bars, Hugging Face Trainer dicts, DeepSpeed, torchtitan
and loops that print ``step 10 loss 1.2``::

     iteration      100/ 5000 | … | elapsed time per iteration (ms): 512.3 | lm loss: 2.1E+00 | …
    {'loss': 2.31, 'grad_norm': 1.02, 'learning_rate': 5e-05, 'epoch': 0.1}
    {'loss': '2.31', 'grad_norm': '1.02', 'learning_rate': '5e-05', 'epoch': '0.1'}
    step: 10  loss:  8.0123  grad_norm:  1.2  memory: 40.1GiB(50.1%)  tps: 7,012  mfu: 41.2%
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from trainwreck_agent import progress_bar
from trainwreck_agent.progress_bar import Bar

from trainwreck_analyzer.ranks import rank_span

_OF_LOSS = ("loss", "Loss", "LOSS", "elapsed time per iteration")
LITERALS = (*_OF_LOSS, *progress_bar.units())
_NUMBER = r"(?P<v>[-+]?(?:\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|NaN|NAN|inf|Inf|INF|Infinity))"
_SEPARATOR = r"['\"]?\s{0,2}[:=]?\s{0,8}(?:tensor\(|['\"])?"
_STEP = re.compile(
    r"\b(?:global[_ ]?)?(?:[Ss]tep|STEP|[Ii]ter(?:ation)?|[Bb]atch|[Uu]pdate)s?"
    + _SEPARATOR
    + r"\[?(?P<v>\d{1,12})(?!\.?\d)",
    re.ASCII,
)
_LOSS = re.compile(
    r"(?:\b|_)(?:lm[_ ]|train(?:ing)?[_/ ])?(?:[Ll]oss|LOSS)(?:_step|/tok(?:en)?|/train/total)?"
    r"(?:\s?\([^)]{0,20}\))?" + _SEPARATOR + _NUMBER + r"(?![\w.])",
    re.ASCII,
)
_GRAD = re.compile(r"\b(?:global_)?grad(?:ient)?[_ ]norm" + _SEPARATOR + _NUMBER, re.ASCII)
_RATE = re.compile(r"\b(?:lr|learning[_ ]rate)" + _SEPARATOR + _NUMBER, re.ASCII)
_SCALE = re.compile(r"\bloss[_ ]scale" + _SEPARATOR + _NUMBER, re.ASCII)
_EPOCH = re.compile(r"\b[Ee]poch" + _SEPARATOR + r"\[?(?P<v>\d+(?:\.\d+)?)", re.ASCII)
_TIME = re.compile(
    r"elapsed time per iteration \((?P<unit>m?s)\): (?P<v>[\d.]+)"
    r"|(?<![\w_])(?:iter_)?[Tt]ime:? {1,4}(?P<s>\d+\.\d+(?:[eE][-+]\d{1,3})?)",
    re.ASCII,
)
_STEP_TIME = re.compile(
    r"(?<![\w/])(?:(?:step|iter|iteration|batch)[_ ]time|time[_ /](?:per[_ ])?(?:step|iter|batch)"
    r"|(?:sec|seconds|s) ?(?:/|per) ?(?:step|iter|it))(?:[_ ]?\(?(?:ms|s|sec)\)?)?"
    r"['\"]?\s{0,2}[:=]?\s{0,4}(?P<v>\d{1,8}(?:\.\d{1,9})?)(?![\d:]) ?(?P<ms>ms\b)?",
    re.ASCII | re.IGNORECASE,
)
_IN_MS = re.compile(r"ms\)?['\"]?\s{0,2}[:=]?\s{0,4}$", re.ASCII | re.IGNORECASE)
_DATA = re.compile(r"\b[Dd]ata(?:[_ ]time)?:? {1,4}(?P<v>\d+\.\d+(?:[eE][-+]\d{1,3})?)", re.ASCII)
_MEMORY = re.compile(
    r"(?<![a-zA-Z/])(?:(?:max[_ ]|peak[_ ])?"
    r"(?:gpu|GPU|cuda|CUDA|vram|VRAM|allocated|reserved)?[_ ]?"
    r"(?:[Mm]em(?:ory)?|VRAM|vram)(?:[_ ](?:allocated|reserved|used))?)"
    r"['\"]?[:=]? {0,2}(?P<v>\d{1,8}(?:\.\d{1,6})?) ?(?P<unit>[MG])(?:i?B)?\b",
    re.ASCII,
)
"""GPU memory as torchtitan, detectron2, mmcv and loops print it; only with its unit."""
_RESIDENT = re.compile(
    r"(?<![a-zA-Z/])(?:(?:[Rr][Ss][Ss]|[Rr]esident)(?:[ _][Mm]em(?:ory)?)?"
    r"|(?:[Cc][Pp][Uu]|[Hh]ost|[Ss]ystem)[ _](?:[Mm]em(?:ory)?|RAM|ram))"
    r"['\"]?[:= ] {0,2}(?P<v>\d{1,8}(?:\.\d{1,6})?) ?(?P<unit>[MG])(?:i?B)?\b",
    re.ASCII,
)
"""Memory of the process on the host; only with its unit."""
_OF_THE_HOST = re.compile(r"(?:[Cc][Pp][Uu]|[Hh]ost|[Rr][Ss][Ss]|[Ss]ystem)[_ ]?$", re.ASCII)
_NOT_TRAINING = re.compile(r"[Ee]val|[Vv]alid|val_loss|[Tt]est|^\s{0,4}wandb: ", re.ASCII)
"""Weights & Biases repeats the last values of the run when it ends."""


class Step(NamedTuple):
    """One line that tells of a step; a tuple, for every log makes tens of thousands."""

    line: int
    text: str
    time: datetime | None
    rank: int | None
    step: int | None
    loss: float | None
    grad_norm: float | None = None
    learning_rate: float | None = None
    loss_scale: float | None = None
    step_time_s: float | None = None
    epoch: float | None = None
    data_time_s: float | None = None
    """Part of the step that waited for data."""
    gpu_memory_mib: float | None = None
    resident_mib: float | None = None
    """Memory of the process on the host."""
    bar: Bar | None = None
    """The progress bar that it is a state of; ``bars`` tells which of these are steps."""


Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a line its numbers stand: the same for all lines that differ in digits only."""

    step: Span | None
    loss: Span | None
    grad_norm: Span | None
    learning_rate: Span | None
    loss_scale: Span | None
    step_time: Span | None
    milliseconds: bool
    epoch: Span | None
    data_time: Span | None
    rank: Span | None
    memory: Span | None = None
    memory_unit_mib: float = 1.0
    resident: Span | None = None
    resident_unit_mib: float = 1.0
    bar: bool = False

    @property
    def needs_time(self) -> bool:
        """Whether it matters when a line came: a bar that shows no loss is drawn at any time."""
        return not self.bar or self.loss is not None

    def read(self, line: str, number: int, text: str, time: datetime | None) -> Step:
        """The step of one line; ``text`` is the line as it stands in the file."""
        step_time_s = _value(line, self.step_time)
        if step_time_s is not None and self.milliseconds:
            step_time_s /= 1000
        memory, resident = _value(line, self.memory), _value(line, self.resident)
        return Step(
            number,
            text,
            time,
            int(line[slice(*self.rank)]) if self.rank else None,
            int(line[slice(*self.step)]) if self.step else None,
            _value(line, self.loss),
            _value(line, self.grad_norm) if self.grad_norm else None,
            _value(line, self.learning_rate) if self.learning_rate else None,
            _value(line, self.loss_scale) if self.loss_scale else None,
            step_time_s,
            _value(line, self.epoch) if self.epoch else None,
            _value(line, self.data_time) if self.data_time else None,
            None if memory is None else memory * self.memory_unit_mib,
            None if resident is None else resident * self.resident_unit_mib,
            progress_bar.parse(line) if self.bar else None,
        )


def layout(line: str) -> Layout | None:
    """Where the numbers of a step stand; None: the line has no loss, and no bar, of a training."""
    if len(line) > 2000:
        return None
    bar = "%|" in line and progress_bar.may_be_one(line)
    if not bar and not any(literal in line for literal in _OF_LOSS):
        return None
    if _NOT_TRAINING.search(line):
        return None
    loss = _span(_LOSS, line)
    if _value(line, loss) is None and not bar and "elapsed time per iteration" not in line:
        return None
    taken = _TIME.search(line)
    step_time, milliseconds = None, False
    if (found := _STEP_TIME.search(line)) and not (taken and taken["unit"]):
        step_time = found.span("v")
        head = line[found.start() : found.start("v")]
        milliseconds = bool(found["ms"]) or _IN_MS.search(head) is not None
    elif taken:
        step_time = taken.span("s" if taken["s"] else "v")
        milliseconds = taken["unit"] == "ms"
    memory = _MEMORY.search(line)
    if memory and _OF_THE_HOST.search(line[max(0, memory.start() - 8) : memory.start()]):
        memory = None
    resident = _RESIDENT.search(line)
    return Layout(
        _span(_STEP, line),
        loss,
        _span(_GRAD, line),
        _span(_RATE, line),
        _span(_SCALE, line),
        step_time,
        milliseconds,
        _span(_EPOCH, line),
        _span(_DATA, line),
        rank_span(line),
        memory.span("v") if memory else None,
        1024.0 if memory and memory["unit"] == "G" else 1.0,
        resident.span("v") if resident else None,
        1024.0 if resident and resident["unit"] == "G" else 1.0,
        bar,
    )


def read(line: str, number: int, time: datetime | None) -> Step | None:
    """The step that a line tells of; None where it holds no loss of the training."""
    found = layout(line)
    return found.read(line, number, line, time) if found else None


def _span(pattern: re.Pattern[str], line: str) -> Span | None:
    found = pattern.search(line)
    return found.span("v") if found else None


def _value(line: str, span: Span | None) -> float | None:
    if span is None:
        return None
    text = line[span[0] : span[1]]
    try:
        return float(text.replace(",", "") if "," in text else text)
    except ValueError:
        return None


def finite(value: float | None) -> bool:
    """Whether a number is known and finite."""
    return value is not None and math.isfinite(value)


_FEW_BAD = 3
_GOT_OVER_STEPS = 5


def got_over(steps: Sequence[Step], line: int) -> bool:
    """Whether a loss that is no number was one of few, and whole ones of later steps follow.

    Weights that are no numbers never give a finite loss again: such a batch was skipped. A run
    that goes on from an earlier step was begun anew, and got over nothing.
    """
    bad = [s for s in steps if s.loss is not None and not math.isfinite(s.loss)]
    if not bad or len(bad) > _FEW_BAD or line < bad[0].line:
        return False
    furthest = max((s.step for s in bad if s.step is not None), default=None)
    later = [s for s in steps if s.line > bad[-1].line and s.loss is not None]
    if furthest is None or len(later) < _GOT_OVER_STEPS or line > later[0].line:
        return False
    return all(s.step is not None and s.step > furthest for s in later)
