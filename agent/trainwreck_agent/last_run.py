"""How the recorder before this one ended, and for how long nobody recorded.

``state/run`` says ``BOOT_ID running`` while a recorder runs, and ``BOOT_ID stopped`` after one that
was asked to end. What was written last tells when.
"""

from __future__ import annotations

import os
import time

from trainwreck_agent.collector import Row
from trainwreck_agent.layout import Layout
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

KILLED = "the recorder was killed"
STOPPED = "the recorder was stopped"
WENT_DOWN = "the machine went down, and the recorder with it unasked"
RESTARTED = "the recorder was stopped, and the machine restarted"


def begin(layout: Layout, boot_id: str, interval_s: float) -> list[Row]:
    """Note that a recorder runs; a row about the gap since the one before, if there was one."""
    before = _read(layout)
    written_s = _last_written_s(layout)
    _write(layout, boot_id, "running")
    if before is None or written_s is None:
        return []
    boot, state = before
    asked = state == "stopped"
    if boot == (boot_id or "-"):
        how = STOPPED if asked else KILLED
    else:
        how = RESTARTED if asked else WENT_DOWN
    gap_s = max(0.0, time.time() - written_s)
    detail = f"nothing was recorded for {gap_s:.1f} s: {how}"
    values = ("recorder", "lost", detail, None, None, int(gap_s / interval_s), None, None)
    return [Row(COLLECTOR_HEALTH, values)]


def end(layout: Layout, boot_id: str) -> None:
    """Note that the recorder was asked to end."""
    _write(layout, boot_id, "stopped")


def _read(layout: Layout) -> tuple[str, str] | None:
    try:
        with open(layout.file("state", "run"), encoding="utf-8", errors="replace") as file:
            boot, _, state = file.read(200).strip().partition(" ")
    except OSError:
        return None
    return (boot, state) if state else None


def _write(layout: Layout, boot_id: str, state: str) -> None:
    try:
        layout.replace(layout.file("state", "run"), f"{boot_id or '-'} {state}\n")
    except OSError:
        return  # a full or read-only disk: the journal tells of it


def _last_written_s(layout: Layout) -> float | None:
    """When a journal was written to last; None: never, as far as the files tell."""
    times = []
    for number in layout.journals():
        try:
            status = os.stat(layout.journal_file(number))
        except OSError:
            continue
        if status.st_size:
            times.append(status.st_mtime)
    return max(times, default=None)
