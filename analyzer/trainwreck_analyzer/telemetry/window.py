"""The time that is asked about, and whose ends matter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end``, both aware and included."""

    start: datetime
    end: datetime
    pids: frozenset[int] = frozenset()
    """Processes that the logs of the job name. Where the recorder saw them, the ends of other
    jobs' processes on the same hosts are left out. Empty: every job of that time."""
