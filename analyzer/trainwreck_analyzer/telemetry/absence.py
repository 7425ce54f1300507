"""Facts that something did not happen, where the recorder would have seen it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, literal

READS = {
    "gpu": {"uuid", "ecc_uncorrected_count", "status", "memory_used_bytes", "memory_total_bytes"},
    "kernel_event": {"text", "seq"},
}
_SHOWN = timedelta(days=7)
"""A kernel that wrote nothing for so long is not known to have been listened to."""
_HALF = 0.5
_FEWEST = 10


def find(recording: Recording) -> Iterator[Fact]:
    """Yield what speaks against causes that leave traces."""
    yield from _no_oom_kill(recording)
    yield from _gpus_clean(recording)
    yield from _no_xid(recording)
    yield from _memory_free(recording)


def _no_oom_kill(recording: Recording) -> Iterator[Fact]:
    """The kernel's count of OOM kills stood still across every bad end on a host."""
    for host in dict.fromkeys(row["host"] for row in recording.bad_ends):
        first = next(row["ts"] for row in recording.bad_ends if row["host"] == host)
        counter = recording.no_oom_kill(host, first)
        if counter is not None:
            row, sql = counter
            text = (
                f"no OOM kill: the kernel's oom_kill counter stayed at {row['high']} from"
                f" {row['ts']:%H:%M:%S} to {row['last']:%H:%M:%S} UTC, the end of the processes"
                " included"
            )
            told = {"ts": first, "host": host, "count": row["high"]}
            yield fact("no_oom_kill_counted", text, told, sql, evidence="absence")


def _gpus_clean(recording: Recording) -> Iterator[Fact]:
    if "gpu" in recording.empty:
        return
    sql = (
        "SELECT host, min(ts) AS ts, max(last_ts) AS last, count(DISTINCT uuid) AS gpus,"
        " count(DISTINCT uuid) FILTER (WHERE low IS NULL) AS without_ecc,"
        " sum(high - low) AS errors,"
        " sum(bad) AS bad FROM (SELECT host, uuid, min(ts) AS ts, max(ts) AS last_ts,"
        " min(ecc_uncorrected_count) AS low, max(ecc_uncorrected_count) AS high,"
        " count(*) FILTER (WHERE status <> 'ok') AS bad FROM gpu"
        f" WHERE {recording.during} GROUP BY host, uuid) GROUP BY host"
    )
    for row in recording.rows(sql):
        if row["bad"] or row["errors"] or row["without_ecc"] or not _to_the_end(recording, row):
            continue
        text = (
            f"the {row['gpus']} GPUs of {row['host']} counted no uncorrected memory error and"
            f" answered every time, {_span(row)}"
        )
        told = {**_where(recording, row), "gpus": row["gpus"]}
        yield fact("gpu_counters_clean", text, told, sql, evidence="absence")


def _where(recording: Recording, row: Row) -> Row:
    """The host and the ranks on it: what is clean there says nothing of other hosts."""
    ranks = [rank for (host, _), rank in recording.rank_of_pid.items() if host == row["host"]]
    listed = " ".join(str(rank) for rank in sorted(set(ranks)))
    return {"ts": row["ts"], "host": row["host"], "ranks": listed or None}


def _to_the_end(recording: Recording, row: Row) -> bool:
    """Whether the rows reach to what went wrong: a recorder that stopped before saw nothing."""
    ends = [end["ts"] for end in recording.bad_ends if end["host"] == row["host"]]
    wrong = min(ends) if ends else recording.window.latest
    return wrong is None or bool(row["last"] >= wrong)


def _span(row: Row) -> str:
    return f"from {row['ts']:%H:%M:%S} to {row['last']:%H:%M:%S} UTC"


def _no_xid(recording: Recording) -> Iterator[Fact]:
    """The kernel's log was recorded beside GPUs, and the driver wrote no Xid into it."""
    if "gpu" in recording.empty or _unread(recording):
        return
    during, since = recording.during, literal(recording.window.start - _SHOWN)
    hosts = recording.rows(
        f"SELECT host, min(ts) AS ts, max(ts) AS last FROM gpu WHERE {during} GROUP BY host"
    )
    told = {
        row["host"]
        for row in recording.rows(f"SELECT DISTINCT host FROM kernel_event WHERE {during} AND"
                                  " (text LIKE '%NVRM%' OR text LIKE '%Xid%')")
    }  # fmt: skip
    for row in hosts:
        # The view itself: the rows of the window alone may be none on a quiet host.
        sql = (
            "SELECT ts, host, seq, text FROM main.kernel_event"
            f" WHERE host = {literal(row['host'])} AND ts >= {since}"
            f" AND ts <= {literal(recording.window.end)} ORDER BY ts DESC LIMIT 20"
        )
        if row["host"] in told or not _to_the_end(recording, row) or not recording.rows(sql):
            continue
        text = f"the kernel's log of {row['host']} was recorded and holds no Xid, {_span(row)}"
        own = sql.replace("main.", "")
        yield fact("no_xid_recorded", text, _where(recording, row), own, evidence="absence")


def _unread(recording: Recording) -> bool:
    """Whether the recorder says that it could not read the kernel's log."""
    return bool(
        recording.rows(
            "SELECT 1 FROM collector_health WHERE collector = 'kernel_log'"
            f" AND status NOT IN ('ok', 'slow', 'clock')"
            f" AND ts >= {literal(recording.window.start - _SHOWN)}"
            f" AND ts <= {literal(recording.window.end)} LIMIT 1"
        )
    )


def _memory_free(recording: Recording) -> Iterator[Fact]:
    """No GPU of a host was seen with more than half of its memory in use."""
    if "gpu" in recording.empty:
        return
    sql = (
        "SELECT host, min(ts) AS ts, max(ts) AS last, count(DISTINCT uuid) AS gpus,"
        " count(*) / count(DISTINCT uuid) AS samples,"
        " max(memory_used_bytes / memory_total_bytes) AS share FROM gpu"
        f" WHERE {recording.during} AND memory_total_bytes > 0 AND memory_used_bytes IS NOT NULL"
        " GROUP BY host"
    )
    for row in recording.rows(sql):
        if row["share"] > _HALF or row["samples"] < _FEWEST or not _to_the_end(recording, row):
            continue
        every_s = (row["last"] - row["ts"]).total_seconds() / max(row["samples"] - 1, 1)
        text = (
            f"no GPU of {row['host']} was seen with more than {100 * row['share']:.0f} % of its"
            f" memory in use, {_span(row)}, looked at every {every_s:.0f} s; a short peak between"
            " two looks would not show"
        )
        where = _where(recording, row)
        yield fact("gpu_memory_stayed_free", text, where, sql, evidence="absence")
