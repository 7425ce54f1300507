"""Tells among many lines those that hold one of thousands of texts.

Of each text eight bytes are chosen, or four where it is shorter. Numpy looks up every four bytes
of the lines in a table; only where the table says yes, and the next four bytes agree, the text
itself is compared. That is some 60 MB/s, where an expression of the same texts does 10.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from trainwreck_analyzer.literals import strength

_BITS = 18
_FACTORS = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B))
_LONG = 8
_SHORT = 4
_FREQUENT = 0.02
_LEAST_MISSED = 50
"""More places than these, per line and in all, at which no text stands: other bytes are chosen."""
_CHANGED_AT_ONCE = 20
_MOST_CHANGES = 20

Words = NDArray[np.uint32]
Flags = NDArray[np.bool_]


class GramGate:
    """Which of some lines hold a text.

    Which bytes of a text are rare only the log can tell: where those that were chosen turn out to
    stand in many lines without the text, others of it are chosen.

    Args:
        wanted: The texts, of three characters or more.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        texts = _shortest(wanted)
        rarity = cache(_rarity)
        starts = {text: _rarest(text, rarity) for text in texts if len(text) >= _SHORT}
        self._tables = _Tables(starts, [text for text in texts if len(text) < _SHORT])
        self._changes_left = _MOST_CHANGES

    def __call__(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """The lines that hold a text; each as it was given, once."""
        text = b"\n".join(lines) + b"\n" * 2 * _LONG
        tables = self._tables
        end = -1
        missed: list[bytes] = []
        for place in tables.places(text):
            if place <= end:
                continue
            gram = text[place : place + _LONG]
            if tables.holds(text, place, gram):
                start = text.rfind(b"\n", 0, place + 1) + 1
                end = text.find(b"\n", start)
                yield text[start:end]
            else:
                missed.append(gram)
        if self._changes_left and len(missed) > _FREQUENT * len(lines) + _LEAST_MISSED:
            self._changes_left -= 1
            self._tables = tables.with_others(text, missed)


class _Tables:
    """Where in a block some bytes of each text stand.

    Args:
        starts: Where these bytes begin in each text.
        tiny: Texts that are shorter than four bytes.
    """

    def __init__(self, starts: dict[bytes, int], tiny: Sequence[bytes]) -> None:
        self._starts, self._tiny = starts, tiny
        self._texts: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for text, start in starts.items():
            self._texts[text[start : start + _width(text)]].append((start, text))
        for text in tiny:
            for byte in range(256):
                self._texts[text + bytes((byte,))].append((0, text))
        longs = sorted(gram for gram in self._texts if len(gram) == _LONG)
        shorts = sorted(gram for gram in self._texts if len(gram) == _SHORT)
        self._first = _table(_hash(_words([g[:_SHORT] for g in (*longs, *shorts)]), 0))
        self._short = _table(_hash(_words(shorts), 1))
        heads, tails = (_words([g[i : i + _SHORT] for g in longs]) for i in (0, _SHORT))
        self._long = _table(_hash_both(heads, tails))

    def with_others(self, text: bytes, missed: Sequence[bytes]) -> _Tables:
        """The same with rarer bytes in place of those that stand in a block for nothing."""
        starts = dict(self._starts)
        for gram, count in Counter(missed).most_common(_CHANGED_AT_ONCE):
            for start, wanted in self._of(gram):
                if wanted not in starts:
                    continue
                width = _width(wanted)
                places = range(len(wanted) - width + 1)
                counts = {i: text.count(wanted[i : i + width]) for i in places}
                best = min(places, key=lambda i: (counts[i], i != start))
                if counts[best] * 2 < count:
                    starts[wanted] = best
        return _Tables(starts, self._tiny)

    def places(self, text: bytes) -> list[int]:
        """Where the chosen bytes of a text may stand, ascending; it ends in 16 bytes more."""
        count = len(text) // _SHORT - 2
        found: list[NDArray[np.intp]] = []
        for offset in range(_SHORT):
            words: Words = np.frombuffer(text, np.dtype("<u4"), count + 1, offset)
            at = np.flatnonzero(self._first[_hash(words[:-1], 0)])
            heads, tails = words[at], words[at + 1]
            kept = self._short[_hash(heads, 1)] | self._long[_hash_both(heads, tails)]
            found.append(at[kept] * _SHORT + offset)
        places: list[int] = np.sort(np.concatenate(found)).tolist()
        return places

    def holds(self, text: bytes, place: int, gram: bytes) -> bool:
        """Whether one of the texts stands where its chosen bytes do."""
        return any(
            place >= start and text.startswith(wanted, place - start)
            for start, wanted in self._of(gram)
        )

    def _of(self, gram: bytes) -> Iterator[tuple[int, bytes]]:
        yield from self._texts.get(gram, ())
        yield from self._texts.get(gram[:_SHORT], ())


def _shortest(wanted: Sequence[str]) -> list[bytes]:
    """The texts without those that hold another, which would be found by it anyway."""
    known = {text.encode() for text in wanted}
    heads = {text[:3] for text in known}
    return sorted(text for text in known if not _holds_another(text, known, heads))


def _holds_another(text: bytes, known: set[bytes], heads: set[bytes]) -> bool:
    return any(
        text[start:end] in known
        for start in range(len(text) - 2)
        if text[start : start + 3] in heads
        for end in range(start + 3, len(text) + 1)
        if end - start < len(text)
    )


def _width(text: bytes) -> int:
    return _LONG if len(text) >= _LONG else _SHORT


def _rarest(text: bytes, rarity: Callable[[bytes], float]) -> int:
    """Where the bytes to look for stand in a text."""
    width = _width(text)
    return max(range(len(text) - width + 1), key=lambda i: rarity(text[i : i + width]))


def _rarity(gram: bytes) -> float:
    # The first four bytes decide how many places are looked at twice.
    head = gram[:_SHORT].decode("latin-1").replace("0", "")
    return 2 * strength(head) + strength(gram.decode("latin-1").replace("0", ""))


def _words(grams: Sequence[bytes]) -> Words:
    return np.frombuffer(b"".join(grams), np.dtype("<u4"))


def _hash(words: Words, which: int) -> Words:
    return (words * _FACTORS[which]) >> np.uint32(32 - _BITS)


def _hash_both(heads: Words, tails: Words) -> Words:
    return ((heads * _FACTORS[0]) ^ (tails * _FACTORS[1])) >> np.uint32(32 - _BITS)


def _table(hashes: Words) -> Flags:
    table = np.zeros(1 << _BITS, dtype=np.bool_)
    table[hashes] = True
    return table
