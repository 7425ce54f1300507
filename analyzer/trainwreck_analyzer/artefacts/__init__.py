"""Files that are no logs: flight-recorder dumps, ``nvidia-smi -q``, bug reports, ``sacct``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainwreck_analyzer.artefacts import bug_report, flight_recorder, nvidia_smi, sacct
from trainwreck_analyzer.artefacts.sniff import Kind, sniff
from trainwreck_analyzer.fact import Fact

READERS: dict[str, Callable[[Path], list[Fact]]] = {
    "nvidia_smi": nvidia_smi.read,
    "nvidia_bug_report": bug_report.read,
    "sacct": sacct.read,
}
"""The reader of each kind that stands alone; dumps of one run are read together."""

__all__ = ["READERS", "Kind", "flight_recorder", "sniff"]
