"""Facts out of the recorder's data.

Every fact carries a query over the public views that returns the rows it speaks of. The ``find`` of
each module looks for one sort of fact; ``gather`` calls them all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import duckdb

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import (
    absence,
    exits,
    groups,
    inventory,
    kernel_rows,
    memory,
    open_files,
    recording,
    rules,
    slow,
    stacks,
    taken,
    trace_rows,
    training,
)
from trainwreck_analyzer.telemetry.recording import Recording, in_turn
from trainwreck_analyzer.telemetry.window import Window, pids_in, slowed_at

__all__ = ["Window", "gather", "not_measured", "pids_in", "slowed_at"]


def gather(connection: duckdb.DuckDBPyConnection, window: Window) -> list[Fact]:
    """What the recorder saw in a window, by time; facts of absence speak against causes.

    Left out: what happened on hosts that the jobs asked about were not on, where that is known.

    ``connection`` holds the views, as ``trainwreck_agent.store.connect`` makes it.
    """
    with taken.in_memory(connection, window, _reads()) as empty:
        asked = Recording(connection, window, empty)
        found = in_turn([module.find(asked) for module in _MODULES])
        ours = asked.our_hosts
        return [f for f in found if not ours or f.component.host in (None, *ours)]


_MODULES = (
    exits, memory, groups, open_files, stacks, training, kernel_rows, rules, slow, inventory,
    absence,
)  # fmt: skip


def _reads() -> dict[str, set[str]]:
    """Columns by view that any of the modules asks for."""
    found: dict[str, set[str]] = {}
    for reads in (
        recording.READS, memory.READS, groups.READS, open_files.READS, stacks.READS,
        training.READS, kernel_rows.READS, trace_rows.READS, rules.reads(), inventory.READS,
        absence.READS, slow.READS,
    ):  # fmt: skip
        for view, columns in reads.items():
            found.setdefault(view, set()).update(columns)
    return found


def not_measured(connection: duckdb.DuckDBPyConnection, window: Window) -> list[tuple[str, str]]:
    """What was not recorded in a window: the collector, and a sentence that says why.

    Looked for from a day before on: a source that is absent says so once, when recording starts.
    """
    asked = Recording(connection, replace(window, start=window.start - timedelta(days=1)))
    sql = (
        f"SELECT collector, status, detail FROM collector_health WHERE {asked.during}"
        " QUALIFY row_number() OVER (PARTITION BY host, collector ORDER BY ts DESC) = 1"
        " ORDER BY collector"
    )
    return [
        (str(row["collector"]), f"{row['collector']} ({row['status']}): {row['detail']}")
        for row in asked.rows(sql)
        if row["status"] not in ("ok", "clock") and row["detail"]
    ]
