"""Steps of a training run as the logs print them: number, loss, norms, rates, times.

Understands Megatron-LM, NeMo and Lightning bars, Hugging Face Trainer dicts, DeepSpeed, torchtitan
and loops that print ``step 10 loss 1.2``::

     iteration      100/ 5000 | … | elapsed time per iteration (ms): 512.3 | lm loss: 2.1E+00 | …
    {'loss': 2.31, 'grad_norm': 1.02, 'learning_rate': 5e-05, 'epoch': 0.1}
    step: 10  loss:  8.0123  grad_norm:  1.2  memory: 40.1GiB(50.1%)  tps: 7,012  mfu: 41.2%
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime

LITERALS = ("loss", "Loss", "LOSS", "elapsed time per iteration")
_NUMBER = r"(?P<v>[-+]?(?:\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|NaN|NAN|inf|Inf|INF|Infinity))"
_SEPARATOR = r"['\"]?\s{0,2}[:=]?\s{0,8}(?:tensor\()?"
_STEP = re.compile(
    r"\b(?:global[_ ]?)?(?:[Ss]tep|STEP|[Ii]ter(?:ation)?|[Bb]atch|[Uu]pdate)s?"
    + _SEPARATOR
    + r"\[?(?P<v>\d{1,12})(?!\.?\d)",
    re.ASCII,
)
_LOSS = re.compile(
    r"(?:\b|_)(?:lm[_ ]|train(?:ing)?[_/ ])?(?:[Ll]oss|LOSS)(?:_step)?(?:\s?\([^)]{0,20}\))?"
    + _SEPARATOR
    + _NUMBER
    + r"(?![\w.])",
    re.ASCII,
)
_GRAD = re.compile(r"\b(?:global_)?grad(?:ient)?[_ ]norm" + _SEPARATOR + _NUMBER, re.ASCII)
_RATE = re.compile(r"\b(?:lr|learning[_ ]rate)" + _SEPARATOR + _NUMBER, re.ASCII)
_SCALE = re.compile(r"\bloss[_ ]scale" + _SEPARATOR + _NUMBER, re.ASCII)
_EPOCH = re.compile(r"\b[Ee]poch" + _SEPARATOR + r"\[?(?P<v>\d+(?:\.\d+)?)", re.ASCII)
_TIME = re.compile(
    r"elapsed time per iteration \((?P<unit>m?s)\): (?P<v>[\d.]+)"
    r"|(?<![\w_])(?:iter_)?[Tt]ime:? {1,4}(?P<s>\d+\.\d+)",
    re.ASCII,
)
_DATA = re.compile(r"\b[Dd]ata(?:[_ ]time)?:? {1,4}(?P<v>\d+\.\d+)", re.ASCII)
_NOT_TRAINING = re.compile(r"[Ee]val|[Vv]alid|val_loss|[Tt]est", re.ASCII)


@dataclass(frozen=True, slots=True)
class Step:
    """One line that tells of a step."""

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


def read(line: str, number: int, time: datetime | None, rank: int | None) -> Step | None:
    """The step that a line tells of; None where it holds no loss of the training."""
    if len(line) > 2000:
        return None
    loss = _value(_LOSS, line)
    if _NOT_TRAINING.search(line):
        return None
    if loss is None and "elapsed time per iteration" not in line:
        return None
    step = _STEP.search(line)
    return Step(
        number,
        line,
        time,
        rank,
        int(step["v"]) if step else None,
        loss,
        _value(_GRAD, line),
        _value(_RATE, line),
        _value(_SCALE, line),
        _step_time_s(line),
        _value(_EPOCH, line),
        _value(_DATA, line),
    )


def _step_time_s(line: str) -> float | None:
    found = _TIME.search(line)
    if found is None:
        return None
    if found["s"]:
        return float(found["s"])
    try:
        return float(found["v"]) / (1000 if found["unit"] == "ms" else 1)
    except ValueError:
        return None


def _value(pattern: re.Pattern[str], line: str) -> float | None:
    found = pattern.search(line)
    if found is None:
        return None
    try:
        return float(found["v"].replace(",", ""))
    except ValueError:
        return None


def finite(value: float | None) -> bool:
    """Whether a number is known and finite."""
    return value is not None and math.isfinite(value)
