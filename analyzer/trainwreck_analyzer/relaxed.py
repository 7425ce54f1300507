"""Patterns made into others that match at least as much: over bytes, or over shapes.

The accelerator searches the bytes of a whole block: there ``.`` is one byte of a character, not one
character, and look-around does not exist. So whatever may be a character beyond ASCII becomes "one
or more", and what looks around is left out. A line too many costs a microsecond; none is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trainwreck_analyzer.literals import tokens

_WIDE = {".": ".", r"\S": r"[^\s]", r"\D": r"[^\d\n]", r"\W": r"[^\w\n]"}
"""Tokens that match characters of several bytes, and the same over bytes, within a line."""
_BYTES_OF_A_CHARACTER = 4
_ENDS = {r"\A": "^", r"\Z": "$"}
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")
_DIGITS = frozenset("0123456789")
_ESCAPED = re.compile(r"\\x[0-9a-fA-F]{2}|\\.")
_OF_DIGITS = re.compile(rf"({_ESCAPED.pattern})|[0-9](?:-[0-9])?")
_SAME = frozenset("dwsbBSDWtrnfvx")
"""Escapes by a letter that mean the same to both; any other is not translated."""


def relaxed(pattern: str, *, bounded: bool = False) -> str | None:
    """The pattern for bytes; None for one with back references, flags or other rare things.

    Args:
        pattern: Over text.
        bounded: Keeps the upper bounds of repetitions, times the bytes of a character, for an
            engine that would take quadratic time without them.
    """
    parts: list[str] = []
    found = _without_looks([token for _, token in tokens(pattern)])
    position = 0
    while position < len(found):
        token = found[position]
        position += 1
        wide = _wide(token)
        if wide is not None:
            quantifier, position = _quantifier(found, position)
            parts.append(wide + _repeated(quantifier, bounded=bounded))
        elif token[0] == "(" and len(token) > 1:
            parts.append("(?:")
        elif _unknown(token, found[position : position + 1]):
            return None
        elif token.startswith("{,") and token != "{,}":
            parts.append("{0" + token[1:])
        else:
            parts.append(_ENDS.get(token, token))
    return "".join(parts)


def _repeated(quantifier: str, *, bounded: bool) -> str:
    """The quantifier over bytes for one over characters."""
    none_too = quantifier[:2] in ("?", "*", "{0", "{,")
    if not bounded or quantifier in ("*", "+") or quantifier.endswith(",}"):
        return "*" if none_too else "+"
    most = int(re.sub(r".*[{,]|\}", "", quantifier) or 1) if quantifier[:1] == "{" else 1
    return f"{{{0 if none_too else 1},{_BYTES_OF_A_CHARACTER * most}}}"


def over_shapes(pattern: str) -> str | None:
    """A pattern that matches the shape of every line that this one matches.

    None for one with flags or other rare things.
    """
    parts: list[str] = []
    found = _without_looks([token for _, token in tokens(pattern)])
    for place, token in enumerate(found):
        if token == "(" and found[place + 1 : place + 2] == ["?"]:
            return None
        if token in _DIGITS:
            parts.append("0")
        elif token[0] == "[" and len(token) > 1:
            of_digits = _class_over_shapes(token)
            if of_digits is None:
                return None
            parts.append(of_digits)
        else:
            parts.append(token)
    return "".join(parts)


def _class_over_shapes(token: str) -> str | None:
    """A class that holds ``0`` where this one holds a digit."""
    plain = _ESCAPED.sub("", token)
    if not re.search(r"[0-9]", plain):
        return token
    if token[1] == "]" or re.search(r"[^0-9]-[0-9]|[0-9]-[^0-9\]]", plain):
        return None
    if token[1] != "^":
        return "[0" + token[1:]
    return _OF_DIGITS.sub(lambda found: found[1] or "", token) if token[2] != "]" else None


def _without_looks(found: Sequence[str]) -> list[str]:
    """The tokens outside ``(?=…)`` and its like."""
    kept: list[str] = []
    depth, looks_from = 0, -1
    for token in found:
        if token[0] == "(":
            if looks_from < 0 and token in _LOOKS:
                looks_from = depth
            depth += 1
        if looks_from < 0:
            kept.append(token)
        if token == ")":
            depth -= 1
            if depth == looks_from:
                looks_from = -1
    return kept


def _wide(token: str) -> str | None:
    """The token over bytes, where a character that it matches may have several of them."""
    if token.startswith("[^") and len(token) > 2:
        return "[^\\n" + token[2:]
    return _WIDE.get(token)


def _quantifier(found: Sequence[str], position: int) -> tuple[str, int]:
    """The quantifier that stands here, a lazy one's mark included, and the place after it."""
    text = ""
    if position < len(found) and (found[position] in "?*+" or _is_count(found[position])):
        text = found[position]
        position += 1
        if position < len(found) and found[position] == "?":
            position += 1
    return text, position


def _is_count(token: str) -> bool:
    return re.fullmatch(r"\{(?:\d+(?:,\d*)?|,\d*)\}", token) is not None


def _unknown(token: str, after: Sequence[str]) -> bool:
    if token == "(":
        return list(after) == ["?"]
    if token[0] == "[" and len(token) > 1:
        return re.search(r"\\[SDW]", token) is not None
    if token[0] == "\\" and token[1].isalnum():
        return token not in _ENDS and token[1] not in _SAME
    return False


def escaped(literals: Sequence[str]) -> Iterator[str]:
    """Patterns for bytes that match just these texts."""
    for literal in literals:
        yield re.sub(r"[^\w\s]", r"\\\g<0>", literal, flags=re.ASCII)
