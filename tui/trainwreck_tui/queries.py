"""Queries of the app that are not lanes; each names public views only."""

from __future__ import annotations

from trainwreck_tui.lane import SPAN

KERNEL_EVENTS = (
    "SELECT ts, priority, text FROM kernel_event"
    f" WHERE {SPAN} AND (priority <= 3 OR text SIMILAR TO '.*(oom|OOM|Out of memory|segfault|Xid|"
    "SXid|Killed process|hung|blocked for|I/O error|link is (not )?[Dd]own).*')"
    " ORDER BY ts LIMIT 2000"
)
PROCESS_EXITS = (
    "SELECT ts, pid, name, rank, exit_code, signal, role FROM process_exit"
    f" WHERE {SPAN} AND (signal IS NOT NULL OR role IN ('training', 'child'))"
    " ORDER BY ts LIMIT 2000"
)
ALARMS = (
    "SELECT ts, kind, rank, text FROM training_event"
    f" WHERE {SPAN} AND kind IN ('alarm', 'silence') ORDER BY ts LIMIT 2000"
)
EXTENT = "SELECT host, min(ts) AS first, max(ts) AS last FROM memory GROUP BY host ORDER BY host"
ABSENT = (
    "SELECT collector, arg_max(status, ts) AS status, arg_max(detail, ts) AS detail"
    " FROM collector_health WHERE host = $host GROUP BY collector"
    " HAVING status IN ('absent', 'denied', 'error', 'hang') ORDER BY collector"
)
COLUMN_HELP = (
    "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns()"
    " WHERE NOT internal ORDER BY table_name, column_index"
)

QUERIES: dict[str, str] = {
    "kernel_events": KERNEL_EVENTS,
    "process_exits": PROCESS_EXITS,
    "alarms": ALARMS,
    "absent": ABSENT,
    "extent": EXTENT,
    "column_help": COLUMN_HELP,
}
"""The queries that are not lanes, by name."""
