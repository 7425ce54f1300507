"""A compiled fake of the driver's library, and a recorder in small that reads the worker."""

from __future__ import annotations

import importlib.util
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trainwreck_agent.collector import Row, Value
from trainwreck_agent.journal import unescape
from trainwreck_agent.nvml import NvmlWorker
from trainwreck_agent.schema import tables

GIVE_UP_S = 60.0
"""Nothing here takes so long; a test that waits longer has failed."""


def _load_fake() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "trainwreck_fake_nvml", Path(__file__).with_name("fake.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_fake = _load_fake()


TABLES = tables()


def row_of(line: Row | str) -> Row:
    """The row in a line of the journal, its cells of the types of their columns."""
    if isinstance(line, Row):
        return line
    name, ts_us, *cells = line.removesuffix("\t$\n").split("\t")
    columns = TABLES[name].columns
    values = tuple(_value(c.type, cell) for c, cell in zip(columns, cells, strict=True))
    return Row(TABLES[name], values, int(ts_us))


def _value(kind: str, cell: str) -> Value:
    if not cell:
        return None
    if kind == "BOOLEAN":
        return {"true": True, "false": False}[cell]
    return {"BIGINT": int, "DOUBLE": float}.get(kind, unescape)(cell)


class Recorder:
    """Reads a worker as the daemon does, by the real clock but where a test says ``later``."""

    def __init__(self, worker: NvmlWorker, fake: Any) -> None:
        self.worker = worker
        self.fake = fake
        self.rows: list[Row] = []
        self._ahead_s = 0.0

    def check(self, ahead_s: float = 0.0) -> None:
        self.rows += map(row_of, self.worker.check(time.monotonic() + ahead_s))

    def later(self, seconds: float) -> None:
        """One look at a time that is later than any before it by so much."""
        self._ahead_s += seconds
        self.check(self._ahead_s)

    def revive(self, seconds: float = 1.0) -> None:
        """Let the back-off pass until there is a child again."""
        assert self.worker.pid is None
        self.later(seconds)
        assert self.worker.pid is not None

    def until(self, true: Callable[[], object]) -> None:
        """Tick until ``true()``; woken by rows."""
        give_up_s = time.monotonic() + GIVE_UP_S
        while not true():
            assert time.monotonic() < give_up_s, self.health()
            select.select([self.worker.fileno()], [], [], 0.02)
            self.check()

    def table(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table so far, as dicts."""
        return [
            dict(zip([c.name for c in row.table.columns], row.values, strict=True))
            for row in self.rows
            if row.table.name == name
        ]

    def health(self, *statuses: str) -> list[tuple[str, str]]:
        """Status and detail of the rows of collector_health, those of ``statuses`` or all."""
        return [
            (row["status"], row["detail"] or "")
            for row in self.table("collector_health")
            if not statuses or row["status"] in statuses
        ]

    def gpus(self) -> list[dict[str, Any]]:
        """The last row of each GPU, by index."""
        found = {row["gpu_index"]: row for row in self.table("gpu")}
        return [found[index] for index in sorted(found)]

    def fresh(self, count: int = 8) -> list[dict[str, Any]]:
        """The rows of the next two whole ticks' end: what was in the pipe before is forgotten."""
        self.check()
        self.rows = [row for row in self.rows if row.table.name != "gpu"]
        self.until(lambda: len(self.table("gpu")) >= 3 * count)
        return self.gpus()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if _fake.compiler() is None:
        pytest.skip("no C compiler (cc): the fake NVML library cannot be built")
    return _fake.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    control = _fake.Fake(tmp_path / "control")
    monkeypatch.setenv(_fake.ENVIRONMENT, str(control.path))
    yield control
    control.set("hang_device", -1)
    control.set("hang_init", 0)
    control.close()


@pytest.fixture
def start(library: Path, fake: Any) -> Iterator[Callable[..., Recorder]]:
    """Starts a recorder of the fake; what it left running is ended and reaped afterwards."""
    recorders: list[Recorder] = []

    def begin(
        path: Path | None = None,
        interval_s: float = 0.05,
        deadline_s: float = 2.0,
        burst_hz: float = 0.0,
    ) -> Recorder:
        name = str(path or library)
        worker = NvmlWorker(name, interval_s, deadline_s=deadline_s, burst_hz=burst_hz)
        recorder = Recorder(worker, fake)
        recorders.append(recorder)
        recorder.worker.start()
        return recorder

    yield begin
    fake.set("hang_device", -1)
    fake.set("hang_init", 0)
    for recorder in recorders:
        recorder.worker.stop()
        recorder.until(lambda worker=recorder.worker: not worker.stuck_pids)
