"""Numbers behind names, in files of the kernel whose lines keep their places.

Looking for twenty names among two hundred lines costs three times as much as looking whether they
still stand where they stood the last time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_LINE = re.compile(rb"([A-Za-z_()0-9]{1,64})(?::\s*|\s+)[0-9]{1,18}(?:\s+kB)?\s*\Z")
"""Just what ``_take`` accepts: what is found does not depend on what was read before."""


class NamedNumbers:
    """Reads lines of ``name number``, ``name: number`` or ``name: number kB``.

    ``group`` gives the name under which a line's number counts, for lines that are added up.
    """

    __slots__ = ("_count", "_group", "_missing", "_names", "_places")

    def __init__(
        self, names: Sequence[bytes], group: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._names = {name: slot for slot, name in enumerate(names)}
        self._group = group
        self._count = -1
        self._places: list[tuple[int, int, bytes, int]] = []
        self._missing: list[bytes] = []

    def read(self, data: bytes) -> list[int | None]:
        """The numbers in the order of the names, kB as bytes; None: there is no such line."""
        lines = data.split(b"\n")
        known = len(lines) == self._count and not any(name in data for name in self._missing)
        if known and (found := self._take(lines)) is not None:
            return found
        self._look(lines)
        return self._take(lines) or [None] * len(self._names)

    def _look(self, lines: list[bytes]) -> None:
        self._count, self._places = len(lines), []
        for number, line in enumerate(lines):
            if (match := _LINE.match(line)) is None:
                continue
            name = match[1] if self._group is None else self._group(match[1])
            slot = self._names.get(name)
            if slot is not None:
                prefix = line[: len(match[1]) + 1]
                self._places.append((number, slot, prefix, len(prefix)))
        there = {slot for _, slot, _, _ in self._places}
        self._missing = [name for name, slot in self._names.items() if slot not in there]

    def _take(self, lines: list[bytes]) -> list[int | None] | None:
        """The numbers from the places known; None: something else stands there."""
        found: list[int | None] = [None] * len(self._names)
        for number, slot, prefix, length in self._places:
            line = lines[number]
            words = line[length:].split()
            if line[:length] != prefix or not words or len(words[0]) > 18:
                return None
            if not words[0].isdigit() or (len(words) > 1 and words[1:] != [b"kB"]):
                return None
            value = int(words[0]) if len(words) == 1 else int(words[0]) << 10
            found[slot] = value + (found[slot] or 0)
        return found
