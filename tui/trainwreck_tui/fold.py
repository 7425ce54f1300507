"""Long words of logs made to fit: names that only machines read cut short, lines folded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from trainwreck_analyzer.kernel.journal_entry import message

_NAME = re.compile(r"(?<![0-9a-zA-Z])([0-9a-f]{4})[0-9a-f]{12,60}([0-9a-f]{4})(?![0-9a-zA-Z])")
_STAMP = re.compile(
    r"\A(\[rank[0-9]{1,6}\]: )?\[?[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]"
    r"[0-9]{2}:[0-9]{2}:[0-9]{2}[^ ]{0,16} "
)
_JOINT = re.compile(r"(?<=[,/;:|&)])")


def shortened(text: str) -> str:
    """The text with hexadecimal names cut short: ``efcf…4784`` for 32 digits of a container."""
    return _NAME.sub(r"\1…\2", text)


def headless(text: str) -> str:
    """The text without the time in front; of a journal's entry in JSON only the message."""
    return _STAMP.sub(r"\1", message(text.strip()), count=1)


def cut(text: str, width: int) -> str:
    """The text in ``width`` cells, with ``…`` where the end is missing."""
    if cell_len(text) <= width:
        return text
    return next(_chopped(text, max(width - 1, 2))).removesuffix(" …") + "…"


def fold(text: str, width: int) -> list[str]:
    """The text as lines of at most ``width`` cells; long words break at their joints."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        glue = " " if line else ""
        for part in _parts(word, width) if cell_len(word) > width // 2 else (word,):
            if cell_len(line) + len(glue) + cell_len(part) <= width:
                line += glue + part
            else:
                if line:
                    lines.append(line)
                line = part
            glue = ""
    return [*lines, line]


def _parts(word: str, width: int) -> Iterator[str]:
    for part in _JOINT.split(word):
        yield from _chopped(part, max(width, 2))


def _chopped(word: str, width: int) -> Iterator[str]:
    start, cells = 0, 0
    for n, character in enumerate(word):
        size = cell_len(character)
        if cells + size > width:
            yield word[start:n]
            start, cells = n, 0
        cells += size
    yield word[start:]
