"""Facts from the kernel's lines that the recorder kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from trainwreck_analyzer import kernel
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import trace_rows
from trainwreck_analyzer.telemetry.recording import Recording, literal

SIGNALS_OF_KIND = {
    "cgroup_oom_kill": (9,),
    "oom_kill": (9,),
    "segfault": (11, 7),
    "trap": (4, 5, 7, 8, 11),
}
"""Kinds that tell of the death of one process, and the signals that ended it."""
READS = {"kernel_event": {"boot_id", "seq", "text"}}
_CONTEXT = frozenset({"oom_invoked", "oom_detail"})
_TELLING = "Killed process"
"""Of the two lines of an OOM kill this one names victim and size in words."""
_COALESCE = timedelta(seconds=5)


def find(recording: Recording) -> Iterator[Fact]:
    """Yield what each known line means; repeats within 5 s are one fact with a count.

    Left out: deaths of processes that are not of the jobs asked about.
    """
    sql = (
        "SELECT ts, host, boot_id, seq, text FROM kernel_event"
        f" WHERE {recording.during} AND text IS NOT NULL ORDER BY ts, seq"
    )
    newest: dict[tuple[object, ...], Fact] = {}
    found: list[Fact] = []
    counts: dict[int, int] = {}
    for row in recording.rows(sql):
        decoded = kernel.decode(row["text"])
        if decoded is None:
            continue
        pid = decoded.fields.get("pid", "")
        signals = SIGNALS_OF_KIND.get(decoded.kind, (9,) if decoded.kind in _CONTEXT else ())
        number = int(pid) if pid.isdigit() else None
        if signals and not recording.may_be_ours(row["host"], number, signals, row["ts"]):
            continue
        component = recording.component_of(decoded, row["host"])
        one = Fact(
            kind=decoded.kind,
            text=row["text"],
            evidence="kernel",
            time=row["ts"],
            sql=(
                "SELECT ts, host, seq, text FROM kernel_event"
                f" WHERE boot_id = {literal(row['boot_id'])} AND seq = {row['seq']}"
            ),
            component=component,
            fields={**decoded.fields, "severity": decoded.severity, "seq": str(row["seq"])},
        )
        key = (decoded.kind, component, pid)
        before = newest.get(key)
        if before is not None and row["ts"] - (before.time or row["ts"]) <= _COALESCE:
            repeats = counts.pop(id(before), 1) + 1
            if _TELLING in one.text and _TELLING not in before.text:
                told = replace(one, time=before.time, fields={**before.fields, **one.fields})
                found[found.index(before)] = newest[key] = before = told
            counts[id(before)] = repeats
            continue
        newest[key] = one
        found.append(one)
    yield from trace_rows.find(recording, found)
    for one in found:
        count = counts.get(id(one))
        yield replace(one, fields={**one.fields, "repeats": str(count)}) if count else one
