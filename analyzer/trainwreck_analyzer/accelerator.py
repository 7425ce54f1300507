"""Searches whole blocks for all patterns at once, where the optional ``hyperscan`` is installed.

It only says which lines are worth a look: the same expressions as without it decide on these lines.
Making its tables takes seconds, so they are kept in the user's cache folder.

The engine inside the package is Vectorscan. Its release 5.4.12 (hyperscan 0.7.23 and later) misses
matches that 5.4.11 finds, so an engine that misses a known one is not used.
Source: https://github.com/VectorCamp/vectorscan/issues/317
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from trainwreck_analyzer import derived
from trainwreck_analyzer.literals import literals
from trainwreck_analyzer.relaxed import escaped, relaxed

if TYPE_CHECKING:
    import hyperscan

_MISSED = (
    rb"(?:[Jj]ob|[Rr]un|[Tt]raining|[Ss]cript|[Pp]rogram|[Pp]rocess|[Ii]t) (?:just |suddenly "
    rb"|randomly |always |again |then |silently )?(?:crashe[sd]|died|dies)\b"
)
"""What release 5.4.12 does not find in ``_MISSED_IN``."""
_MISSED_IN = b"a" * 40 + b"\nIf the job crashed, start it again: it resumes by itself"


class Accelerator:
    """Finds the lines in which a pattern may match.

    Args:
        database: The patterns, made ready by ``accelerator``.
    """

    def __init__(self, database: hyperscan.Database) -> None:
        import hyperscan
        import numpy as np

        self._np = np
        self._database = database
        self._scratch = hyperscan.Scratch(database)

    def lines(self, text: bytes) -> list[int]:
        """Numbers of the lines of a text, from 0 and ascending, in which a pattern may match."""
        ends: list[int] = []
        append = ends.append

        def note(number: int, start: int, end: int, flags: int, context: object) -> None:
            append(end)

        self._database.scan(text, match_event_handler=note, scratch=self._scratch)
        if not ends:
            return []
        np = self._np
        breaks = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
        found: list[int] = np.unique(np.searchsorted(breaks, np.asarray(ends))).tolist()
        return found


@cache
def accelerator(patterns: tuple[str, ...], texts: tuple[str, ...]) -> Accelerator | None:
    """One for lines that match a pattern or hold a text; None where there can be none."""
    try:
        import hyperscan
    except ImportError:
        return None
    expressions = _expressions(patterns, texts)
    release = version("hyperscan").encode()
    place = derived.place("patterns", b"\n".join([release, *expressions]))
    packed = derived.kept(place)  # the library takes damaged tables without a word
    with suppress(hyperscan.error):
        if packed is not None:
            return Accelerator(hyperscan.loadb(packed, hyperscan.HS_MODE_BLOCK))
    try:
        if Accelerator(_database([_MISSED])).lines(_MISSED_IN) != [1]:
            return None
        database = _database(expressions)
        derived.keep(place, hyperscan.dumpb(database))
        return Accelerator(database)
    except hyperscan.error:
        return None


def _database(expressions: Sequence[bytes]) -> hyperscan.Database:
    import hyperscan

    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    flags = hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_PREFILTER
    database.compile(
        expressions=expressions,
        ids=list(range(len(expressions))),
        elements=len(expressions),
        flags=[flags] * len(expressions),
    )
    return database


def _expressions(patterns: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    """Every pattern for bytes; of one that cannot be told in bytes its literals."""
    found: list[str] = list(escaped(texts))
    for pattern in patterns:
        of_bytes = relaxed(pattern)
        found += escaped(literals(pattern)) if of_bytes is None else [of_bytes]
    return [expression.encode() for expression in dict.fromkeys(found)]
