"""The last minute of a GPU at a quick pace: written when something happens to it, else never."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.collector import Row
from trainwreck_agent.nvml import wire
from trainwreck_agent.nvml.burst import Burst, Ring
from trainwreck_agent.nvml.library import DeviceGone
from trainwreck_agent.tables.events import KERNEL_EVENT
from trainwreck_agent.tables.gpu import GPU_EVENT

from .conftest import Recorder, row_of


class FakeGpu:
    """A device that answers what a test says."""

    def __init__(self, index: int) -> None:
        self.identity = SimpleNamespace(uuid=f"GPU-{index}")
        self.status = "ok"
        self.now: Any = (300.0, 1980, 50, 0)

    def quick(self) -> Any:
        if isinstance(self.now, DeviceGone):
            raise self.now
        return self.now

    def go(self, status: str, now_s: float) -> None:
        self.status = status


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two devices; and wall time that grows with each look, as fast as a test runs."""
    now = iter(range(1_700_000_000_000_000_000, 1_800_000_000_000_000_000, 100_000_000))
    monkeypatch.setattr("trainwreck_agent.nvml.burst.time.time_ns", lambda: next(now))
    return [FakeGpu(0), FakeGpu(1)]


def run(burst: Burst, gpus: Any, start_s: float, seconds: float) -> list[Row]:
    found: list[Row] = []
    decoder = wire.Decoder()
    steps = round(seconds / burst.every_s)
    for n in range(steps):
        now_s = start_s + n * burst.every_s
        burst.sample(gpus, now_s)
        for message in decoder.feed(burst.lines(gpus, now_s)):
            assert isinstance(message, list)
            found += map(row_of, message)
    return found


def test_nothing_is_written_while_nothing_happens(gpus: Any) -> None:
    assert run(Burst(10), gpus, 0.0, 100.0) == []


def test_a_brake_writes_the_minute_before_and_the_seconds_after(gpus: Any) -> None:
    burst = Burst(10)
    run(burst, gpus, 0.0, 100.0)
    gpus[1].now = (120.5, 345, 50, 0x80)
    rows = run(burst, gpus, 100.0, 10.0)
    assert {row.values[0] for row in rows} == {"GPU-1"}
    before = [row for row in rows if row.values[1] == "clock event: power brake"]
    after = [row for row in rows if row.values[1] == "clock event: power brake (after it)"]
    assert len(before) == 600
    assert before[0].values[2:] == (300.0, 1980, 50, 0)
    assert before[-1].values[2:] == (120.5, 345, 50, 0x80)
    assert len(after) == 50
    times = [row.ts_us for row in rows]
    assert times == sorted(set(times)), "no sample is written twice"


@pytest.mark.parametrize("reasons", [0x1, 0x4, 0x100])
def test_a_power_cap_is_an_ordinary_day(gpus: Any, reasons: int) -> None:
    burst = Burst(10)
    run(burst, gpus, 0.0, 1.0)
    gpus[0].now = (700.0, 1500, 60, reasons)
    assert run(burst, gpus, 1.0, 10.0) == []


def test_one_that_throttles_all_day_is_written_now_and_then(gpus: Any) -> None:
    burst = Burst(10)
    starts = 0
    for n in range(100):
        gpus[0].now = (700.0, 1500, 88, 0x20 if n % 2 else 0)
        rows = run(burst, gpus, float(n), 1.0)
        starts += any(row.values[1] == "clock event: SW thermal" for row in rows)
    assert starts == 1


def test_a_device_that_goes_is_written(gpus: Any) -> None:
    burst = Burst(10)
    run(burst, gpus, 0.0, 2.0)
    gpus[0].now = DeviceGone("lost")
    rows = run(burst, gpus, 2.0, 20.0)
    assert {row.values[1] for row in rows} == {"device lost"}
    assert len(rows) == 20


def test_an_xid_is_of_one_device(gpus: Any) -> None:
    burst = Burst(10)
    run(burst, gpus, 0.0, 1.0)
    burst.events(gpus, [(GPU_EVENT, ["GPU-1", "xid", 79, None, None])], 0, 1.0)
    rows = run(burst, gpus, 1.0, 1.0)
    assert {(row.values[0], row.values[1]) for row in rows} == {("GPU-1", "xid 79")}


def test_the_recorder_may_want_it_and_is_heard_once(gpus: Any) -> None:
    burst = Burst(10)
    run(burst, gpus, 0.0, 1.0)
    burst.events(gpus, [], 0b01, 1.0)
    rows = run(burst, gpus, 1.0, 10.0)
    burst.events(gpus, [], 0b01, 11.0)
    assert {row.values[0] for row in rows} == {"GPU-0"}
    assert run(burst, gpus, 11.0, 10.0) == []


NUMBER = st.one_of(st.none(), st.integers(0, 5000))


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), max_size=30), st.integers(1, 20))
def test_a_ring_gives_back_its_newest_samples(samples: list[Any], size: int) -> None:
    ring = Ring(size)
    nan = float("nan")
    for n, sample in enumerate(samples, 1):
        watts, mhz, celsius = (nan if v is None else v for v in sample[:3])
        ring.add(n, watts, mhz, celsius, -1 if sample[3] is None else sample[3])
    got = list(ring.take())
    assert [values for _, values in got] == samples[-size:] if samples else not got
    assert list(ring.take()) == []


def test_a_real_child_writes_it_for_an_xid_that_the_kernel_told(
    start: Callable[..., Recorder],
) -> None:
    recorder = start(interval_s=0.3, burst_hz=10)
    recorder.until(lambda: len(recorder.table("gpu")) >= 24)
    assert recorder.table("gpu_burst") == []
    pci = recorder.gpus()[2]["pci"]
    text = f"NVRM: Xid (PCI:{pci[:10]}): 79, pid=1, GPU has fallen off the bus."
    line = Row(KERNEL_EVENT, ("boot", 1, 3, 0, 5, text))
    recorder.worker.observe([line], time.monotonic())
    recorder.until(lambda: recorder.table("gpu_burst"))
    rows = recorder.table("gpu_burst")
    assert {row["uuid"] for row in rows} == {recorder.gpus()[2]["uuid"]}
    assert rows[0]["power_instant_w"] == 301.5
    assert rows[0]["sm_clock_mhz"] == recorder.gpus()[2]["sm_clock_mhz"]
