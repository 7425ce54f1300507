"""Reads the lines of one training log for steps, one after the other as they are written.

A step is told of in one line, in several (``step_blocks``), or by a progress bar
(``progress_bar``), of which only some states are told: it is drawn again ten times a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainwreck_agent import progress_bar, step_blocks

BAR_STATES_PER_READ = 50
"""Of a bar's states that are read at once so many are told, the last among them."""
LONGEST_LINE = 4096

Values = tuple[int, *tuple[float | None, ...]]
"""``(step, loss, grad_norm, learning_rate, step_time_s, tokens_per_s)``."""

_NUMBER = r"([-+]?(?:[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|nan|inf(?:inity)?))"
_SEP = r"[\"']?\s*[=:| ]\s*[\"']?\s*"


def _metric(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\w/])(?:{names}){_SEP}{_NUMBER}(?![\w])")


_STEP = re.compile(
    r"(?i)(?<![\w/])(?:global[_ ]?step|train[_ ]?step|steps?|iteration|iter|it)"
    rf"{_SEP}(?:\[?\s*)([0-9]{{1,12}})(?![\w.])"
)
_METRICS = {
    "loss": _metric(r"(?:train|lm|total|mlm)?[_ /]?loss(?:_step)?"),
    "grad_norm": _metric(r"(?:total[_ ])?grad(?:ient)?[_ -]?norm"),
    "learning_rate": _metric(r"lr|learning[_ ]rate"),
    "step_time_s": _metric(r"(?:step|iter(?:ation)?)[_ ]time(?:[_ ]?\(?s\)?)?"),
    "tokens_per_s": _metric(r"(?:tokens|tok)(?:[/_ ]?(?:per[_ ])?s(?:ec(?:ond)?)?)|tps"),
}
_RANK = re.compile(r"(?i)(?:\[default|\brank[ :=]?\s?)(\d{1,6})\b|^\[?(\d{1,5})\]?: ")


@dataclass(frozen=True, slots=True)
class StepTold:
    """A step, and where it stands."""

    line: int
    rank: int | None
    values: Values


@dataclass(frozen=True, slots=True)
class Heard:
    """What one line told."""

    steps: Sequence[StepTold] = ()
    moved: bool = False
    """Another bar moved: the run is alive, though it takes no step."""


_NOTHING = Heard()


class StepLines:
    """Hears one log."""

    def __init__(self) -> None:
        self._bar = progress_bar.TrainingBar()
        self._states: list[StepTold] = []
        self._block: step_blocks.Block | None = None
        self.at_end = False
        """The training's bar came to its end: what comes after it is no silence."""

    def feed(self, number: int, line: str) -> Heard:
        """What a line tells, or completes; ``number`` is its place in the file."""
        if len(line) > LONGEST_LINE:
            return _NOTHING
        if "%|" in line:
            return self._of_bar(number, line)
        done: list[StepTold] = []
        if self._block is not None:
            if self._block.take(line):
                return _NOTHING
            done = self._end_block()
        self._block = step_blocks.begin(line, number)
        values = parse_step(line)
        if values is not None:
            done.append(StepTold(number, rank_of(line), values))
        if not done:
            return _NOTHING
        self.at_end = False
        return Heard([*self._taken_states(), *done])

    def flush(self) -> list[StepTold]:
        """What is still held back when all was read that there is."""
        return [*self._taken_states(), *self._end_block()]

    def _taken_states(self) -> list[StepTold]:
        states, self._states = self._states, []
        every = -(-len(states) // BAR_STATES_PER_READ) or 1
        return states[::-1][::every][::-1]

    def _of_bar(self, number: int, line: str) -> Heard:
        bar = progress_bar.parse(line)
        if bar is None:
            return Heard(moved=True)
        step = self._bar.step(bar)
        if step is None:
            return Heard(moved=True)
        if not self._states or self._states[-1].values[0] != step:
            told = _metrics(line) | {"step_time_s": bar.step_time_s}
            self._states.append(StepTold(number, rank_of(line), _values(step, told)))
        self.at_end = bar.finished
        return _NOTHING

    def _end_block(self) -> list[StepTold]:
        block, self._block = self._block, None
        if block is None or not block.values:
            return []
        return [StepTold(block.number, None, _values(block.step, block.values))]


def parse_step(line: str) -> Values | None:
    """``(step, loss, grad_norm, learning_rate, step_time_s, tokens_per_s)``; None: no step line.

    A step line has a step number and at least one metric.
    """
    if len(line) > LONGEST_LINE:
        return None
    step = _STEP.search(line)
    if step is None:
        return None
    found = _metrics(line)
    return _values(int(step[1]), found) if found else None


def rank_of(line: str) -> int | None:
    """The rank that a line names; None: none."""
    found = _RANK.search(line[:200])
    return None if found is None else int(found[1] or found[2])


def _metrics(line: str) -> dict[str, float]:
    return {name: float(m[1]) for name, pattern in _METRICS.items() if (m := pattern.search(line))}


def _values(step: int, found: dict[str, float]) -> Values:
    return (step, *(found.get(name) for name in _METRICS))
