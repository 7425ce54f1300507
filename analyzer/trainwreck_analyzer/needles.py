"""The texts of which one stands in the shape of every line that a pattern matches.

``literals`` takes one piece of text from a pattern and is quick; this takes time and finds longer
ones, over alternatives and optional parts: of ``[Dd]isk (?:is )?full`` the four whole sentences. It
pays where many lines must be told apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainwreck_analyzer.literals import SHORTEST_LITERAL, literals, shape, strength, tokens

MOST_NEEDLES = 96
"""Of one piece of a pattern; more alternatives than that are not multiplied out."""
_ENOUGH_STRENGTH = 16.0
_MOST_COPIES = 3
_ZERO_WIDTH = frozenset({"^", "$", r"\b", r"\B", r"\A", r"\Z"})
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")


@dataclass(frozen=True, slots=True)
class _Part:
    """One piece of a pattern: the texts that it is, or None and those that stand in it."""

    exact: frozenset[str] | None
    held: frozenset[str] | None = None


_NOTHING = _Part(frozenset({""}))
_GAP = _Part(None)


def needles(pattern: str) -> tuple[str, ...]:
    """The texts, as they stand in a shape.

    Raises:
        ValueError: See ``literals``.
    """
    found = _held(_parse([token for _, token in tokens(pattern)]))
    if found is None:
        return tuple(sorted({shape(literal) for literal in literals(pattern)}))
    return tuple(sorted(found))


def _parse(found: Sequence[str]) -> list[list[_Part]]:
    """The branches of an expression, each as its pieces."""
    branches: list[list[_Part]] = [[]]
    position = 0
    while position < len(found):
        token = found[position]
        if token == "|":
            branches.append([])
            position += 1
            continue
        if token[0] == "(":
            end = _end(found, position)
            part = _group(token, found[position + 1 : end])
            position = end + 1
        else:
            part = _single(token)
            position += 1
        quantifier = ""
        while position < len(found) and _is_quantifier(found[position]):
            quantifier = quantifier or found[position]
            position += 1
        branches[-1] += _repeated(part, quantifier)
    return branches


def _end(found: Sequence[str], start: int) -> int:
    depth = 0
    for position in range(start, len(found)):
        depth += (found[position][0] == "(") - (found[position] == ")")
        if depth == 0:
            return position
    return len(found)


def _group(opening: str, inside: Sequence[str]) -> _Part:
    if opening in ("(?=", "(?!", "(?<=", "(?<!"):
        return _NOTHING
    if opening == "(" and inside[:1] == ["?"]:
        return _GAP
    branches = _parse(inside)
    whole: set[str] = set()
    for branch in branches:
        texts = _product(branch)
        if texts is None:
            return _Part(None, _held(branches))
        whole |= texts
    if len(whole) > MOST_NEEDLES:
        return _Part(None, _held(branches))
    return _Part(frozenset(whole))


def _single(token: str) -> _Part:
    if token in _ZERO_WIDTH:
        return _NOTHING
    if token == r"\d":
        return _Part(frozenset({"0"}))
    if token[0] == "[" and len(token) > 1:
        inside = token[1:-1]
        if re.fullmatch(r"[A-Za-z _./:]{1,4}", inside):
            return _Part(frozenset(inside))
        return _GAP
    if token == "." or (token[0] == "\\" and token[1].isalnum()):
        return _GAP
    return _Part(frozenset({shape(token[-1])}))


def _is_quantifier(token: str) -> bool:
    return token in ("?", "*", "+") or _COUNT.fullmatch(token) is not None


def _repeated(part: _Part, quantifier: str) -> list[_Part]:
    if not quantifier:
        return [part]
    least, most = _bounds(quantifier)
    texts = part.exact
    if texts is None:
        return [_Part(None, part.held if least else None)]
    if most is None or most > _MOST_COPIES or len(texts) > 1 < most:
        return [part, _GAP, part] if least else [_GAP]
    copies = frozenset(text * n for n in range(least, most + 1) for text in texts)
    return [_Part(copies)]


def _bounds(quantifier: str) -> tuple[int, int | None]:
    """How often at least and at most; None for without end."""
    found = _COUNT.fullmatch(quantifier)
    if found is None:
        return int(quantifier == "+"), 1 if quantifier == "?" else None
    least = int(found[1] or 0)
    if not found[2]:
        return least, least
    return least, int(found[3]) if found[3] else None


def _product(branch: Sequence[_Part]) -> frozenset[str] | None:
    """Every text that a branch can be; None where that is not known or too many."""
    found = frozenset({""})
    for part in branch:
        if part.exact is None or len(found) * len(part.exact) > MOST_NEEDLES:
            return None
        found = frozenset(a + b for a in found for b in part.exact)
    return found


def _held(branches: Sequence[Sequence[_Part]]) -> frozenset[str] | None:
    """Texts of which one stands in whatever the branches match; None where there are none."""
    found: frozenset[str] = frozenset()
    for branch in branches:
        best = max(_pieces(branch), key=_worth, default=None)
        if best is None:
            return None
        found |= best
    return found


def _pieces(branch: Sequence[_Part]) -> Iterator[frozenset[str]]:
    """Sets of texts of which one stands in whatever a branch matches."""
    reached = 0
    for start, first in enumerate(branch):
        if first.exact is None:
            held = first.held
            if held is not None and min(map(len, held)) >= SHORTEST_LITERAL:
                yield held
            continue
        end, count = start, 1
        while end < len(branch):
            texts = branch[end].exact
            if texts is None or count * len(texts) > MOST_NEEDLES:
                break
            count *= len(texts)
            end += 1
        if end <= reached:  # part of what came before
            continue
        reached = end
        found = _product(branch[start:end])
        if found is not None and min(map(len, found)) >= SHORTEST_LITERAL:
            yield found


def _worth(texts: frozenset[str]) -> float:
    # Digits are all the same in a shape, and stand everywhere.
    rarest = min(_ENOUGH_STRENGTH, *(strength(text.replace("0", "")) for text in texts))
    return rarest - math.log2(len(texts)) / 2
