"""What one kernel line says."""

from __future__ import annotations

import re
from functools import cache

from trainwreck_analyzer.kernel.decoded import Decoded
from trainwreck_analyzer.kernel.family import Line, lines
from trainwreck_analyzer.kernel.gate import Present, gate
from trainwreck_analyzer.kernel.parts import LINE_LIMIT
from trainwreck_analyzer.kernel.sxid import decode_sxid
from trainwreck_analyzer.kernel.xid import decode_xid
from trainwreck_analyzer.literals import shape, tokens
from trainwreck_analyzer.relaxed import over_shapes

_XID_LITERALS = ("Xid (", "detected NVSwitch ")
_PLACES = frozenset({"^", "$", r"\A", r"\Z", r"\b", r"\B"})
"""Tokens whose match depends on what stands before or after."""


def decode(text: str) -> Decoded | None:
    """What the line says; None for one that means nothing to us.

    ``text`` may carry its prefix or not. Only its first 4,096 characters are looked at.
    """
    if len(text) > LINE_LIMIT:
        text = text[:LINE_LIMIT]
    if _gate().search(text) is None:
        return None
    return _decode(text)


def may_decode(shape_of_line: str) -> bool:
    """Whether ``decode`` may find something in a line of this shape; in doubt it may."""
    if len(shape_of_line) > LINE_LIMIT or any(text in shape_of_line for text in _XID_LITERALS):
        return True
    for place in _shapes_present().places(shape_of_line):
        pattern = _over_shapes(_by_literal()[place][1].pattern)
        if pattern is None or pattern.search(shape_of_line):
            return True
    return False


@cache
def _shapes_present() -> Present:
    return Present([shape(literal) for literal, _ in _by_literal()])


@cache
def _over_shapes(pattern: str) -> re.Pattern[str] | None:
    """Matches in the shape of a whole line, prefix and all, where the pattern does in its text."""
    found = over_shapes(pattern)
    if found is None:
        return None
    kept = (token for _, token in tokens(found) if token not in _PLACES)
    return re.compile("".join(kept), re.ASCII)


@cache
def literals() -> tuple[str, ...]:
    """Strings of which one stands in every line that can mean something; for a scanner."""
    found = set(_XID_LITERALS)
    for line in lines():
        found.update(line.has)
    # A literal that contains another adds nothing.
    return tuple(sorted(a for a in found if not any(b != a and b in a for b in found)))


@cache
def _gate() -> re.Pattern[str]:
    return gate(literals())


@cache
def _present() -> Present:
    return Present([literal for literal, _ in _by_literal()])


def _decode(text: str) -> Decoded | None:
    if "Xid (" in text:
        found = (decode_sxid(text) if "SXid (" in text else None) or decode_xid(text)
        if found is not None:
            return found
    elif "detected NVSwitch " in text:
        found = decode_sxid(text)
        if found is not None:
            return found
    last = None
    for place in _present().places(text):
        line = _by_literal()[place][1]
        if line is not last:
            last = line
            found = line.read(text)
            if found is not None:
                return found
    return None


@cache
def _by_literal() -> tuple[tuple[str, Line], ...]:
    """Each kind of line with each of its literals, in the order in which they are tried."""
    return tuple((literal, line) for line in lines() for literal in line.has)
