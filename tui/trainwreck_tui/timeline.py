"""The telemetry around an incident, loaded for the screen: lanes with data, and marks of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainwreck_tui import lanes, queries
from trainwreck_tui.lane import Lane
from trainwreck_tui.widgets.braille import Series

if TYPE_CHECKING:
    import duckdb
    from trainwreck_analyzer.verdict import Incident

BEFORE = timedelta(minutes=10)
AFTER = timedelta(minutes=5)
SERIES_MAX = 8
"""Lines drawn in one lane; of more, those that move most."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: a kernel line, an exit, an alarm of the training log."""

    time: float
    """s since 1970 UTC."""
    kind: str
    """kernel, exit, alarm or silence."""
    severe: bool
    text: str


@dataclass(frozen=True, slots=True)
class LaneData:
    """One lane with what was measured."""

    lane: Lane
    series: tuple[Series, ...]
    hidden: int = 0
    """Lines that were left out, there being too many."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the timeline screen shows."""

    host: str
    start: float
    end: float
    crash: float | None
    lanes: tuple[LaneData, ...] = ()
    marks: tuple[Mark, ...] = ()
    absent: tuple[str, ...] = field(default=())
    """Sources that could not be recorded, with the reason."""


def load(
    data: Sequence[Path], incident: Incident | None, host: str | None = None
) -> Timeline | None:
    """The timeline around an incident, or over the newest quarter of an hour without one.

    None where there is no data. Raises ``StoreError`` where it cannot be used.
    """
    if not data:
        return None
    from trainwreck_agent import store

    connection = store.connect(data, described=False)
    extents = connection.execute(queries.EXTENT).fetchall()
    if not extents:
        return None
    wanted = host or (incident and incident.verdict.component.host)
    name, first, last = next((e for e in extents if e[0] == wanted), extents[0])
    crash = incident.start if incident else None
    anchor = crash or last
    start, end = (
        max(first, anchor - BEFORE),
        min(last, ((incident and incident.end) or anchor) + AFTER),
    )
    if end <= start:  # the incident is not in the data: show the data
        start, end, crash = max(first, last - BEFORE), last, None
    window = {"host": name, "start": start, "end": end}
    cause = incident.verdict.cause if incident else "unknown"
    domain = incident.verdict.domain if incident else "none"
    found = [_lane(connection, lane, window) for lane in lanes.ordered(cause, domain)]
    absent = connection.execute(queries.ABSENT, {"host": name}).fetchall()
    return Timeline(
        name, start.timestamp(), end.timestamp(), None if crash is None else crash.timestamp(),
        tuple(lane for lane in found if lane.series), tuple(_marks(connection, window)),
        tuple(f"{collector}: {detail or status}" for collector, status, detail in absent),
    )  # fmt: skip


def _lane(connection: duckdb.DuckDBPyConnection, lane: Lane, window: dict[str, Any]) -> LaneData:
    query = f"SELECT name, epoch(ts) AS t, value FROM ({lane.sql})"
    columns = connection.execute(query, window).fetchnumpy()
    read = np.ma.asarray(columns["value"], dtype=np.float64)
    told = ~np.ma.getmaskarray(read)  # NULL is 'not known' and makes a hole; NaN is a value
    names, times = np.asarray(columns["name"])[told], np.asarray(columns["t"])[told]
    values = read.data[told]
    series = []
    for name in sorted({str(n) for n in names}, key=_natural):
        chosen = np.asarray([str(n) == name for n in names])
        series.append(Series(name, times[chosen], values[chosen]))
    if len(series) <= SERIES_MAX:
        return LaneData(lane, tuple(series))
    moving = sorted(series, key=_movement, reverse=True)[:SERIES_MAX]
    kept = tuple(one for one in series if one in moving)
    return LaneData(lane, kept, len(series) - len(kept))


def _natural(name: str) -> tuple[str, int]:
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


def _movement(one: Series) -> float:
    finite = one.values[np.isfinite(one.values)]
    return float(finite.max() - finite.min()) if finite.size else 0.0


def _marks(connection: duckdb.DuckDBPyConnection, window: dict[str, Any]) -> list[Mark]:
    marks = [
        Mark(ts.timestamp(), "kernel", priority is not None and priority <= 3, text)
        for ts, priority, text in connection.execute(queries.KERNEL_EVENTS, window).fetchall()
    ]
    for ts, pid, name, rank, code, signal, _ in connection.execute(
        queries.PROCESS_EXITS, window
    ).fetchall():
        how = f"killed by signal {signal}" if signal else f"ended with code {code}"
        who = f"rank {rank}" if rank is not None else (name or "a process")
        marks.append(Mark(ts.timestamp(), "exit", bool(signal or code), f"{who} (pid {pid}) {how}"))
    for ts, kind, _, text in connection.execute(queries.ALARMS, window).fetchall():
        marks.append(Mark(ts.timestamp(), kind, kind == "alarm", text or kind))
    return sorted(marks, key=lambda mark: mark.time)


def moment(time: float) -> datetime:
    """A time of the timeline as aware UTC."""
    return datetime.fromtimestamp(time, UTC)
