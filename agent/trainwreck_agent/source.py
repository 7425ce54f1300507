"""What the recorder's loop waits for; for the type checker only, so nothing is loaded for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trainwreck_agent.collector import Row


class Source(Protocol):
    """Something outside the loop that has rows now and then."""

    def fileno(self) -> int:
        """Descriptor for poll(); negative: none now."""

    def read(self) -> Sequence[Row | str]:
        """Rows, or journal lines, that are there; never blocks."""

    def check(self, now_monotonic: float, /) -> Sequence[Row | str]:
        """Supervise; called every tick."""

    def stop(self) -> None:
        """End within a second."""
