"""Files that are no logs: flight-recorder dumps, ``nvidia-smi -q``, bug reports, ``sacct``."""

from __future__ import annotations

from trainwreck_analyzer.artefacts import flight_recorder
from trainwreck_analyzer.artefacts.gather import READERS, Gathered, gather
from trainwreck_analyzer.artefacts.sniff import Kind, sniff

__all__ = ["READERS", "Gathered", "Kind", "flight_recorder", "gather", "sniff"]
