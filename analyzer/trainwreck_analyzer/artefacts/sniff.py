"""Which artefact a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trainwreck_analyzer.artefacts import sacct
from trainwreck_analyzer.artefacts.text import head

Kind = Literal["flight_recorder", "nvidia_smi", "nvidia_bug_report", "sacct"]


def sniff(path: Path) -> Kind | None:
    """The kind; None for a log or anything else.

    Raises:
        Unreadable: It cannot be opened.
    """
    return sniff_bytes(head(path))


def sniff_bytes(start: bytes) -> Kind | None:
    """The kind by the first 64 KiB, unpacked."""
    if start[:1] == b"\x80" and start[1:2] <= b"\x05" and b"entries" in start[:65536]:
        return "flight_recorder"
    text = start.decode("utf-8", "replace")
    opening = text[:4096]
    if opening.lstrip().startswith("{"):
        flat = text[:65536]
        named = '"entries"' in flat and ('"pg_config"' in flat or '"collective_seq_id"' in flat)
        return "flight_recorder" if named else None
    if "<nvidia_smi_log>" in opening or "nvsmi_device" in opening:
        return "nvidia_smi"
    if "NVIDIA bug report" in opening or "nvidia-bug-report" in opening:
        return "nvidia_bug_report"
    if "NVSMI LOG" in text[:16384]:
        return "nvidia_smi"
    if sacct.looks_like(opening):
        return "sacct"
    return None
