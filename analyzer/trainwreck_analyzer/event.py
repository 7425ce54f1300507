"""One dated thing that a log said, and where it said it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A line, or several that belong together, with what could be read out of it."""

    kind: str
    """Name of the signature, decoder or reader that made it: ``xid``, ``oom_kill``, ``step``."""
    text: str
    """The first line, stripped of its line ending, as it stands in the file."""
    source: str
    """Path of the file, or the data directory for rows of the recorder."""
    line: int
    """Line number from 1; for rows of the recorder the sequence number."""
    time: datetime | None = None
    """Aware UTC; None where the line and its neighbours carry no time."""
    rank: int | None = None
    host: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    """What the line says more: ``pci``, ``pid``, ``code``, ``device``, ``process`` …"""
