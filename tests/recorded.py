"""A recording written row by row, as the recorder would, and what is found in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trainwreck_agent import store
from trainwreck_agent.collector import Row, Value
from trainwreck_agent.journal import Journal, encode
from trainwreck_agent.layout import Layout
from trainwreck_agent.schema import tables
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import Window, gather
from trainwreck_analyzer.verdict import Incident

START = datetime(2026, 11, 24, 9, 0, 0, tzinfo=UTC)


class Recorded:
    """A data directory written row by row, and the facts of its first ten minutes."""

    def __init__(self, root: Path, prepared: Path) -> None:
        shutil.copytree(prepared, root)
        self.layout = Layout(root)
        self.journal = Journal(self.layout)
        self._lines: list[str] = []

    def add(self, table: str, at_s: float, **cells: Value) -> None:
        declared = tables()[table]
        values = tuple(cells.pop(column.name, None) for column in declared.columns)
        assert not cells, f"{table} has no columns {sorted(cells)}"
        ts_us = int((START + timedelta(seconds=at_s)).timestamp() * 1e6)
        self._lines.append(encode(Row(declared, values), ts_us))

    def write(self) -> Path:
        """The data directory, with everything in it."""
        self.journal.append(self._lines)
        self._lines.clear()
        return self.layout.root

    def end(self, at_s: float, pid: int, **cells: Value) -> None:
        cells = {"role": "training", "rank": pid % 10, "job": "a", "name": "python",
                 "source": "connector", **cells}  # fmt: skip
        self.add("process_exit", at_s, pid=pid, parent_pid=1, **cells)

    def counter(self, *values: int | None) -> None:
        for at_s, value in enumerate(values):
            self.add("vmstat", at_s, oom_kill_count=value)

    def facts(self, pids: frozenset[int] = frozenset()) -> dict[str, list[Fact]]:
        connection = store.connect([self.write()])
        found: dict[str, list[Fact]] = {}
        for fact in gather(connection, Window(START, START + timedelta(minutes=10), pids)):
            assert fact.sql is not None
            assert connection.execute(fact.sql).fetchall(), f"{fact.kind} claims rows: {fact.sql}"
            found.setdefault(fact.kind, []).append(fact)
        return found

    def named(self, host: str) -> Recorded:
        """The same, as if another host had written it."""
        meta = self.layout.root / "meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"host": host}))
        return self

    def incidents(self, *lines: str, more: Sequence[Path] = ()) -> tuple[Incident, ...]:
        """What is diagnosed from it and from a log with these lines; ``5 text`` is at second 5.

        ``more``: data directories of other hosts.
        """
        log = self.layout.root.parent / "train.log"
        stamped = []
        for line in lines:
            at_s, _, words = line.partition(" ")
            when = START + timedelta(seconds=float(at_s))
            stamped.append(f"{when:%Y-%m-%dT%H:%M:%S.%fZ} {words}")
        log.write_text("\n".join(stamped) + "\n")
        return diagnose([log] if lines else [], [self.write(), *more]).incidents
