"""Facts about memory: who grew, and how near the limit."""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, fact, literal

READS = {"process": {"pid", "rank", "job", "role", "rss_bytes"}}
_MIB = 2**20
_GROWTH_MIN_BYTES = 96 * _MIB
_FIT_MIN = 0.9
"""R² of a straight line: a leak grows evenly, a start-up jumps."""
_SAMPLES_MIN = 5
_TAILS_SAMPLES = (None, 60, 12, 6)
"""The last samples up to the peak that are tried for a line, the longest first; None: all."""
_AGE_MIN_SAMPLES = 8
"""A younger process is still starting."""
_AFTER_PEAK_MAX_S = 5
"""A MemoryError unwinds the stack and frees before the process is gone."""


def find(recording: Recording) -> Iterator[Fact]:
    """Yield the processes whose resident memory rose steadily up to their end, or just before."""
    seen: set[tuple[str, int]] = set()
    if "process" in recording.empty:
        return
    for tail in _TAILS_SAMPLES:
        for row in recording.rows(_ramp_sql(recording, tail)):
            if (row["host"], row["pid"]) in seen:
                continue
            seen.add((row["host"], row["pid"]))
            rank = "" if row["rank"] is None else f"rank {row['rank']}, "
            rate = row["bytes_per_s"] / _MIB
            text = (
                f"{rank}pid {row['pid']}: resident memory rose from"
                f" {row['low_bytes'] / _MIB:.0f} to {row['high_bytes'] / _MIB:.0f} MiB in"
                f" {row['seconds']:.0f} s, {rate:.1f} MiB/s up to its peak"
            )
            sql = (
                "SELECT ts, pid, rank, rss_bytes, cgroup_memory_bytes, cgroup_memory_max_bytes"
                f" FROM process WHERE host = {literal(row['host'])} AND pid = {row['pid']}"
                f" AND {recording.during} ORDER BY ts"
            )
            yield fact("process_memory_ramp", text, row, sql, value=float(row["high_bytes"]))


def _ramp_sql(recording: Recording, tail: int | None) -> str:
    newest = (
        f" QUALIFY row_number() OVER (PARTITION BY host, pid ORDER BY ts DESC) <= {tail}"
        if tail
        else ""
    )
    return (
        "SELECT host, pid, any_value(rank) AS rank, max(ts) AS ts,"
        " min(rss_bytes) AS low_bytes, max(rss_bytes) AS high_bytes,"
        " max(epoch(ts)) - min(epoch(ts)) AS seconds,"
        " regr_slope(rss_bytes, epoch(ts)) AS bytes_per_s"
        " FROM (FROM (SELECT *, arg_max(ts, rss_bytes) OVER p AS peak, max(ts) OVER p AS final,"
        " count(*) OVER p AS age"
        f" FROM process WHERE {recording.during} AND {recording.of_job}"
        " AND role IN ('training', 'child')"
        " AND rss_bytes IS NOT NULL WINDOW p AS (PARTITION BY host, pid))"
        f" WHERE age >= {_AGE_MIN_SAMPLES} AND ts <= peak"
        f" AND final - peak <= INTERVAL {_AFTER_PEAK_MAX_S} SECOND{newest})"
        f" GROUP BY host, pid HAVING count(*) >= {_SAMPLES_MIN}"
        f" AND max(rss_bytes) - min(rss_bytes) >= {_GROWTH_MIN_BYTES}"
        " AND regr_slope(rss_bytes, epoch(ts)) > 0"
        f" AND regr_r2(rss_bytes, epoch(ts)) >= {_FIT_MIN}"
        " ORDER BY high_bytes - low_bytes DESC"
    )
