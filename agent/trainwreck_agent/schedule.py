"""Runs collectors when they are due, times them, and turns their failures into facts.

The one place that may catch everything a collector throws: one that fails must not stop the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from trainwreck_agent import log
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

SLOW_US = 50_000
REPORT_EVERY_S = 60.0
BACK_OFF_MAX_S = 300.0
RETRY_ABSENT_S = 300.0


@dataclass(slots=True)
class Entry:
    """One collector and how it fares."""

    name: str
    make: Callable[[Host], Collector]
    every_s: float = 1.0
    collector: Collector | None = None
    due_s: float = 0.0
    report_s: float = 0.0
    status: str = ""
    detail: str | None = None
    reads: int = 0
    failures: int = 0
    failed_in_a_row: int = 0
    read_us: int | None = None
    read_max_us: int | None = None


class Schedule:
    """Collectors with their due times (CLOCK_MONOTONIC, s)."""

    def __init__(self, host: Host, tick_s: float = 1.0) -> None:
        self._host = host
        self._tick_s = tick_s
        self.entries: list[Entry] = []

    def add(self, name: str, make: Callable[[Host], Collector]) -> None:
        """Add a collector: its class, or anything that makes it."""
        self.entries.append(Entry(name, make))

    def next_due_s(self) -> float:
        """When the next collector is due."""
        return min((entry.due_s for entry in self.entries), default=float("inf"))

    def due(self, now_s: float, early_s: float = 0.0) -> list[Entry]:
        """Collectors that are due, or will be within ``early_s``."""
        return [entry for entry in self.entries if entry.due_s <= now_s + early_s]

    def run(self, now_s: float) -> list[Row]:
        """Rows of every collector that is due, and of every change in how they fare."""
        rows: list[Row] = []
        for entry in self.due(now_s):
            rows.extend(self.run_one(entry, now_s))
        return rows

    def _pace_s(self, collector: Collector) -> float:
        """What is read every second follows a faster tick; what is slower by choice stays so."""
        return (
            min(collector.every_s, self._tick_s) if collector.every_s <= 1.0 else collector.every_s
        )

    def run_one(self, entry: Entry, now_s: float) -> list[Row]:
        """Run one collector now; one that is run a little early keeps its pace."""
        now_s = max(now_s, entry.due_s)
        started_ns = time.perf_counter_ns()
        rows: list[Row] = []
        pace_s = entry.every_s
        try:
            if entry.collector is None:
                entry.collector = entry.make(self._host)
                pace_s = entry.every_s = self._pace_s(entry.collector)
            rows = list(entry.collector.collect())
            status, detail = "ok", None
            entry.failed_in_a_row = 0
        except Unavailable as error:
            status, detail = error.status, error.detail
            entry.collector = None
            pace_s = RETRY_ABSENT_S if error.retry_s is None else error.retry_s
        except Exception as error:  # noqa: BLE001 — one that fails must not stop the rest
            status, detail = "error", f"{type(error).__name__}: {error}"
            entry.failures += 1
            entry.failed_in_a_row += 1
            pace_s = min(pace_s * 2**entry.failed_in_a_row, BACK_OFF_MAX_S)
            if entry.status != "error":
                log.warning("collector %s failed", entry.name, exc_info=True)
        took_us = (time.perf_counter_ns() - started_ns) // 1000
        entry.reads += 1
        entry.read_us = took_us
        entry.read_max_us = max(took_us, entry.read_max_us or 0)
        entry.due_s = now_s + pace_s - 0.001
        if status == "ok" and took_us > SLOW_US:
            status, detail = "slow", f"a read took {took_us / 1000:.0f} ms"
        if status != entry.status or now_s >= entry.report_s:
            entry.status, entry.detail = status, detail
            entry.report_s = now_s + REPORT_EVERY_S
            rows.append(health_row(entry))
        return rows


def health_row(entry: Entry) -> Row:
    """How a collector fares now; its longest read starts afresh."""
    values = (entry.name, entry.status, entry.detail, entry.reads, entry.failures, None,
              entry.read_us, entry.read_max_us)  # fmt: skip
    entry.read_max_us = None
    return Row(COLLECTOR_HEALTH, values)
