"""What can be recorded on this machine, and what has been: the facts behind ``trainwreck doctor``.

Every collector is really tried, in a child with a deadline, so a driver that hangs is found here
and not believed in.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from trainwreck_agent import signals, stacks, store
from trainwreck_agent.collector import Row, find
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.layout import DataDirectoryError, Layout
from trainwreck_agent.schema import tables
from trainwreck_agent.signals import Outcome
from trainwreck_agent.worker import Worker

PROBE_S = 8.0
DEADLINE_S = 3.0
WHOLE_MAX_ROWS = 200_000
"""A view with more rows is looked at only for the hour before its last row."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One source of this machine."""

    name: str
    status: str
    """ok, absent, denied, error, slow or hang."""
    detail: str | None
    tables: tuple[str, ...]
    read_us: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One view of the data directory."""

    name: str
    rows: int
    last: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole look. ``data_problem``: why the data directory could not be read."""

    data: str
    root: bool
    recorder_pid: int | None = None
    recorder_cpu_percent: float | None = None
    recorder_pss_bytes: int | None = None
    data_bytes: int | None = None
    data_problem: str | None = None
    signals: tuple[Signal, ...] = ()
    catalogue: tuple[Outcome, ...] = ()
    """Every signal that can tell of a fault, and what becomes of it here."""
    recorded: tuple[Recorded, ...] = ()
    lost: tuple[str, ...] = field(default=())


def look(directory: Path, host_root: str = "/") -> Report:
    """Probe the machine, then read the data directory."""
    layout = Layout(directory)
    host = Host(host_root)
    report: dict[str, Any] = {
        "data": str(layout.root), "root": os.geteuid() == 0,
        "signals": tuple(sorted(_probe(host), key=lambda s: (s.status != "ok", s.name))),
    }  # fmt: skip
    try:
        layout.meta()
        report |= _directory(layout)
    except DataDirectoryError as error:
        report["data_problem"] = str(error)
    health = {signal.name: (signal.status, signal.detail) for signal in report["signals"]}
    if not host.live:
        elsewhere = ("absent", "not read from a recorded machine")
        health |= dict.fromkeys(signals.SOURCES, elsewhere)
    report["catalogue"] = tuple(signals.outcomes(health, report.pop("filled", None)))
    return Report(**report)


def to_json(report: Report) -> str:
    """The report as one JSON document; a signal's entry and what becomes of it are one object."""
    document = asdict(report)
    document["catalogue"] = [_flat(outcome) for outcome in report.catalogue]
    return json.dumps(document, indent=1)


def _flat(outcome: Outcome) -> dict[str, Any]:
    entry = asdict(outcome.entry)
    del entry["why"]  # is the detail where it counts
    return entry | {"status": outcome.status, "detail": outcome.detail}


def _probe(host: Host) -> list[Signal]:
    kinds = find()
    worker = Worker("probe", host, list(kinds.values()), list(kinds), DEADLINE_S)
    worker.start()
    health: dict[str, list[str]] = {}
    until_s = time.monotonic() + PROBE_S
    while not health.keys() >= kinds.keys() and time.monotonic() < until_s:
        if worker.fileno() >= 0:
            select.select([worker.fileno()], [], [], 0.2)
        for row in [*worker.read(), *worker.check(time.monotonic())]:
            cells = _health_cells(row)
            if cells and cells[0].split("/")[0] in kinds:  # a part of one: power/rapl
                health[cells[0]] = cells
    worker.stop()
    found = []
    for name in sorted(kinds.keys() | health.keys()):
        kind = kinds[name.split("/")[0]]
        cells = health.get(name, [name, "hang", f"no answer within {PROBE_S:g} s", "", "", "", ""])
        detail = cells[2].replace("\\\\", "\\") or None
        read_us = int(cells[6]) if cells[6].isdigit() else None
        names = tuple(t.name for t in kind.tables if t.name != "collector_health")
        found.append(Signal(name, cells[1], detail, names, read_us))
    return [*found, *_pushed(host)]


def _health_cells(row: Row | str) -> list[str] | None:
    if isinstance(row, Row):
        named = row.table.name == "collector_health"
        return ["" if v is None else str(v) for v in row.values] if named else None
    cells = row.rstrip("\n").split("\t")
    return cells[2:] if cells[0] == "collector_health" else None


def _pushed(host: Host) -> list[Signal]:
    """The sources that the kernel or a library pushes, tried one by one."""
    from trainwreck_agent.kernel_log import KernelLog
    from trainwreck_agent.process_exits import ProcessExits
    from trainwreck_agent.processes import ProcessTable
    from trainwreck_agent.trace_events import TraceEvents

    if not host.live:
        return []
    found = []
    for name, make, fills in (
        ("process_exits", lambda: ProcessExits(ProcessTable(host)), ("process_exit",)),
        ("kernel_log", lambda: KernelLog(host, "/dev/kmsg", "", "/dev/null"), ("kernel_event",)),
        ("trace_events", lambda: TraceEvents(host), ("kernel_trace_event",)),
    ):
        try:
            source = make()
            source.stop()
            parts = getattr(source, "absent", ())
            found += [Signal(part, status, why, fills) for part, status, why in parts]
            found.append(Signal(name, "ok", None, fills))
        except Unavailable as error:
            found.append(Signal(name, error.status, error.detail, fills))
    spy = stacks.py_spy()
    told = None if spy else "py-spy is not installed beside this program"
    found.append(Signal("stacks", "ok" if spy else "absent", told, ("stack",)))
    found.append(_nvml())
    return found


def _nvml() -> Signal:
    from trainwreck_agent.nvml import NvmlWorker

    worker = NvmlWorker(None, 1.0)
    fills = ("gpu", "gpu_process", "nvlink")
    worker.start()
    until_s = time.monotonic() + DEADLINE_S
    rows: list[Row | str] = []
    while time.monotonic() < until_s and not rows:
        if worker.fileno() >= 0:
            select.select([worker.fileno()], [], [], 0.2)
        rows = [*worker.read(), *worker.check(time.monotonic())]
    worker.stop()
    if any(isinstance(row, str) and row.startswith("gpu\t") for row in rows):
        return Signal("nvml", "ok", None, fills)
    for cells in map(_health_cells, rows):
        if cells is not None:
            return Signal("nvml", cells[1], cells[2], fills)
    return Signal("nvml", "hang", f"no answer within {DEADLINE_S:g} s", fills)


def _directory(layout: Layout) -> dict[str, Any]:
    pid = layout.locked_by()
    found: dict[str, Any] = {
        "recorder_pid": pid,
        "data_bytes": sum(p.stat().st_size for p in layout.root.rglob("*") if p.is_file()),
    }
    if pid:
        found["recorder_cpu_percent"], found["recorder_pss_bytes"] = _cost(pid)
    connection = store.connect([layout.root])
    recorded = []
    for table in tables().values():
        count, last = connection.execute(
            f"SELECT count(*), max(ts)::VARCHAR FROM {table.name}"
        ).fetchall()[0]
        recorded.append(Recorded(table.name, count, last))
    found["recorded"] = tuple(recorded)
    found["filled"] = frozenset(_filled(connection, recorded))
    found["lost"] = tuple(_lost(connection))
    return found


def _filled(connection: duckdb.DuckDBPyConnection, recorded: list[Recorded]) -> Iterator[str]:
    """Yield each column of the list of signals that holds a value; of long views lately."""
    wanted = {column for entry in signals.entries() for column in entry.columns}
    for view in recorded:
        names = [c for c in sorted(wanted) if c.split(".")[0] == view.name]
        if not view.rows or not names:
            continue
        counts = ", ".join(f"count({name.split('.')[1]})" for name in names)
        lately = (
            f" WHERE ts > TIMESTAMPTZ '{view.last}' - INTERVAL 1 HOUR"
            if view.rows > WHOLE_MAX_ROWS
            else ""
        )
        found = connection.execute(f"SELECT {counts} FROM {view.name}{lately}").fetchall()[0]
        yield from (name for name, count in zip(names, found, strict=True) if count)


def _lost(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT ts::VARCHAR, collector, detail FROM collector_health"
        " WHERE status IN ('lost', 'gap', 'hang', 'error', 'clock')"
        " ORDER BY collector_health.ts DESC LIMIT 20"
    ).fetchall()
    return [f"{ts} {name}: {detail}" for ts, name, detail in rows]


def _cost(pid: int) -> tuple[float | None, int | None]:
    """CPU share since its start, %, and PSS, bytes, of the recorder and its children."""
    import psutil

    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        busy_s = sum(sum(p.cpu_times()[:4]) for p in family[:1])
        age_s = time.time() - family[0].create_time()
        pss = sum(p.memory_full_info().pss for p in family)
    except psutil.Error:
        return None, None
    return round(100 * busy_s / max(age_s, 1.0), 3), pss
