"""Steps that a framework tells of in several lines: a head with the number, then the metrics.

Which frameworks, and how their lines look, is ``step_blocks.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("step_blocks.toml")
LONGEST_LINES = 200
"""A block with more lines is none."""
LONGEST_LINE = 400
"""Characters of a line of a block."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one framework writes its blocks."""

    head: re.Pattern[str]
    line: re.Pattern[str]
    values: Mapping[str, str]
    """Column of ``training_event`` → name of the metric, or its beginning."""


@dataclass(slots=True)
class Block:
    """A block, as far as it was read."""

    form: Form
    number: int
    """Its first line in the file."""
    step: int
    values: dict[str, float]
    lines: int = 0

    def take(self, line: str) -> bool:
        """Whether a line belongs to it; its value is kept then."""
        self.lines += 1
        found = None if len(line) > LONGEST_LINE else self.form.line.match(line)
        if found is None or self.lines > LONGEST_LINES:
            return False
        for column, name in self.form.values.items():
            if found["name"].startswith(name) and (value := _number(found["value"])) is not None:
                if column != "step":
                    self.values.setdefault(column, value)
                elif value < 1e12:  # the head counts from 1 anew in each epoch
                    self.step = max(self.step, int(value))
        return True


def begin(line: str, number: int) -> Block | None:
    """The block that a line begins."""
    if len(line) > LONGEST_LINE or "]:" not in line:
        return None
    for form in forms():
        found = form.head.search(line)
        if found:
            return Block(form, number, int(found["step"]), {})
    return None


def step_of(lines: Sequence[str]) -> int | None:
    """The step of the block that the last of some lines belongs to; None: it belongs to none."""
    last = lines[-1]
    if len(last) > LONGEST_LINE or not any(form.line.match(last) for form in forms()):
        return None
    for place in range(len(lines) - 2, -1, -1):
        block = begin(lines[place], place)
        if block is not None:
            return block.step if all(map(block.take, lines[place + 1 :])) else None
    return None


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


@cache
def forms() -> tuple[Form, ...]:
    """Every framework's."""
    with FILE.open("rb") as file:
        found = tomllib.load(file)["blocks"]
    return tuple(
        Form(re.compile(f["head"], re.ASCII), re.compile(f["line"], re.ASCII), f["values"])
        for f in found
    )
