"""What one kernel line says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trainwreck_analyzer.verdict import Component

Severity = Literal["fatal", "error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A kernel line whose meaning is known."""

    kind: str
    """What signatures refer to: ``xid_79``, ``sxid_20034``, ``cgroup_oom_kill``, ``edac_ce`` …"""
    family: str
    """The reader that knew it: ``xid``, ``pcie``, ``memory``, ``storage`` …"""
    severity: Severity
    """How bad the source says it is: ``info`` lines are records or consequences, never causes."""
    fields: dict[str, str] = field(default_factory=dict)
    """What the line carries: ``pci``, ``pid``, ``process``, ``device``, ``code`` …"""
    component: Component = field(default_factory=Component)
    """What it is about, as far as the line tells."""
