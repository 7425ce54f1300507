"""Pinned incidents: what was recorded around them is kept, however old it is or much.

A file ``incidents/ID.pin`` pins the incident of that name.
"""

from __future__ import annotations

import logging

from trainwreck_agent.layout import Layout

log = logging.getLogger("trainwreck.seal")

BEFORE_US = 3_600_000_000
AFTER_US = 600_000_000
"""What is kept around a pinned incident: an hour before it, ten minutes after it."""


def pin(layout: Layout, name: str) -> None:
    """Keep what was recorded around the incident of that name.

    Raises:
        OSError: The directory cannot be written.
    """
    (layout.incidents / f"{name}.pin").touch(mode=0o640)


def unpin(layout: Layout, name: str) -> bool:
    """Let go of it again; False: it was not pinned.

    Raises:
        OSError: The directory cannot be written.
    """
    try:
        (layout.incidents / f"{name}.pin").unlink()
    except FileNotFoundError:
        return False
    return True


def names(layout: Layout) -> list[str]:
    """The pinned incidents."""
    return sorted(path.stem for path in layout.incidents.glob("*.pin"))


def windows(layout: Layout) -> list[tuple[int, int]]:
    """Start and end (µs since 1970) of what is kept around each pinned incident.

    Everything, where a pin stands for an incident whose time cannot be read.
    """
    return [_window(layout, name) for name in names(layout)]


def _window(layout: Layout, name: str) -> tuple[int, int]:
    """The line of an incident is ``incident<TAB>ts_us<TAB>id<TAB>ended_us<TAB>…``."""
    path = layout.incidents / f"{name}.tsv"
    try:
        cells = path.read_text("utf-8", "replace").split("\t")
        start_us = int(cells[1])
        end_us = int(cells[3]) if cells[3] else start_us
    except (OSError, ValueError, IndexError):
        log.error("%s: the time of a pinned incident is not there; nothing is deleted", path)
        return 0, 1 << 62
    return start_us - BEFORE_US, max(start_us, end_us) + AFTER_US
