"""The one currency of the diagnosis: something that is so, at a time, with a pointer to look it up.

A matched line and a computed throttle have the same type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from trainwreck_analyzer.verdict import Component, EvidenceKind


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so."""

    kind: str
    """What signatures refer to, e.g. ``xid_79``, ``cgroup_oom_kill``, ``process_killed``."""
    text: str
    """For a line: the line. For telemetry: a sentence with numbers and units."""
    evidence: EvidenceKind
    time: datetime | None = None
    source: str | None = None
    line: int | None = None
    sql: str | None = None
    order: int = 0
    """Position among facts without a time: reading order over all inputs."""
    component: Component = field(default_factory=Component)
    value: float | None = None
    fields: dict[str, str] = field(default_factory=dict)
    zoned: bool = True
    """False: ``time`` is that of a clock which names no zone, taken as UTC."""
    unzoned_time: datetime | None = None
    """What such a clock showed, where nothing tells its zone: right to some fourteen hours."""
