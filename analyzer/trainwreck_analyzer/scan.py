"""Finds the lines that may matter in a block of bytes; nothing else is ever parsed.

A log repeats itself: a step line is printed a million times with other digits. So each line is
reduced to its shape (every digit as ``0``), all in C, and only a shape that was not seen before is
looked at. Of new shapes those are dropped in one search that hold no literal of any pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from trainwreck_analyzer.kernel.gate import gate
from trainwreck_analyzer.literals import literals, shape

_SAME_DIGITS = bytes(ord("0") if chr(code).isdigit() else code for code in range(128)) + bytes(
    range(128, 256)
)
MOST_SHAPES = 20_000
LONGEST_SHAPE_BYTES = 1000
"""Longer lines are not remembered: garbage has no shape that comes back."""
_GATE_FROM_SHAPES = 400
"""Building the gate costs as much as looking at so many shapes without it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lines:
    """A block cut into lines, at line ends and at the carriage returns of progress bars."""

    raw: list[bytes]
    shapes: list[bytes]
    breaks: list[int] | None
    """Which line of the file each one stands in, from 0; None where each is one."""
    count: int
    """Lines of the file."""

    @classmethod
    def of(cls, block: bytes) -> Lines:
        """Cuts a block; its last line may lack its end."""
        if block.endswith(b"\n"):
            block = block[:-1]
        breaks = None
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        count = block.count(b"\n") + 1
        if b"\r" in block:
            breaks = [
                number
                for number, line in enumerate(block.split(b"\n"))
                for _ in range(line.count(b"\r") + 1)
            ]
            block = block.replace(b"\r", b"\n")
        return cls(block.split(b"\n"), block.translate(_SAME_DIGITS).split(b"\n"), breaks, count)

    def number(self, index: int) -> int:
        """Which line of the block a line stands in, from 0."""
        return index if self.breaks is None else self.breaks[index]


class Gate(Protocol):
    """Which of some lines may hold one of the literals it was made for."""

    def __call__(self, lines: Sequence[bytes]) -> Iterable[bytes]:
        """The lines that may; each comes as it was given."""
        ...


class ExpressionGate:
    """The gate that needs nothing but ``re``: a tree of the literals' rare parts."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._search = re.compile(gate(wanted).pattern.encode()).search

    def __call__(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """The lines that may hold a literal."""
        text, position = b"\n".join(lines), 0
        while (found := self._search(text, position)) is not None:
            start = text.rfind(b"\n", 0, found.start()) + 1
            end = text.find(b"\n", found.end())
            end = len(text) if end < 0 else end
            yield text[start:end]
            position = end + 1


class Scanner(Generic[T]):
    """Walks over the lines of blocks; asks about a shape once and remembers the answer.

    Args:
        wanted: Literals; a line whose shape holds none of their shapes is never asked about.
        classify: What a shape means; None for nothing.
    """

    def __init__(self, wanted: Iterable[str], classify: Callable[[bytes], T | None]) -> None:
        self._wanted = sorted({shape(literal) for literal in wanted})
        self._classify = classify
        self._cold: set[bytes] = set()
        self._hot: dict[bytes, T] = {}
        self._asked = 0
        self._gate: Gate | None = None

    def matter(self, shapes: Sequence[bytes]) -> Iterator[tuple[int, T]]:
        """Index and meaning of each shape that means something."""
        hot = self._hot
        present = set(shapes)
        new = present - self._cold
        if hot:
            new -= hot.keys()
        if len(new) > 1 or new != {b""}:
            self._learn(new)
        if hot.keys().isdisjoint(present):
            return
        for index, text in enumerate(shapes):
            if text in hot:
                yield index, hot[text]
        self._forget()

    def _learn(self, new: set[bytes]) -> None:
        self._asked += len(new)
        lines: Iterable[bytes] = new
        if self._asked > _GATE_FROM_SHAPES:
            self._gate = self._gate or ExpressionGate(self._wanted)
            lines = self._gate(list(new))
        for text in lines:
            meaning = self._classify(text)
            if meaning is not None:
                self._hot[text] = meaning
        self._cold.update(t for t in new if len(t) <= LONGEST_SHAPE_BYTES and t not in self._hot)

    def _forget(self) -> None:
        """A log in which no line resembles another must not fill the memory."""
        if len(self._cold) > MOST_SHAPES:
            self._cold.clear()
        if len(self._hot) > MOST_SHAPES:
            self._hot.clear()


class Index:
    """Which patterns can match a shape, by the literals it holds.

    A literal is looked for only where three characters of it stand in the line: one pass over the
    line instead of one search for each of a thousand literals.
    """

    def __init__(self) -> None:
        self._keys: dict[str, list[int]] = defaultdict(list)
        self._by_triple: dict[str, list[str]] = {}

    def add(self, pattern: str, key: int) -> None:
        """Enters a pattern under a number.

        Raises:
            ValueError: The pattern has no literal.
        """
        for literal in literals(pattern):
            self.add_literal(literal, key)

    def add_literal(self, literal: str, key: int) -> None:
        """Enters a literal of at least three characters under a number."""
        literal = shape(literal)
        if literal not in self._keys:
            # The triple that fewest literals have so far: short lists to look through.
            triple = min(_triples(literal), key=lambda t: (len(self._by_triple.get(t, ())), t))
            self._by_triple.setdefault(triple, []).append(literal)
        self._keys[literal].append(key)

    @property
    def literals(self) -> list[str]:
        """The shape of every literal of every pattern."""
        return list(self._keys)

    def possible(self, text: str) -> list[int]:
        """Numbers of the patterns that may match lines of a shape, ascending."""
        found: set[int] = set()
        for triple in self._by_triple.keys() & _triples(text):
            for literal in self._by_triple[triple]:
                if literal in text:
                    found.update(self._keys[literal])
        return sorted(found)


def _triples(text: str) -> set[str]:
    return set(map("".join, zip(text, text[1:], text[2:], strict=False)))
