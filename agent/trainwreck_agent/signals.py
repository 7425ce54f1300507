"""Every signal that can tell of a fault, and whether this machine's is recorded.

The list is ``signals.toml``. What becomes of a signal here is told by the collector that reads it,
and, where there is a data directory, by whether its columns hold anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("signals.toml")

SOURCES = frozenset({
    "nvml", "kernel_log", "trace_events", "process_exits", "stacks", "training_log", "recorder",
})  # fmt: skip
"""What fills tables beside the collectors."""
SELDOM = frozenset({
    "kernel_log", "trace_events", "process_exits", "stacks", "blocked_process", "pstore",
    "recorder",
})  # fmt: skip
"""What gives a row when something happens: an empty column is no absence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list."""

    section: str
    row: str
    unit: str
    source: str
    columns: tuple[str, ...]
    by: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A signal on this machine.

    ``status``: recorded, absent, denied, error, hang, or left out (nothing of it is recorded on any
    machine; ``detail`` says why).
    """

    entry: Entry
    status: str
    detail: str | None


def entries() -> list[Entry]:
    """The list."""
    with FILE.open("rb") as file:
        found = tomllib.load(file)
    return [
        Entry(section, item["row"], item["unit"], item["source"], tuple(item["columns"]),
              item["by"], item.get("why"))
        for section, items in found.items()
        for item in items
    ]  # fmt: skip


def outcomes(
    health: Mapping[str, tuple[str, str | None]], filled: frozenset[str] | None
) -> Iterator[Outcome]:
    """What becomes of each signal.

    ``health`` is status and detail of each collector and source; ``filled`` are the columns
    (``view.column``) that the data directory has a value of, None where there is none.
    """
    for entry in entries():
        status, detail = _outcome(entry, health, filled)
        yield Outcome(entry, status, detail)


def _outcome(
    entry: Entry,
    health: Mapping[str, tuple[str, str | None]],
    filled: frozenset[str] | None,
) -> tuple[str, str | None]:
    if not entry.columns:
        return "left out", entry.why
    collector = entry.by.split("/")[0]
    status, detail = health.get(entry.by) or health.get(collector) or ("ok", None)
    if status not in ("ok", "slow"):
        return status, detail
    if filled is None or collector in SELDOM:
        return "recorded", entry.why
    empty = [column for column in entry.columns if column not in filled]
    if len(empty) == len(entry.columns):
        return "absent", f"nothing yet in {', '.join(empty)}: not told by this machine"
    told = f"nothing yet in {', '.join(empty)}" if empty else None
    return "recorded", "; ".join(part for part in (entry.why, told) if part) or None
