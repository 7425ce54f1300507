"""Facts about what runs out in numbers: open files of a process; see also ``rules.toml``."""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, fact, literal

READS = {
    "process": {"pid", "rank", "job", "open_files_count"},
    "process_detail": {"pid", "open_files_max_count"},
}
_FULL = 0.98


def find(recording: Recording) -> Iterator[Fact]:
    """Yield the training processes that had as many files open as they may."""
    if {"process", "process_detail"} & recording.empty:
        return
    sql = _sql(recording, "true")
    for row in recording.rows(sql):
        rank = "" if row["rank"] is None else f"rank {row['rank']}, "
        text = (
            f"{rank}pid {row['pid']} had {row['used']} files open; its limit (ulimit -n) is"
            f" {row['most']}"
        )
        own = _sql(recording, f"p.host = {literal(row['host'])} AND p.pid = {row['pid']}")
        yield fact("open_files_at_limit", text, row, own, value=float(row["used"]))


def _sql(recording: Recording, where: str) -> str:
    return (
        "SELECT p.host, p.pid, any_value(p.rank) AS rank, arg_max(p.ts, p.open_files_count) AS ts,"
        " max(p.open_files_count) AS used, max(d.most) AS most"
        f" FROM process p JOIN (SELECT host, pid, min(open_files_max_count) AS most"
        f" FROM process_detail WHERE {recording.during} GROUP BY host, pid) d"
        f" ON d.host = p.host AND d.pid = p.pid WHERE {where}"
        f" AND {recording.during.replace('ts', 'p.ts', 1)} AND {recording.of_job}"
        f" AND p.open_files_count >= {_FULL} * d.most GROUP BY p.host, p.pid ORDER BY ts"
    )
