"""Facts that something did not happen, where the recorder would have seen it."""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, fact

READS = {"gpu": {"uuid", "ecc_uncorrected_count", "status"}}


def find(recording: Recording) -> Iterator[Fact]:
    """Yield what speaks against causes that leave traces."""
    yield from _no_oom_kill(recording)
    yield from _gpus_clean(recording)


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
        if row["bad"] or row["errors"] or row["without_ecc"]:
            continue
        text = (
            f"the {row['gpus']} GPUs of {row['host']} counted no uncorrected memory error and"
            " answered every time"
        )
        told = {"ts": row["ts"], "host": row["host"], "gpus": row["gpus"]}
        yield fact("gpu_counters_clean", text, told, sql, evidence="absence")
