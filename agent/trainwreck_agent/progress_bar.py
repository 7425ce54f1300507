"""Progress bars as tqdm draws them, and which of them count the steps of a training.

::

    Training:   5%|▌         | 50/1000 [00:12<03:45,  4.21it/s, loss=0.312]

The words that tell one from the other are ``progress_bars.toml``, with examples of both.
Source: https://github.com/tqdm/tqdm (``tqdm.std.tqdm.format_meter``)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("progress_bars.toml")

_COUNT = r"(?P<step>\d{1,12})/(?P<total>\d{1,12})"
_CLOCK = r"\[(?P<taken>[\d:]{4,12})<(?P<left>[\d:?]{1,12})"
_RATE = r"(?P<rate>\d{1,12}(?:\.\d{1,12})?) ?(?:(?P<unit>[a-z]{1,12})/s|s/(?P<slow>[a-z]{1,12}))"
_BAR = re.compile(
    r"(?P<label>.{0,200}?) {0,4}\b\d{1,3}%\|[^|]{0,400}\| {0,12}"
    rf"{_COUNT} {_CLOCK}, {{1,8}}{_RATE}(?P<more>[^\]]{{0,2000}})",
    re.ASCII,
)
_PREFIX = re.compile(
    r"(?:\[[^\]]{0,80}\]:?\s{0,4}|\d{1,5}: {0,4}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,12}\s{0,4}){1,4}",
    re.ASCII,
)
"""Rank, task and time, which launchers put in front of every line."""
_LOSS = re.compile(r"(?i)loss\s?[=:]\s?[-+\dni]")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a bar that counts steps."""

    label: str
    """Its digits as ``0``: epochs have one label."""
    step: int
    total: int
    step_time_s: float
    whole_s: float | None
    """How long it takes from beginning to end, as it reckons."""
    sure: bool
    """It says that it is of a training, by its label or a loss; else it says nothing."""

    @property
    def finished(self) -> bool:
        """Whether it is at its end."""
        return self.step >= self.total


def parse(line: str) -> Bar | None:
    """The bar of a line; None where there is none, or one that counts something else than steps."""
    found = _match(line)
    if found is None:
        return None
    label, loss = _label(found), _shows_loss(found)
    sure = bool(label) or loss
    unit, rate = found["unit"], float(found["rate"])
    if not rate or (not sure and unit and rate > _words()["fastest_per_s"]):
        return None
    taken_s, left_s = _seconds(found["taken"]), _seconds(found["left"])
    return Bar(
        _DIGITS.sub("0", label),
        int(found["step"]),
        int(found["total"]),
        1 / rate if unit else rate,
        None if taken_s is None or left_s is None else taken_s + left_s,
        sure,
    )


def may_be_one(line: str) -> bool:
    """Whether a line is such a bar, whatever its digits are."""
    return _match(line) is not None


def _match(line: str) -> re.Match[str] | None:
    found = _BAR.match(line) if "%|" in line else None
    if found is None or (found["unit"] or found["slow"]) not in _words()["units"]:
        return None
    label = _label(found)
    if _other().search(label):
        return None
    known = not label or _shows_loss(found) or _training().search(label)
    return found if known else None


def _label(found: re.Match[str]) -> str:
    prefix = _PREFIX.match(found["label"])
    return found["label"][prefix.end() if prefix else 0 :].strip(" \t:")


def _shows_loss(found: re.Match[str]) -> bool:
    return _LOSS.search(found["more"]) is not None


class TrainingBar:
    """Picks, as lines come, the one bar of a log that counts the training's steps.

    Bars within others (an evaluation between two steps) are none, nor what comes after it was done.
    """

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._before = 0
        """Steps of the bars before: each epoch may have its own."""

    def step(self, bar: Bar) -> int | None:
        """The step that a bar's state tells of; None: it is another one's."""
        last = self._bar
        same = last is not None and (last.label, last.total) == (bar.label, bar.total)
        if last is not None and not same and not self._follows(last, bar):
            return None
        if last is None or not same:
            self._before = 0
        elif bar.step < last.step:
            self._before = self._before + last.total if last.finished else 0
        self._bar = bar
        return self._before + bar.step

    @staticmethod
    def _follows(last: Bar, bar: Bar) -> bool:
        if bar.sure != last.sure:
            return bar.sure
        longer = bar.whole_s is not None and bar.whole_s >= (last.whole_s or 0.0)
        return last.finished and longer


def _seconds(clock: str) -> float | None:
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return None
    total = 0
    for part in parts:
        total = 60 * total + int(part)
    return float(total)


def units() -> tuple[str, ...]:
    """How a bar of steps writes its rate: one of these stands in every such line."""
    return tuple(text for unit in _words()["units"] for text in (f"{unit}/s", f"s/{unit}"))


@cache
def _words() -> Mapping[str, Any]:
    with FILE.open("rb") as file:
        return tomllib.load(file)


@cache
def _training() -> re.Pattern[str]:
    return _beginnings(_words()["training"])


@cache
def _other() -> re.Pattern[str]:
    return _beginnings(_words()["other"])


def _beginnings(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![a-z])(?:{'|'.join(map(re.escape, words))})", re.ASCII)
