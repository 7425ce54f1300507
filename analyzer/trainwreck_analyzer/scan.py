"""Finds the lines that may matter in a block of bytes; nothing else is ever parsed.

Every pattern must hold a piece of text that stands in each line it matches: its literal. A
backend finds the literals in a block; only lines with a literal see a regular expression. The
fallback backend needs nothing but ``re``: one search over the block for a few common pieces.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

SHORTEST_LITERAL = 3
_STEMS = [
    stem.replace("_", " ")
    for stem in [
        "rror",
        "xcept",
        "ail",
        "FAIL",
        "imeout",
        "imed_out",
        "kill",
        "Kill",
        "abort",
        "Abort",
        "memory",
        "Memory",
        "signal",
        "SIG",
        "NaN",
        "nan",
        "loss",
        "epoch",
        "NCCL",
        "nccl",
        "CUDA",
        "cuda",
        "arn",
        "WARN",
        "ancel",
        "CANCEL",
        "overflow",
        "OVERFLOW",
        "lost",
        "refused",
        "denied",
        "space",
        "mismatch",
        "nvalid",
        "No_such",
        "not_found",
        "xit",
        "hrottl",
        "estart",
        "reempt",
        "rain",
    ]
]
"""Pieces that many literals share: fewer searches over the block."""


@dataclass(frozen=True, slots=True)
class Line:
    """One candidate line of a block."""

    start: int
    end: int
    number: int
    """From 1, in the file."""


class Backend(Protocol):
    """Finds where any of a set of literals stands."""

    def __init__(self, literals: Sequence[bytes]) -> None: ...

    def positions(self, block: bytes, start: int) -> int:
        """Offset of the first literal at or after ``start``; -1 where there is none."""
        ...


class Stems:
    """The fallback: one alternation of few stems that every literal holds."""

    def __init__(self, literals: Sequence[bytes]) -> None:
        stems = [s.encode() for s in _STEMS]
        needed = {next((s for s in stems if s in literal), literal) for literal in literals}
        kept = [n for n in needed if not any(o != n and o in n for o in needed)]
        self._search = re.compile(b"|".join(re.escape(n) for n in sorted(kept))).search

    def positions(self, block: bytes, start: int) -> int:
        """Offset of the first stem at or after ``start``; -1 where there is none."""
        found = self._search(block, start)
        return found.start() if found else -1


class Scanner:
    """Walks over the candidate lines of blocks and keeps count of the line numbers."""

    def __init__(self, literals: Iterable[str], backend: type[Backend] = Stems) -> None:
        self._backend = backend(sorted({literal.encode() for literal in literals}))

    def candidates(self, block: bytes, first_number: int) -> Iterator[Line]:
        """The lines of a block that hold a literal; ``first_number`` is the block's first line."""
        position, counted, number = 0, 0, first_number
        while (hit := self._backend.positions(block, position)) >= 0:
            start = block.rfind(b"\n", 0, hit) + 1
            end = block.find(b"\n", hit)
            if end < 0:
                end = len(block)
            number += block.count(b"\n", counted, start)
            counted = start
            yield Line(start, end, number)
            position = end + 1


class Index:
    """Which patterns can match a line, by the literals it holds.

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
        if literal not in self._keys:
            # The triple that fewest literals have so far: short lists to look through.
            triple = min(_triples(literal), key=lambda t: (len(self._by_triple.get(t, ())), t))
            self._by_triple.setdefault(triple, []).append(literal)
        self._keys[literal].append(key)

    @property
    def literals(self) -> list[str]:
        """Every literal of every pattern."""
        return list(self._keys)

    def possible(self, line: str) -> list[int]:
        """Numbers of the patterns that may match the line, ascending."""
        found: set[int] = set()
        for triple in self._by_triple.keys() & _triples(line):
            for literal in self._by_triple[triple]:
                if literal in line:
                    found.update(self._keys[literal])
        return sorted(found)


def _triples(text: str) -> set[str]:
    return set(map("".join, zip(text, text[1:], text[2:], strict=False)))


def literals(pattern: str) -> tuple[str, ...]:
    """For each alternative of a pattern the longest text that every match holds.

    Raises:
        ValueError: An alternative has no literal of three characters.
    """
    found = []
    for branch in _branches(pattern):
        runs = sorted(_runs(branch), key=len)
        if runs and len(runs[-1]) >= SHORTEST_LITERAL:
            found.append(runs[-1])
            continue
        group = _group_choices(branch)
        if not group or any(len(choice) < SHORTEST_LITERAL for choice in group):
            raise ValueError(f"pattern {pattern!r} has no literal of {SHORTEST_LITERAL} characters")
        found += group
    return tuple(found)


def _branches(pattern: str) -> list[str]:
    """The pattern cut at the ``|`` that stand outside groups and classes."""
    parts, depth, start = [], 0, 0
    for position, token in _tokens(pattern):
        if token[0] == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        elif token == "|" and depth == 0:
            parts.append(pattern[start:position])
            start = position + 1
    return [*parts, pattern[start:]]


def _tokens(pattern: str) -> Iterator[tuple[int, str]]:
    """Position and text of each token: a character, an escape, a whole class, a quantifier."""
    position = 0
    while position < len(pattern):
        found = _TOKEN.match(pattern, position)
        token = found.group() if found else pattern[position]
        yield position, token
        position += len(token)


_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<\w+>|:|=|!|<=|<!)|\{\d*,?\d*\}|.", re.DOTALL
)
_SPECIAL_ESCAPES = frozenset("dDsSwWbBAZ0123456789nrt")


def _runs(branch: str) -> list[str]:
    """Texts that every match of a branch without top-level ``|`` holds, outside groups."""
    runs, run, depth = [], "", 0
    for _, token in _tokens(branch):
        if token[0] == "(":
            runs.append(run)
            run, depth = "", depth + 1
        elif token == ")":
            depth -= 1
        elif depth:
            continue
        elif token in ("?", "*") or token[0] == "{":
            runs.append(run[:-1])
            run = ""
        elif token in ("+", ".", "^", "$") or (token[0] == "[" and len(token) > 1):
            runs.append(run)
            run = ""
        elif token[0] == "\\":
            if token[1] in _SPECIAL_ESCAPES:
                runs.append(run)
                run = ""
            else:
                run += token[1]
        else:
            run += token
    runs.append(run)
    return [r for r in runs if r]


def _group_choices(branch: str) -> list[str]:
    """The literals of the first group that must stand in every match: ``(?:one|other)``."""
    depth, start = 0, 0
    for position, token in _tokens(branch):
        if token[0] == "(":
            if depth == 0:
                start = position + len(token)
                if token in ("(?!", "(?<!", "(?=", "(?<="):
                    start = -1
            depth += 1
        elif token == ")":
            depth -= 1
            if depth == 0 and start >= 0 and branch[position + 1 : position + 2] not in ("?", "*"):
                choices = _choices(branch[start:position])
                if choices:
                    return choices
    return []


def _choices(inside: str) -> list[str]:
    """The literals of what stands in a group; none where one alternative has no literal."""
    try:
        return list(literals(inside))
    except ValueError:
        return []
