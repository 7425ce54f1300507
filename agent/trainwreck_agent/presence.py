"""Devices that come and go, as facts: a row of ``collector_health`` for each change.

The row's ``collector`` is ``<collector>/<device>``, so that it stands beside the row of the
collector itself and does not hide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trainwreck_agent.collector import Row
from trainwreck_agent.tables.events import COLLECTOR_HEALTH


def note(collector: str, device: str, status: str, detail: str | None) -> Row:
    """A row of ``collector_health`` about one device of a collector."""
    about = (f"{collector}/{device}", status, detail)
    return Row(COLLECTOR_HEALTH, (*about, *(None,) * (len(COLLECTOR_HEALTH.columns) - 3)))


class Presence:
    """Which devices a collector saw last."""

    __slots__ = ("_collector", "_devices", "_gone")

    def __init__(self, collector: str, devices: Iterable[str]) -> None:
        self._collector = collector
        self._devices = set(devices)
        self._gone: set[str] = set()

    def changes(self, devices: Iterable[str]) -> Iterator[Row]:
        """Yield a row for each device that vanished, came back, or is new since the last call."""
        now = set(devices)
        for device in sorted(self._devices - now):
            yield note(self._collector, device, "lost", "was there and is not any more")
        for device in sorted(now - self._devices):
            detail = "is back" if device in self._gone else "is new"
            yield note(self._collector, device, "ok", detail)
        self._gone = (self._gone | (self._devices - now)) - now
        self._devices = now
