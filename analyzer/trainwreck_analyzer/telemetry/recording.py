"""Asks the recorder's views for the rows of a window; an answer carries its own query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import duckdb

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel import Decoded
from trainwreck_analyzer.telemetry.window import Window
from trainwreck_analyzer.verdict import Component, EvidenceKind

Row = dict[str, Any]

_NEAR_S = 10
"""Kernel line and end of the process are told by two sources, each with its own delay."""
STATES = frozenset({"service", "software", "setting", "process_exit"})
"""Views of which earlier rows matter too: they have a row on change only, or few."""
READS = {
    "process_exit": {
        "pid", "parent_pid", "name", "role", "rank", "world_size", "job", "exit_code", "signal",
        "source", "last_rss_bytes", "cgroup",
    },
    "process": {"pid", "rank", "job"},
    "vmstat": {"oom_kill_count"},
}  # fmt: skip
"""Columns by view that are asked for here; likewise in each module that finds facts."""
_COMPONENT_OF_LABEL = {"uuid": "gpu_uuid", "pci": "pci", "rank": "rank", "host": "host"}


def literal(value: object) -> str:
    """A value as it stands in SQL.

    Raises:
        TypeError: Not a text, number, truth value, aware time or None.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat(' ')}'"
    raise TypeError(f"no SQL literal for {type(value).__name__}")


def same(column: str, value: object) -> str:
    """The condition that a column has a value, None included."""
    if value is None:
        return f"{column} IS NULL"
    return f"{column} = {literal(value)}"


class Recording:
    """The rows of a window in a connection that holds the views."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        window: Window,
        empty: frozenset[str] = frozenset(),
    ) -> None:
        self._connection = connection
        self.window = window
        self.empty = empty
        """Views that are known to have no row in the window."""
        self._oom_counters: dict[str, tuple[Row, str] | None] = {}

    @cached_property
    def during(self) -> str:
        """The condition on ``ts``."""
        return f"ts BETWEEN {literal(self.window.start)} AND {literal(self.window.end)}"

    def rows(self, sql: str) -> list[Row]:
        """What a query gives."""
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @cached_property
    def _all_ends(self) -> list[Row]:
        return self.rows(
            "SELECT ts, host, pid, parent_pid, name, role, rank, world_size, job, exit_code,"
            " signal, source, last_rss_bytes, cgroup FROM process_exit"
            f" WHERE {self.during} AND role IN ('training', 'child') ORDER BY ts, pid"
        )

    @cached_property
    def _our_jobs(self) -> set[tuple[object, ...]]:
        """The jobs that the window's logs are of, as far as they tell; empty: any job."""
        ends, window = self._all_ends, self.window
        named = {job_of(row) for row in ends if row["pid"] in window.pids}
        if not named and window.job is not None:
            named = {job_of(row) for row in ends if row["job"] == window.job}
        if named or not window.finished:
            return named
        # A job of several hosts has one name: it has ended badly if it did on one of them.
        badly = {_name_of(row) for row in ends if row["signal"] or row["exit_code"]}
        return {job_of(row) for row in ends if _name_of(row) not in badly}

    @cached_property
    def ends(self) -> list[Row]:
        """Ends of training processes and their children, first first; see ``Window.pids``."""
        ours = self._our_jobs
        return [row for row in self._all_ends if job_of(row) in ours] if ours else self._all_ends

    @cached_property
    def of_job(self) -> str:
        """The condition on ``job`` that a row of ``process`` is of the jobs asked about."""
        jobs = {row["job"] for row in self.ends if row["job"] is not None}
        if not self._our_jobs or not jobs:
            return "true"
        return f"job IN ({', '.join(literal(job) for job in sorted(jobs))})"

    @cached_property
    def our_hosts(self) -> frozenset[str]:
        """The hosts that the jobs asked about ran on; empty: any host."""
        jobs = self._our_jobs
        names = {job for _, job, _ in jobs if job is not None}
        found = {str(host) for host, _, _ in jobs}
        if names and "process" not in self.empty:
            listed = ", ".join(literal(name) for name in sorted(names, key=str))
            rows = self.rows(
                f"SELECT DISTINCT host FROM process WHERE {self.during} AND job IN ({listed})"
            )
            found |= {row["host"] for row in rows}
        return frozenset(found)

    @cached_property
    def bad_ends(self) -> list[Row]:
        """The ends with a signal or an exit code other than 0."""
        return [row for row in self.ends if row["signal"] or row["exit_code"]]

    def may_be_ours(
        self, host: str, pid: int | None, signals: Collection[int], at: datetime
    ) -> bool:
        """Whether the death that a kernel line tells of can be one of the processes asked about.

        True where no end was recorded on the host, so that nothing is known. A pid need not match
        (a container has numbers of its own) if an end with such a signal is near in time.
        """
        here = [row for row in self.ends if row["host"] == host]
        if not here or any(row["source"] != "connector" for row in here):
            return True
        near = timedelta(seconds=_NEAR_S)
        return any(row["pid"] == pid for row in here) or any(
            row["signal"] in signals and abs(row["ts"] - at) <= near for row in here
        )

    def oom_counter(self, host: str) -> tuple[Row, str] | None:
        """What the host's counter of OOM kills did in the window, with its query; None: unread."""
        if host not in self._oom_counters:
            self._oom_counters[host] = self._oom_counter(host)
        return self._oom_counters[host]

    def _oom_counter(self, host: str) -> tuple[Row, str] | None:
        sql = (
            "SELECT host, min(ts) AS ts, max(ts) AS last, min(oom_kill_count) AS low,"
            " max(oom_kill_count) AS high, count(*) AS samples FROM vmstat"
            f" WHERE host = {literal(host)} AND oom_kill_count IS NOT NULL AND {self.during}"
            " GROUP BY host"
        )
        found = self.rows(sql)
        return (found[0], sql) if found else None

    def no_oom_kill(self, host: str, at: datetime) -> tuple[Row, str] | None:
        """The same where the counter was read before and after a moment and stood still."""
        found = self.oom_counter(host)
        if found is None or found[0]["low"] != found[0]["high"]:
            return None
        return found if found[0]["ts"] < at < found[0]["last"] else None

    def component_of(self, decoded: Decoded, host: str) -> Component:
        """What a kernel's line names on a host, with the rank of the process it names."""
        component = replace(decoded.component, host=host)
        pid = decoded.fields.get("pid", "")
        rank = self.rank_of_pid.get((host, int(pid))) if pid.isdigit() else None
        return component if rank is None else replace(component, rank=rank)

    @cached_property
    def rank_of_pid(self) -> dict[tuple[str, int], int]:
        """Rank of each training process that was seen, by host and pid."""
        sql = (
            f"SELECT DISTINCT host, pid, rank FROM process WHERE {self.during}"
            f" AND {self.of_job} AND rank IS NOT NULL"
        )
        known = {(row["host"], row["pid"]): int(row["rank"]) for row in self.rows(sql)}
        ended = {(r["host"], r["pid"]): int(r["rank"]) for r in self.ends if r["rank"] is not None}
        return known | ended


def job_of(row: Row) -> tuple[object, ...]:
    """What tells the job of a process from others: its identity, else the parent."""
    return row["host"], row["job"], row["parent_pid"] if row["job"] is None else None


def _name_of(row: Row) -> object:
    return job_of(row) if row["job"] is None else row["job"]


def fact(
    kind: str,
    text: str,
    row: Row,
    sql: str,
    *,
    evidence: EvidenceKind = "telemetry",
    value: float | None = None,
    device: str | None = None,
) -> Fact:
    """A fact out of a row: its ``ts`` and labels become time, component and fields."""
    named: dict[str, Any] = {
        _COMPONENT_OF_LABEL[label]: row[label]
        for label in _COMPONENT_OF_LABEL
        if row.get(label) is not None
    }
    return Fact(
        kind=kind,
        text=text,
        evidence=evidence,
        time=row.get("ts"),
        sql=sql,
        component=Component(**named, device=device),
        value=value,
        fields={k: str(v) for k, v in row.items() if v is not None and k not in ("ts", "last")},
    )


def in_turn(parts: Sequence[Iterator[Fact]]) -> list[Fact]:
    """All facts, by time; those without one last."""
    found = [one for part in parts for one in part]
    far = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda one: one.time or far)
