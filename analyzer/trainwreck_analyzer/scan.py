"""Finds the lines that may matter in a block of bytes; nothing else is ever parsed.

A log repeats itself: a step line is printed a million times with other digits. So each line is
reduced to its shape (every digit as ``0``), all in C, and only a shape that was not seen before is
looked at. Of new shapes those are dropped in one search that hold no literal of any pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Generic, Protocol, TypeVar

from trainwreck_analyzer.kernel.gate import gate
from trainwreck_analyzer.literals import shape

_SAME_DIGITS = bytes(ord("0") if chr(code).isdigit() else code for code in range(128)) + bytes(
    range(128, 256)
)
MOST_SHAPES = 20_000
LONGEST_SHAPE_BYTES = 1000
"""Longer lines are not remembered: garbage has no shape that comes back."""
_GATE_FROM_SHAPES = 400
"""Building the gate costs as much as looking at so many shapes without it."""
_NEEDLES_FROM_SHAPES = 5000
"""Finding the longer texts costs as much as looking at so many shapes with the shorter ones."""
_SEARCH_FROM_SHAPES = 5000
_SEARCH_FROM_BYTES = 8 << 20
"""In a smaller log the accelerator does not earn what its start costs."""
_CROWDED = 0.3
"""Part of the lines that a search finds from which on shapes are faster, where lines are alike."""
_UNLIKE = 0.1
"""Part of the lines with a new shape from which on lines are not alike."""
_BY_SHAPE_BLOCKS = 15
"""So many blocks later the search is tried again."""
_COLOURS = re.compile(rb"\x1b\[[0-9;?]{0,16}[A-Za-z]")

T = TypeVar("T")


class Lines:
    """A block cut into lines, at line ends and at the carriage returns of progress bars.

    Args:
        text: The block with a line end at each cut, without the last one.
        breaks: Which line of the file each one stands in, from 0; None where each is one.
    """

    __slots__ = ("_raw", "_shapes", "breaks", "text")

    def __init__(self, text: bytes, breaks: list[int] | None) -> None:
        self.text = text
        self.breaks = breaks
        self._raw: list[bytes] | None = None
        self._shapes: list[bytes] | None = None

    @classmethod
    def of(cls, block: bytes) -> Lines:
        """Cuts a block; its last line may lack its end."""
        if block.endswith(b"\n"):
            block = block[:-1]
        breaks = None
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if b"\r" in block:
            breaks = [
                number
                for number, line in enumerate(block.split(b"\n"))
                for _ in range(line.count(b"\r") + 1)
            ]
            block = block.replace(b"\r", b"\n")
        return cls(block, breaks)

    @property
    def count(self) -> int:
        """Lines of the file."""
        return len(self.raw) if self.breaks is None else self.breaks[-1] + 1

    @property
    def raw(self) -> list[bytes]:
        """The lines."""
        if self._raw is None:
            self._raw = self.text.split(b"\n")
        return self._raw

    @property
    def shapes(self) -> list[bytes]:
        """The shape of each line: its digits as ``0``, without the codes that colour it."""
        if self._shapes is None:
            text = self.text.translate(_SAME_DIGITS)
            self._shapes = (_COLOURS.sub(b"", text) if b"\x1b" in text else text).split(b"\n")
        return self._shapes

    def shape(self, index: int) -> bytes:
        """The shape of one line."""
        if self._shapes is not None:
            return self._shapes[index]
        line = self.raw[index].translate(_SAME_DIGITS)
        return _COLOURS.sub(b"", line) if b"\x1b" in line else line

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


class Search(Protocol):
    """Which lines of a text may mean something."""

    def lines(self, text: bytes) -> list[int]:
        """Their numbers, from 0, ascending."""
        ...


class Scanner(Generic[T]):
    """Walks over the lines of blocks; asks about a shape once and remembers the answer.

    Args:
        wanted: Literals; a line whose shape holds none of their shapes is never asked about.
        classify: What a shape means; None for nothing.
        search: Makes a search of whole blocks that finds every line that means something; it may
            give None. What comes out is the same with and without it.
        needles: Gives longer texts than ``wanted``, of which one stands in every shape that means
            something: they take time to find, and are asked for when many shapes were seen.
    """

    def __init__(
        self,
        wanted: Iterable[str],
        classify: Callable[[bytes], T | None],
        search: Callable[[], Search | None] = lambda: None,
        needles: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        self._wanted = wanted
        self._classify = classify
        self._make_search = search
        self._needles = needles
        self._gate: Gate | None = None
        self._search: Search | None = None
        self._searched = False
        self._bytes = 0
        self.unlike = False
        """Whether a search is worth while: lines that are alike are faster by their shapes."""
        self._by_shape_blocks = 0
        self._cold: set[bytes] = set()
        self._hot: dict[bytes, T] = {}
        self._long: dict[bytes, T] = {}
        self._asked = 0

    def matter(self, lines: Lines) -> Iterator[tuple[int, T]]:
        """Index and meaning of each line that means something."""
        self._bytes += len(lines.text)
        much = self._bytes >= _SEARCH_FROM_BYTES or self._asked >= _SEARCH_FROM_SHAPES
        if much and not self._searched:
            self._searched = True
            self._search = self._make_search()
        if self._search is None or self._by_shape_blocks or not self.unlike:
            return self._by_shape(lines)
        return self._by_search(lines, self._search)

    def _by_shape(self, lines: Lines) -> Iterator[tuple[int, T]]:
        hot, shapes = self._hot, lines.shapes
        present = set(shapes)
        new = present - self._cold
        if hot:
            new -= hot.keys()
        if len(new) > 1 or new != {b""}:
            self._learn(new)
        self._by_shape_blocks -= self._by_shape_blocks > 0
        self.unlike = self._searched and len(new) > _UNLIKE * len(shapes)
        if self.unlike:
            self._by_shape_blocks = 0
        if self._long:
            hot = hot | self._long
        if not hot.keys().isdisjoint(present):
            for index, meaning in enumerate(map(hot.get, shapes)):
                if meaning is not None:
                    yield index, meaning
        self._forget()

    def _by_search(self, lines: Lines, search: Search) -> Iterator[tuple[int, T]]:
        text, hot, cold = lines.text, self._hot, self._cold
        found = search.lines(_COLOURS.sub(b"", text) if b"\x1b" in text else text)
        asked = self._asked
        for index in found:
            of_shape = lines.shape(index)
            meaning = hot.get(of_shape) or self._long.get(of_shape)
            if meaning is None:
                if of_shape in cold:
                    continue
                self._asked += 1
                meaning = self._remember(of_shape)
                if meaning is None:
                    continue
            yield index, meaning
        crowded = bool(found) and len(found) > _CROWDED * len(lines.raw)
        if crowded and self._asked - asked < _UNLIKE * len(lines.raw):
            self._by_shape_blocks = _BY_SHAPE_BLOCKS
        self._forget()

    def _learn(self, new: set[bytes]) -> None:
        self._asked += len(new)
        if self._asked <= _GATE_FROM_SHAPES:
            for text in new:
                self._remember(text)
            return
        for text in self._best_gate()(list(new)):
            self._remember(text)
        if max(map(len, new), default=0) > LONGEST_SHAPE_BYTES:
            new = {text for text in new if len(text) <= LONGEST_SHAPE_BYTES}
        self._cold |= new - self._hot.keys()

    def _best_gate(self) -> Gate:
        many = self._asked > _NEEDLES_FROM_SHAPES or _GRAM_GATES
        if many and self._needles is not None:
            self._gate = _gram_gate(self._needles())
            self._needles = None
        elif self._gate is None:
            self._gate = _expression_gate(tuple(self._wanted))
        return self._gate

    def _remember(self, text: bytes) -> T | None:
        meaning = self._classify(text)
        short = len(text) <= LONGEST_SHAPE_BYTES
        if meaning is not None:
            (self._hot if short else self._long)[text] = meaning
        elif short:
            self._cold.add(text)
        return meaning

    def _forget(self) -> None:
        """A log in which no line resembles another must not fill the memory."""
        self._long.clear()
        if len(self._cold) > MOST_SHAPES:
            self._cold.clear()
        if len(self._hot) > MOST_SHAPES:
            self._hot.clear()


_GRAM_GATES: dict[tuple[str, ...], Gate] = {}
"""What took time to make for one log of this process serves the next from its start."""


def _gram_gate(needles: tuple[str, ...]) -> Gate:
    found = _GRAM_GATES.get(needles)
    if found is None:
        from trainwreck_analyzer.grams import GramGate

        found = _GRAM_GATES[needles] = GramGate(needles)
    return found


@cache
def _expression_gate(wanted: tuple[str, ...]) -> ExpressionGate:
    return ExpressionGate(sorted({shape(literal) for literal in wanted}))


_Triple = tuple[str, str, str]


class Index:
    """Which patterns can match a shape, by the literals it holds.

    A literal is looked for only where three characters of it stand in the line: one pass over the
    line instead of one search for each of a thousand literals.
    """

    def __init__(self) -> None:
        self._keys: dict[str, list[int]] = defaultdict(list)
        self._by_triple: dict[_Triple, list[str]] = {}

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


def _triples(text: str) -> set[_Triple]:
    return set(zip(text, text[1:], text[2:], strict=False))
