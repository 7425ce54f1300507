"""Python tracebacks in a log: which exception ended it, where it was raised, what came before.

Understands chained tracebacks, prefixes before every line (``[rank3]:``, ``0: ``,
``(Worker pid=7)``, a logger's time) and several ranks interleaved: only lines with the same prefix
belong together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HEADER = "Traceback (most recent call last)"
LONGEST_LINES = 400
_HELD_BYTES = 32768
"""A traceback that starts this near a block's end is read with the next block."""
_INNERMOST_FRAMES = 5
_EXCEPTION = re.compile(
    r"^(?P<type>(?:[A-Za-z_]\w*\.)*_?[A-Z]\w*|(?:[a-z_]\w*\.)+(?:[a-z]*error|timeout))"
    r"(?:: (?P<message>.*)|:?\s*)$",
    re.ASCII,
)
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>\S+))?')
_NOTEBOOK_FRAME = re.compile(
    r"^(?:File )?(?P<file>[~/][^\s:]{1,300}\.py)(?::\d{1,7},)? in (?P<function>\w{1,100})", re.ASCII
)
_NOTEBOOK = re.compile(r"[A-Z]\w{0,60}(?:Error|Exception|Interrupt)", re.ASCII)
"""A notebook's traceback has the exception's class before its header, and again at its end."""
_SURVIVED = re.compile(
    r"safe(?:ly)? (?:to )?(?:be )?ignored?\b|\bIgnoring\b"
    r"|^Exception ignored in\b|\b[Rr]etrying\b|\bwill (?:be )?retr(?:y|ied)\b",
    re.ASCII,
)
_CALM = re.compile(r"\b(?:WARN(?:ING)?|INFO|DEBUG)\b|^[WI]\d{4} ", re.ASCII)
"""Levels at which nobody logs what ends the program."""
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


@dataclass(frozen=True, slots=True)
class Traceback:
    """One traceback and the line that names the exception."""

    exception: str
    """Empty where the log ends, or somebody cut it, before the exception."""
    message: str
    line: int
    """Offset of the exception's line from the header's line; 0 where there is none."""
    files: tuple[str, ...]
    """``file:function`` of the frames, outermost first."""
    caused_by_earlier: bool
    """Whether it says that it came out of the exception that was printed before it."""
    survived: bool = False
    """Whether its logger's level, or the line above it, says that the program goes on."""
    continued: bool = False
    """Whether its message is another traceback, which has a header of its own: a worker's."""


def read(lines: list[str], before: list[str]) -> Traceback | None:
    """The traceback whose header is the first of ``lines``; None where no frame of it is left.

    ``before`` are the few lines above the header, last one nearest.
    """
    prefix = lines[0][: lines[0].find(HEADER)].rstrip("+| ")
    if _NOTEBOOK.fullmatch(prefix):
        return _notebook(lines, prefix)
    chained = any(words in line for line in before[-4:] for words in _CHAINED)
    survived = bool(before) and _SURVIVED.search(before[-1]) is not None
    survived = survived or _CALM.search(prefix) is not None
    files: list[str] = []
    for offset, raw in enumerate(lines[1:LONGEST_LINES], 1):
        line = _without(raw, prefix)
        if line is None:
            continue
        frame = _FRAME.match(line)
        if frame:
            files.append(f"{frame['file']}:{frame['function'] or '?'}".replace("\\", "/"))
            continue
        if not line.strip() or line[0] in " \t":
            continue
        found = _EXCEPTION.match(line.strip())
        if found and HEADER in line:
            return Traceback("", "", offset, tuple(files), chained, survived, continued=True)
        if found:
            message = found["message"] or ""
            return Traceback(found["type"], message, offset, tuple(files), chained, survived)
        if files:
            break
    return Traceback("", "", 0, tuple(files), chained, survived) if files else None


def _notebook(lines: list[str], exception: str) -> Traceback | None:
    """A traceback as notebooks print it: code stands among the frames, the class at both ends."""
    files: list[str] = []
    for offset, line in enumerate(lines[1:LONGEST_LINES], 1):
        frame = _NOTEBOOK_FRAME.match(line)
        if frame:
            files.append(f"{frame['file']}:{frame['function']}")
        elif line.startswith(exception):
            found = _EXCEPTION.match(line.strip())
            if found:
                message = found["message"] or ""
                return Traceback(exception, message, offset, tuple(files), False)
    return Traceback("", "", 0, tuple(files), False) if files else None


def last_header(block: bytes) -> int:
    """Where the last header near the block's end stands; not one inside an exception's message."""
    header, low = HEADER.encode(), max(0, len(block) - _HELD_BYTES)
    at = block.rfind(header, low)
    while at > 1 and block[at - 2 : at] == b": ":
        outer = block.rfind(header, low, at)
        if outer < 0:
            break
        at = outer
    return at


def origin(files: Sequence[str]) -> str | None:
    """The part of a program whose frames stand innermost: ``checkpoint``, ``data``; else None."""
    for part, pattern in _origins():
        if any(pattern.search(frame) for frame in files[-_INNERMOST_FRAMES:]):
            return part
    return None


@cache
def _origins() -> tuple[tuple[str, re.Pattern[str]], ...]:
    with Path(__file__).with_name("origins.toml").open("rb") as file:
        table: dict[str, list[str]] = tomllib.load(file)
    return tuple((part, re.compile("|".join(frames))) for part, frames in table.items())


def _without(line: str, prefix: str) -> str | None:
    """The line without the traceback's prefix; None where it belongs to somebody else."""
    if not prefix.strip():
        return None if _FOREIGN.match(line) else line
    if line.startswith(prefix):
        rest = line[len(prefix) :]
        return rest[1:] if rest[:1] == " " and rest[1:2] != "" and rest[1] != " " else rest
    # A logger puts its time only before the first line; a rank's prefix stands before each.
    return line if not _RANKED.search(prefix) and not _FOREIGN.match(line) else None


_RANKED = re.compile(r"rank ?\d|default\d|pid=|^\d+: |^\[\d+\]:? ", re.IGNORECASE)
_FOREIGN = re.compile(r"^(?:\[(?:rank|default)?\d+\]:|\d{1,4}: |\(\w+ pid=)")
