"""The time that is asked about, and whose ends matter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from trainwreck_analyzer.fact import Fact

_PID = re.compile(r"\b(?:pid[:= ]|process) ?(\d{1,10})\b", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end``, both aware and included."""

    start: datetime
    end: datetime
    pids: frozenset[int] = frozenset()
    """Processes that the logs of the job name. Where the recorder saw them, the ends of other
    jobs' processes on the same hosts are left out. Empty: every job of that time."""
    job: str | None = None
    """The scheduler's number that the logs name; likewise, where no ``pids`` are known."""
    finished: bool = False
    """The logs say that the run ended well: of several jobs it is none that ended badly."""
    latest: datetime | None = None
    """The last thing that the logs tell; None: they tell nothing, the window is the recording."""
    slowed_at: datetime | None = None
    """When the run became slower, as its logs tell; None: they do not."""


def slowed_at(facts: Iterable[Fact]) -> datetime | None:
    """When the first step began that took longer, and those after it."""
    shifts = [f for f in facts if f.kind == "series_step_time_shift" and f.time is not None]
    if not shifts:
        return None
    first = min(shifts, key=lambda f: f.time.timestamp() if f.time else 0.0)
    took_s = float(first.fields.get("after", "0"))
    return first.time - timedelta(seconds=min(took_s, 3600.0)) if first.time else None


def pids_in(facts: Iterable[Fact]) -> frozenset[int]:
    """Processes that the lines of training logs name, e.g. ``exitcode : -9 (pid: 4711)``."""
    found: set[int] = set()
    for fact in facts:
        if fact.evidence == "log":
            found.update(int(pid) for pid in _PID.findall(fact.text))
            if (pid := fact.fields.get("pid", "")).isdecimal():
                found.add(int(pid))
    return frozenset(found)
