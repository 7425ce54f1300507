"""The text that every match of a pattern holds: found by plain search, before any expression runs.

Digits are all the same here: a line's shape is the line with every digit written as ``0``, so
that a step line that is printed a million times is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

SHORTEST_LITERAL = 3
_COMMON = " eatoirnsl0123456789.dcmup,:=-_gf/h[]|'bTIN"
"""The characters of training logs, the most frequent first."""
_PLAIN_WORDS = re.compile(
    r" ?(?:the|for|by|rank|GPU|node|loss|time|step|data|code|job|Error|error|norm|each|have|has|got"
    r"|full|found|image|store|link|shard|token|eight|able|oss|oad|orm|rad|ing|out|an|All|Run) ?"
)
"""Too common in ordinary lines to tell anything; taken only where a pattern has nothing else."""
_DIGITS = {ord(digit): "0" for digit in "123456789"}


def shape(text: str) -> str:
    """The text with each digit as ``0``."""
    return text.translate(_DIGITS)


def blind_to_digits(pattern: str) -> bool:
    """Whether a pattern treats all digits alike: what it says of a shape holds for the line."""
    return re.search(r"[0-9]", re.sub(r"\{\d*,?\d*\}|0-9", "", pattern)) is None


@cache
def literals(pattern: str) -> tuple[str, ...]:
    """For each alternative of a pattern the rarest text that every match holds.

    Raises:
        ValueError: An alternative has no literal of three characters.
    """
    found: list[str] = []
    for branch in _branches(pattern):
        runs = [(run,) for run in _runs(branch) if len(run) >= SHORTEST_LITERAL]
        options = [*runs, *_groups(branch)]
        if not options:
            raise ValueError(f"pattern {pattern!r} has no literal of {SHORTEST_LITERAL} characters")
        found += max(options, key=lambda texts: min(map(strength, texts)))
    return tuple(found)


def strength(literal: str) -> float:
    """How seldom a text stands in an ordinary line; only to compare."""
    if _PLAIN_WORDS.fullmatch(literal):
        return len(literal) / 10
    places = map(_COMMON.find, literal)
    return sum(1.0 + (place if place >= 0 else len(_COMMON)) / 20 for place in places)


def _branches(pattern: str) -> list[str]:
    """The pattern cut at the ``|`` that stand outside groups and classes."""
    parts, depth, start = [], 0, 0
    for position, token in tokens(pattern):
        if token[0] == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        elif token == "|" and depth == 0:
            parts.append(pattern[start:position])
            start = position + 1
    return [*parts, pattern[start:]]


@lru_cache(maxsize=64)
def tokens(pattern: str) -> tuple[tuple[int, str], ...]:
    """Position and text of each token: a character, an escape, a whole class, a quantifier."""
    return tuple((found.start(), found.group()) for found in _TOKEN.finditer(pattern))


_TOKEN = re.compile(
    r"\\x[0-9a-fA-F]{2}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<\w+>|:|=|!|<=|<!)|\{\d*,?\d*\}|.",
    re.DOTALL,
)
_SPECIAL_ESCAPES = frozenset("dDsSwWbBAZ0123456789nrtx")


def _runs(branch: str) -> list[str]:
    """Texts that every match of a branch without top-level ``|`` holds, outside groups."""
    runs, run, depth = [], "", 0
    for _, token in tokens(branch):
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


def _groups(branch: str) -> Iterator[tuple[str, ...]]:
    """The literals of each group that must stand in every match: ``(?:one|other)``."""
    depth, start = 0, 0
    for position, token in tokens(branch):
        if token[0] == "(":
            if depth == 0:
                looks_around = token in ("(?!", "(?<!", "(?=", "(?<=")
                start = -1 if looks_around else position + len(token)
            depth += 1
        elif token == ")":
            depth -= 1
            optional = branch[position + 1 : position + 2] in ("?", "*", "{")
            if depth == 0 and start >= 0 and not optional:
                try:
                    yield literals(branch[start:position])
                except ValueError:
                    continue
