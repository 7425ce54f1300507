"""A filter that lets a line without any meaning go by in a microsecond or two.

An alternation of two hundred literals costs twenty times that, for it is tried at every character.
So of each literal only the part from its rarest letter on is looked for, and these parts share
their beginnings: few places of a line begin one at all.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

_COMMON = " eatoirnsl0123456789.dcmup,:=-_gf/h[]|'bTIN"
"""The characters of training logs, the most frequent first."""
_SHORTEST = 4
"""Characters that must be left of a literal, lest half of all lines pass."""


def gate(literals: Iterable[str]) -> re.Pattern[str]:
    """Matches a text only if it may hold one of the literals, and every text that does."""
    return re.compile(_tree(sorted({_rare_part(literal) for literal in literals})))


class Present:
    """Says which of many literals stand in a text, without asking for each of them.

    Args:
        literals: In the order in which they are wanted.
    """

    def __init__(self, literals: Sequence[str]) -> None:
        self._literals = tuple(literals)
        own = [_rare_part(literal) for literal in self._literals]
        parts = sorted(set(own))
        self._search = re.compile(_tree(parts)).search
        # A part that begins with another is found by that one, after which it is sorted.
        shortest: list[str] = []
        for part in parts:
            if not shortest or not part.startswith(shortest[-1]):
                shortest.append(part)
        self._of_part: dict[str, list[int]] = {part: [] for part in shortest}
        for index, part in enumerate(own):
            self._of_part[shortest[bisect_right(shortest, part) - 1]].append(index)

    def places(self, text: str) -> list[int]:
        """The places, in the order given, of the literals that stand in the text."""
        found = self._search(text)
        if found is None:
            return []
        parts: set[str] = set()
        while found is not None:
            parts.add(found.group())
            found = self._search(text, found.start() + 1)
        may = (index for part in parts for index in self._of_part[part])
        return sorted(index for index in may if self._literals[index] in text)


def _rarity(character: str) -> int:
    place = _COMMON.find(character)
    return place if place >= 0 else len(_COMMON)


def _rare_part(literal: str) -> str:
    starts = range(max(1, len(literal) - _SHORTEST + 1))
    return literal[max(starts, key=lambda i: (_rarity(literal[i]), -i)) :]


def _tree(words: Sequence[str]) -> str:
    """An alternation in which common beginnings are written once."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word[1:])
    parts: list[str] = []
    for first, rest in groups.items():
        if "" in rest:  # a longer literal that begins with a shorter one adds nothing
            parts.append(re.escape(first))
        elif len(rest) == 1:
            parts.append(re.escape(first + rest[0]))
        else:
            parts.append(f"{re.escape(first)}(?:{_tree(rest)})")
    return "|".join(parts)
