"""Facts about how training processes ended."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, job_of, literal, same

KIND_OF_SIGNAL = {
    signal.SIGKILL: "process_killed",
    signal.SIGSEGV: "process_segfault",
    signal.SIGBUS: "process_bus_error",
    signal.SIGABRT: "process_aborted",
    signal.SIGTERM: "process_terminated",
    signal.SIGINT: "process_interrupted",
    signal.SIGFPE: "process_arithmetic_fault",
    signal.SIGILL: "process_illegal_instruction",
}


def find(recording: Recording) -> Iterator[Fact]:
    """Yield a fact for each bad end, in the order in which the kernel told them."""
    seen: Counter[object] = Counter()
    for row in recording.bad_ends:
        seen[job_of(row)] += 1
        several = sum(job_of(other) == job_of(row) for other in recording.bad_ends) > 1
        first = " first of its job" if several and seen[job_of(row)] == 1 else ""
        text = f"{_who(row)} ended{first}: {_how(row)}"
        order = {**row, "order_in_job": seen[job_of(row)]}
        kind, counter = kind_of(row), recording.no_oom_kill(row["host"], row["ts"])
        if kind == "process_killed" and counter is not None:
            kind = "process_killed_without_oom"
            text += f"; no OOM kill: the kernel's counter stayed at {counter[0]['high']}"
        yield fact(kind, text, order, _sql(recording, row))
    unclear = [
        r for r in recording.ends if r["signal"] is None and r["exit_code"] is None and not r["job"]
    ]
    for row in unclear:
        text = f"{_who(row)} was gone from one look to the next; nobody told how it ended"
        yield fact("process_gone", text, row, _sql(recording, row))
    yield from _clean(recording)


def kind_of(row: Row) -> str:
    """The kind of fact that a bad end is."""
    if row["signal"]:
        return KIND_OF_SIGNAL.get(row["signal"], "process_signalled")
    return "process_failed"


def _who(row: Row) -> str:
    rank = "" if row["rank"] is None else f"rank {row['rank']}, "
    kin = "" if row["role"] == "training" else ", a child of a training process"
    return f"{rank}pid {row['pid']} ({row['name'] or 'name not seen'}{kin})"


def _how(row: Row) -> str:
    if not row["signal"]:
        return f"exit code {row['exit_code']}"
    try:
        name = f" ({signal.Signals(row['signal']).name})"
    except ValueError:  # a real-time signal
        name = ""
    rss_bytes = row["last_rss_bytes"]
    seen = f", {rss_bytes / 2**20:.0f} MiB resident when last seen" if rss_bytes else ""
    return f"signal {row['signal']}{name}{seen}"


def _sql(recording: Recording, row: Row) -> str:
    return (
        "SELECT ts, host, pid, name, rank, exit_code, signal, source, last_rss_bytes, cgroup"
        f" FROM process_exit WHERE host = {literal(row['host'])} AND pid = {row['pid']}"
        f" AND {same('signal', row['signal'])} AND {recording.during}"
    )


def _clean(recording: Recording) -> Iterator[Fact]:
    """Speaks against an incident: every rank that was seen to end ended well."""
    ranks = [row for row in recording.ends if row["rank"] is not None]
    if not ranks or recording.bad_ends or any(row["exit_code"] is None for row in ranks):
        return
    sql = (
        "SELECT ts, host, pid, rank, exit_code FROM process_exit WHERE rank IS NOT NULL"
        f" AND exit_code = 0 AND {recording.during} ORDER BY ts"
    )
    text = f"all {len(ranks)} ranks that ended had exit code 0"
    yield fact("ranks_ended_well", text, {"ts": ranks[-1]["ts"]}, sql, evidence="absence")
