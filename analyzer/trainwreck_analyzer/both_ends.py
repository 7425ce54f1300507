"""Bounds what is kept of a log without losing how it began or how it ended."""

from __future__ import annotations

from collections import Counter, deque

from trainwreck_analyzer.fact import Fact


class BothEnds:
    """Facts of one log: of each kind the first ones and the latest, whatever lies between.

    Args:
        first: How many are kept of a kind from the beginning.
        latest: How many more from the end.
    """

    def __init__(self, first: int, latest: int) -> None:
        self._first_count, self._latest_count = first, latest
        self._seen: Counter[str] = Counter()
        self.full_kinds = 0
        """Kinds of which one more would be one of the latest."""
        self._first: list[Fact] = []
        self._latest: dict[str, deque[Fact]] = {}

    def add(self, fact: Fact) -> None:
        """Keep one, in place of the oldest of the latest where there are too many."""
        seen = self._seen[fact.kind] = self._seen[fact.kind] + 1
        if seen <= self._first_count:
            self._first.append(fact)
            self.full_kinds += seen == self._first_count
        else:
            self._latest.setdefault(fact.kind, deque(maxlen=self._latest_count)).append(fact)

    def full(self, kind: str) -> bool:
        """Whether one more of that kind would be one of the latest."""
        return self._seen[kind] >= self._first_count

    def facts(self) -> list[Fact]:
        """What is kept: the first ones as they came, then the latest of each kind."""
        return [*self._first, *(fact for some in self._latest.values() for fact in some)]
