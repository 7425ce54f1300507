"""Hardware errors that drivers report as trace events, each the moment it happens.

The kernel log has the same Xid as text and limits the rate of PCIe lines; NVML's queue of events
drops some in a burst. A trace event comes once for each error, with its fields apart.

An instance of our own is made below ``instances/``, so that nobody else's tracing is disturbed, and
removed at the end. Sources: https://docs.kernel.org/trace/ftrace.html, and for the events of the
NVIDIA driver ``nv-tracepoint.h`` in https://github.com/NVIDIA/open-gpu-kernel-modules

A line of ``trace_pipe``::

    irq/77-nvidia-912     [003] .....   412.113042: nvidia_dev_xid: Xid (PCI:0000:1b:00.0): 79, …
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass

from trainwreck_agent.collector import Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, KERNEL_TRACE_EVENT

TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
EVENTS = (
    "nvidia/nvidia_dev_xid", "nvswitch/nvswitch_dev_sxid", "ras/mc_event", "ras/aer_event",
    "ras/extlog_mem_event", "ras/non_standard_event", "ras/arm_event", "ras/memory_failure_event",
    "mce/mce_record",
)  # fmt: skip
PREFIX = "trainwreck-"
BUFFER_KIB = 16
"""Of kernel memory for each processor."""
LOOK_EVERY_S = 60.0
"""A driver that is loaded later brings its events later."""
READ_BYTES = 1 << 16
READS_MAX = 16
TEXT_MAX = 2000
REST_MAX_BYTES = 1 << 16

_LINE = re.compile(
    rb"(?:^|.{0,40}?)-([0-9]{1,8}) {1,12}(?:\( *[0-9-]{1,8}\) )?\[([0-9]{1,5})\]"
    rb" (?:[^ ]{1,8} {1,4})? {0,12}([0-9]{1,10})\.([0-9]{6}): ([a-z0-9_]{1,64}): (.{0,4000})"
)
_XID = re.compile(r"S?Xid \(PCI:([0-9a-fA-F:.]{7,16})\): ([0-9]{1,6}), ?")
_AER = re.compile(r"([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) PCIe Bus Error")
_LOST = re.compile(rb"^CPU:[0-9]{1,5} \[LOST ([0-9]{1,18}) EVENTS\]")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``trace_pipe``."""

    name: str
    monotonic_us: int
    cpu: int
    pid: int
    text: str

    @property
    def subject(self) -> tuple[str | None, int | None]:
        """The device that it names, and its Xid or SXid; None: none."""
        if match := _XID.match(self.text):
            return match[1].lower(), int(match[2])
        match = _AER.match(self.text)
        return (None, None) if match is None else (match[1], None)


def parse(line: bytes) -> Event | None:
    """The event in a line; None for anything that is none."""
    match = _LINE.match(line) if len(line) < 8192 else None
    if match is None:
        return None
    monotonic_us = int(match[3]) * 1_000_000 + int(match[4])
    name, text = (match[n].decode("utf-8", "replace") for n in (5, 6))
    return Event(name, monotonic_us, int(match[2]), int(match[1]), text[:TEXT_MAX])


class TraceEvents:
    """Follows the events of an instance of its own."""

    name = "trace_events"
    pollable = True

    def __init__(self, host: Host, events: tuple[str, ...] = EVENTS) -> None:
        self._events = events
        self._enabled: set[str] = set()
        self._system = {event.split("/")[1]: event.split("/")[0] for event in events}
        self._folder: str | None = None
        self._fd: int | None = None
        root = next((p for p in TRACEFS if host.exists(f"{p}/instances")), None)
        if root is None:
            if os.geteuid() and host.exists(TRACEFS[0]):
                raise Unavailable(f"{TRACEFS[0]}: permission denied; run as root", "denied")
            raise Unavailable("tracefs: not mounted (mount -t tracefs nodev /sys/kernel/tracing)")
        self._root = host.path(root)
        if not any(map(self._there, events)):
            names = ", ".join(event.replace("/", ":") for event in events)
            raise Unavailable(f"{root}: this kernel and its drivers have none of {names}")
        self._rest = b""
        self._lost = 0
        self._told = False
        self._look_s = 0.0
        self._remove_stale()
        self._folder = f"{self._root}/instances/{PREFIX}{os.getpid()}"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._folder)
            self._begin(self._folder)
        except OSError as error:
            self.stop()
            denied = "denied" if isinstance(error, PermissionError) else "absent"
            raise Unavailable(f"{self._folder}: {error.strerror}", denied) from error

    def _there(self, event: str) -> bool:
        return os.path.exists(f"{self._root}/events/{event}/enable")

    def _begin(self, folder: str) -> None:
        _write(f"{folder}/buffer_size_kb", str(BUFFER_KIB))
        _write(f"{folder}/trace_clock", "mono")
        with contextlib.suppress(OSError):  # older kernels wake up at each page, which will do
            _write(f"{folder}/buffer_percent", "0")
        self._fd = os.open(f"{folder}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._enable(folder)

    def _enable(self, folder: str) -> None:
        for event in self._events:
            if event not in self._enabled and self._there(event):
                _write(f"{folder}/events/{event}/enable", "1")
                self._enabled.add(event)

    @property
    def absent(self) -> list[tuple[str, str, str]]:
        """Name, status and reason of each event that this kernel and its drivers do not have."""
        return [
            (f"{self.name}/{event.split('/')[1]}", "absent",
             f"{self._root}/events/{event}: no such event; its driver is not loaded or has none")
            for event in self._events
            if event not in self._enabled
        ]  # fmt: skip

    def fileno(self) -> int:
        """For poll()."""
        return -1 if self._fd is None else self._fd

    def read(self) -> list[Row]:
        """The events since the last call; never blocks."""
        rows: list[Row] = []
        for _ in range(READS_MAX if self._fd is not None else 0):
            try:
                data = os.read(self.fileno(), READ_BYTES)
            except OSError:  # EAGAIN: that was all
                break
            if not data:
                break
            whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
            if len(self._rest) > REST_MAX_BYTES:
                self._rest = b""
            rows += self._rows(whole.split(b"\n") if newline else [])
        return rows

    def _rows(self, lines: list[bytes]) -> list[Row]:
        rows: list[Row] = []
        offset_us = (time.time_ns() - time.monotonic_ns()) // 1000
        for line in lines:
            if (event := parse(line)) is not None:
                name = f"{self._system.get(event.name, '?')}:{event.name}"
                values: tuple[Value, ...] = (name, event.monotonic_us, event.cpu, event.pid,
                                             *event.subject, event.text)  # fmt: skip
                rows.append(Row(KERNEL_TRACE_EVENT, values, event.monotonic_us + offset_us))
            elif lost := _LOST.match(line):
                self._lost += int(lost[1])
                told = f"{int(lost[1])} events overran the buffer before they were read"
                rows.append(self._health("gap", told))
        return rows

    def check(self, now_monotonic: float) -> list[Row]:
        """Ask for the events of drivers that were loaded meanwhile."""
        if self._folder is None or now_monotonic < self._look_s:
            return []
        self._look_s = now_monotonic + LOOK_EVERY_S
        rows: list[Row] = []
        if not self._told:
            self._told = True
            rows = [Row(COLLECTOR_HEALTH, (*about, *(None,) * 5)) for about in self.absent]
        before = set(self._enabled)
        try:
            self._enable(self._folder)
        except OSError as error:
            return [*rows, self._health("error", f"{error.filename}: {error.strerror}")]
        for event in sorted(self._enabled - before):
            name = f"{self.name}/{event.split('/')[1]}"
            rows.append(Row(COLLECTOR_HEALTH, (name, "ok", "is there now", *(None,) * 5)))
        return rows

    def stop(self) -> None:
        """Remove the instance."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)
            self._folder = None

    def _remove_stale(self) -> None:
        """Those of recorders that were killed: each holds buffers in the kernel."""
        for name in os.listdir(f"{self._root}/instances"):
            pid = name.removeprefix(PREFIX)
            if pid != name and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(OSError):
                    os.rmdir(f"{self._root}/instances/{name}")

    def _health(self, status: str, detail: str) -> Row:
        values = (self.name, status, detail, None, None, self._lost or None, None, None)
        return Row(COLLECTOR_HEALTH, values)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
