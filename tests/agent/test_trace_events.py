"""Errors that drivers report as trace events: read from a pipe, and from this kernel itself."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent import trace_events
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.trace_events import Event, TraceEvents, parse

TRACING = Path("/sys/kernel/tracing")
XID = (
    b"     irq/77-nvidia-912     [003] .....   412.113042: nvidia_dev_xid: Xid (PCI:0000:1B:00.0):"
    b" 79, GPU has fallen off the bus.\n"
)
AER = (
    b"          <idle>-0       [001] d.h1.   500.000001: aer_event: 0000:3b:00.0 PCIe Bus Error:"
    b" severity=Corrected, Bad TLP\n"
)


class FakeTracefs:
    """A folder such as the kernel shows it, with a pipe that a test writes into."""

    def __init__(self, root: Path, *events: str) -> None:
        self.root = root
        self.top = root / "sys/kernel/tracing"
        self.instance = self.top / "instances" / f"trainwreck-{os.getpid()}"
        (self.top / "instances").mkdir(parents=True)
        self.instance.mkdir()
        for name in ("buffer_size_kb", "trace_clock", "buffer_percent"):
            (self.instance / name).touch()
        os.mkfifo(self.instance / "trace_pipe")
        for event in events:
            self.add(event)

    def add(self, event: str) -> None:
        for folder in (self.top, self.instance):
            enable = folder / "events" / event / "enable"
            enable.parent.mkdir(parents=True)
            enable.write_text("0")

    def enabled(self, event: str) -> bool:
        return (self.instance / "events" / event / "enable").read_text() == "1"


@pytest.fixture
def tracefs(tmp_path: Path) -> FakeTracefs:
    return FakeTracefs(tmp_path, "nvidia/nvidia_dev_xid", "ras/aer_event")


@pytest.fixture
def source(tracefs: FakeTracefs) -> Iterator[TraceEvents]:
    made = TraceEvents(Host(tracefs.root))
    yield made
    made.stop()


def test_an_xid_comes_with_its_fields_apart(tracefs: FakeTracefs, source: TraceEvents) -> None:
    assert (tracefs.instance / "trace_clock").read_text() == "mono"
    assert tracefs.enabled("nvidia/nvidia_dev_xid")
    assert source.read() == []
    with (tracefs.instance / "trace_pipe").open("wb", buffering=0) as pipe:
        pipe.write(XID + AER[:40])
        assert select.select([source.fileno()], [], [], 10)[0]
        (row,) = source.read()
        pipe.write(AER[40:])
        (other,) = source.read()
    assert row.values == (
        *("nvidia:nvidia_dev_xid", 412_113_042, 3, 912, "0000:1b:00.0", 79),
        "Xid (PCI:0000:1B:00.0): 79, GPU has fallen off the bus.",
    )
    assert other.values[0] == "ras:aer_event"
    assert other.values[4:6] == ("0000:3b:00.0", None)


def test_lost_events_are_told(tracefs: FakeTracefs, source: TraceEvents) -> None:
    with (tracefs.instance / "trace_pipe").open("wb", buffering=0) as pipe:
        pipe.write(b"CPU:3 [LOST 12 EVENTS]\n" + XID)
        health, event = source.read()
    assert health.values[:6] == (
        *("trace_events", "gap", "12 events overran the buffer before they were read"),
        *(None, None, 12),
    )
    assert event.values[5] == 79


def test_a_driver_that_is_loaded_later_is_asked_too(
    tracefs: FakeTracefs, source: TraceEvents
) -> None:
    absent = {str(row.values[0]): row.values[1] for row in source.check(1.0)}
    assert absent["trace_events/nvswitch_dev_sxid"] == "absent"
    assert "trace_events/nvidia_dev_xid" not in absent
    tracefs.add("nvswitch/nvswitch_dev_sxid")
    assert source.check(2.0) == []
    (row,) = source.check(100.0)
    assert row.values[:3] == ("trace_events/nvswitch_dev_sxid", "ok", "is there now")
    assert tracefs.enabled("nvswitch/nvswitch_dev_sxid")


def test_a_machine_without_tracefs_or_without_the_events_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="tracefs: not mounted"):
        TraceEvents(Host(tmp_path))
    (tmp_path / "sys/kernel/tracing/instances").mkdir(parents=True)
    with pytest.raises(Unavailable, match="none of nvidia:nvidia_dev_xid"):
        TraceEvents(Host(tmp_path))


@pytest.fixture
def mounted() -> Iterator[Path]:
    """The kernel's own tracefs, mounted for the test where it was not."""
    event = TRACING / "events/task/task_rename"
    if os.geteuid() != 0:
        pytest.skip("tracefs needs root")
    before = event.exists()
    if not before:
        subprocess.run(["mount", "-t", "tracefs", "nodev", TRACING], check=False)
    if not event.exists():
        pytest.skip(f"{event}: tracefs cannot be mounted here, or the kernel has no such event")
    yield TRACING
    if not before:
        subprocess.run(["umount", TRACING], check=True)


def test_a_real_event_of_this_kernel(mounted: Path) -> None:
    """A harmless one, through the same reader: a process that calls exec is renamed."""
    stale = mounted / "instances/trainwreck-999999999"
    stale.mkdir()
    source = TraceEvents(Host(), ("task/task_rename",))
    instance = mounted / f"instances/trainwreck-{os.getpid()}"
    began_us = time.time_ns() // 1000
    try:
        assert not stale.exists()
        assert (instance / "events/task/task_rename/enable").read_text().strip() == "1"
        with subprocess.Popen(["true"]) as process:
            process.wait()
        rows = []
        while not any("newcomm=true" in str(row.values[6]) for row in rows):
            assert select.select([source.fileno()], [], [], 30)[0]
            rows += source.read()
        (row,) = [r for r in rows if f"pid={process.pid} " in str(r.values[6])]
        assert row.values[0] == "task:task_rename"
        assert row.values[3] == process.pid
        assert row.ts_us is not None
        assert began_us <= row.ts_us <= time.time_ns() // 1000
    finally:
        source.stop()
    assert not instance.exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (XID.rstrip(), 79),
        (b"-31033   [001] .....  9551.840430: nvidia_dev_xid: Xid (PCI:0000:01:00): 8, x", 8),
        (b"a-b c-7  [001] 12.000001: nvswitch_dev_sxid: SXid (PCI:0000:c1:00.0): 20034, x", 20034),
        (b"a-7 (    7) [001] d..2.  12.000001: nvidia_dev_xid: Xid (PCI:0000:01:00): 31, x", 31),
    ],
)
def test_forms_of_a_line(line: bytes, expected: int) -> None:
    event = parse(line)
    assert event is not None
    assert event.subject[1] == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_none(data: bytes) -> None:
    event = parse(data)
    assert event is None or isinstance(event, Event)
    parse(b"a-1 [001] ..... 1.000000: nvidia_dev_xid: " + data)
    assert trace_events._LOST.match(data) is None or data.startswith(b"CPU:")
