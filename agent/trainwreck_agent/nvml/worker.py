"""The sampling process' side of NVML: starts the child, reads its rows, gives up on a hung one.

Nothing here blocks, and nothing here ever sends SIGKILL. A child that hangs in a call is left to
itself with SIGTERM pending, is reaped when it ever returns, and a new one is started without the
device that hung. Call from one thread only: the child is a fork.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass

from trainwreck_agent.collector import Row, Value
from trainwreck_agent.nvml import process, wire
from trainwreck_agent.nvml.process import ChildProcess
from trainwreck_agent.nvml.progress import NO_DEVICE, Call
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, KERNEL_EVENT, KERNEL_TRACE_EVENT
from trainwreck_agent.tables.gpu import GPU

NAME = "nvml"
DEADLINE_S = 2.0
STUCK_MAX = 4
"""Children that may hang in the driver at one time; with so many no new one is started."""
BACK_OFF_S, BACK_OFF_MAX_S = 1.0, 30.0
LEFT_OUT_S, LEFT_OUT_MAX_S = 60.0, 3600.0
HEALTHY_S = 60.0
"""A child that lived so long is no sign of trouble: the back-off begins anew."""
LOOK_S, LOOK_ANYWAY_S = 10.0, 600.0
"""Where no driver was: how often its files are looked for, and how often it is tried anyway."""
WANTED_S = 3.0
"""The child looks at what is wanted once a tick."""
_XID = re.compile(r"\bXid \(PCI:([0-9a-fA-F:]{7,13})")
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


@dataclass(slots=True)
class _Hang:
    """What is known of a device that hung."""

    count: int
    until_s: float


class NvmlWorker:
    """GPU telemetry of this host; see the package's docstring.

    ``library`` is a path to load in place of the driver's ``libnvidia-ml.so.1``.
    """

    pollable = False
    """Its rows are never urgent: they are read with the tick, which saves a wake-up."""

    def __init__(
        self, library: str | None, interval_s: float, *, deadline_s: float = DEADLINE_S,
        burst_hz: float = 0.0,
    ) -> None:  # fmt: skip
        self._library = library
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._burst_hz = burst_hz
        self._wanted: dict[int, float] = {}
        """Devices whose last minute is wanted, and until when (CLOCK_MONOTONIC, s) it is asked."""
        self._epoll = select.epoll()
        self._child: ChildProcess | None = None
        self._abandoned: list[ChildProcess] = []
        self._hangs: dict[int, _Hang] = {}
        self._devices: tuple[wire.Device, ...] = ()
        self._start_at_s: float | None = None
        self._back_off_s = BACK_OFF_S
        self._absent_files: tuple[bool, ...] | None = None
        self._look_at_s = 0.0
        self._told: tuple[str, str] | None = None
        self._stuck_told = False

    # -- what the daemon calls ----------------------------------------------------------------

    def start(self) -> None:
        """Start the child; what becomes of it is told by ``check``."""
        self._start_at_s = time.monotonic()
        with contextlib.suppress(OSError):  # told by ``check``, which tries again
            self._spawn(self._start_at_s)

    def fileno(self) -> int:
        """For poll(): readable when rows are there; the same over the life of the worker."""
        return self._epoll.fileno()

    @property
    def pid(self) -> int | None:
        """The running child; None: there is none now."""
        return None if self._child is None else self._child.pid

    @property
    def stuck_pids(self) -> tuple[int, ...]:
        """Children that were given up and have not ended."""
        return tuple(child.pid for child in self._abandoned)

    def read(self) -> list[Row | str]:
        """The journal lines that came, without waiting."""
        child = self._child
        if child is None:
            return []
        rows: list[Row | str] = []
        bad_before = child.decoder.bad_lines
        for message in child.messages():
            if isinstance(message, wire.Devices):
                self._devices = message.devices
            elif isinstance(message, wire.End):
                child.end = message
            else:
                child.heard = True
                self._told = None
                rows += message
        if bad := child.decoder.bad_lines - bad_before:
            what = f"{bad} lines from the NVML child (pid {child.pid}) are no messages; skipped"
            rows.append(health("error", what, lost=child.decoder.bad_lines))
        return rows

    def check(self, now_monotonic: float) -> list[Row | str]:
        """Supervise; call it each tick. Rows of what it found, and lines that came meanwhile."""
        self._reap_abandoned()
        rows = self.read()
        child = self._child
        if child is not None:
            if child.reaped():
                rows += self._ended(child, now_monotonic)
            elif (call := child.progress.call(now_monotonic)) is None:
                child.seen_ns = 0
                rows += self._listen(child, now_monotonic)
            elif call.age_s > call.deadline_s and call.start_ns == child.seen_ns:
                # Seen at two looks: a clock that jumped over a pause of the machine is no hang.
                rows += self._give_up(child, call, now_monotonic)
            else:
                child.seen_ns = call.start_ns
        if self._child is None:
            rows += self._restart(now_monotonic)
        self._leave_out(now_monotonic)
        if self._wanted:
            self._wanted = {n: s for n, s in self._wanted.items() if now_monotonic < s}
            self._want()
        return rows

    def observe(self, rows: Iterable[Row | str], now_monotonic: float) -> None:
        """Look at the rows of a tick: an Xid in the kernel log makes a device's last minute wanted.

        The kernel tells it even when NVML does not answer any more.
        """
        if not self._burst_hz:
            return
        for row in rows:
            if isinstance(row, Row) and row.table in (KERNEL_EVENT, KERNEL_TRACE_EVENT):
                match = _XID.search(str(row.values[-1])[:200])
                for device in self._devices if match else ():
                    if device.pci is None or match is None or match[1].lower() in device.pci:
                        self._wanted[device.index] = now_monotonic + WANTED_S
                        self._want()

    def _want(self) -> None:
        if self._child is not None:
            self._child.progress.want(sum(1 << n for n in self._wanted if 0 <= n < 63))

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the child; returns in time even if it hangs, and then leaves it to itself."""
        self._start_at_s = None
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        if child.wait(time.monotonic() + timeout_s):
            child.progress.close()
        else:
            self._abandoned.append(child)
        child.close_pipe()

    # -- what becomes of it -------------------------------------------------------------------

    def _ended(self, child: ChildProcess, now_s: float) -> list[Row | str]:
        """The child ended by itself, or somebody ended it."""
        rows = self.read()  # what it wrote last
        child.close_pipe()
        child.progress.close()
        self._child = None
        end = child.end or wire.End("error", "the NVML child ended")
        if end.status == "absent" and not self._devices:
            self._start_at_s = now_s + LOOK_ANYWAY_S
            self._absent_files, self._look_at_s = self._files(), now_s + LOOK_S
            return rows + self._tell(end.status, end.detail)
        if end.status == "renew":
            self._start_at_s = now_s
            return rows
        self._retry(now_s, now_s - child.started_s)
        return rows + self._tell(end.status, end.detail)

    def _give_up(self, child: ChildProcess, call: Call, now_s: float) -> list[Row | str]:
        """A call is over its deadline: leave the child in it, and go on without the device."""
        device = next((d for d in self._devices if d.index == call.device), None)
        if device is None and call.device != NO_DEVICE:
            device = wire.Device(call.device, None, None, None, None)
        child.terminate()
        rows = self.read()
        child.close_pipe()
        child.hung_device = call.device
        self._abandoned.append(child)
        self._child = None
        where = f" on {device.title}" if device else ""
        detail = (
            f"{call.name}{where} has not returned for {call.age_s:.1f} s (deadline"
            f" {call.deadline_s:g} s); pid {child.pid} is left in it"
        )
        rows.append(health("hang", detail))
        self._told = None
        if device is not None:
            hang = self._hangs.setdefault(call.device, _Hang(0, 0.0))
            hang.count += 1
            hang.until_s = now_s + min(LEFT_OUT_S * 2 ** (hang.count - 1), LEFT_OUT_MAX_S)
            rows.append(_gpu_row(device, "hang"))
        self._retry(now_s, now_s - child.started_s)
        return rows

    def _listen(self, child: ChildProcess, now_s: float) -> list[Row]:
        """Tell, once, that no sample came although the child is in no call."""
        if child.heard:
            child.heard, child.silent, child.heard_s = False, False, now_s
        silence_s = now_s - child.heard_s
        if child.silent or silence_s <= max(3 * self._interval_s, 5.0):
            return []
        child.silent = True
        what = (
            f"no GPU sample for {silence_s:.1f} s; the NVML child (pid {child.pid}) is in no call"
        )
        return [health("gap", what)]

    def _retry(self, now_s: float, lived_s: float) -> None:
        """Start a new child after a while, the longer the shorter the last ones lived."""
        if lived_s > HEALTHY_S:
            self._back_off_s = BACK_OFF_S
        self._start_at_s = now_s + self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_MAX_S)
        self._absent_files = None

    def _restart(self, now_s: float) -> list[Row | str]:
        """Start a new child when it is time."""
        if self._start_at_s is None or not self._due(now_s):
            return []
        if len(self._abandoned) >= STUCK_MAX:
            if self._stuck_told:
                return []
            self._stuck_told = True
            pids = ", ".join(str(child.pid) for child in self._abandoned)
            return [health("hang", f"no GPU telemetry: {STUCK_MAX} children hang in NVML ({pids})")]
        self._stuck_told = False
        try:
            self._spawn(now_s)
        except OSError as error:
            self._retry(now_s, 0.0)
            return self._tell("error", f"cannot start the NVML child: {error.strerror}")
        return []

    def _spawn(self, now_s: float) -> None:
        self._child = process.start(
            process.Order(
                self._library,
                self._interval_s,
                self._deadline_s,
                self._devices,
                self._left_out(now_s),
                self._burst_hz,
            ),
            self._epoll,
            now_s,
        )

    def _due(self, now_s: float) -> bool:
        if self._start_at_s is None or now_s >= self._start_at_s:
            return self._start_at_s is not None
        if self._absent_files is None or now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_S
        return self._files() != self._absent_files

    def _files(self) -> tuple[bool, ...]:
        files = (self._library,) if self._library else DRIVER_FILES
        return tuple(os.path.exists(path) for path in files)

    def _reap_abandoned(self) -> None:
        for child in list(self._abandoned):
            if child.reaped():
                child.progress.close()
                self._abandoned.remove(child)

    def _left_out(self, now_s: float) -> int:
        """Bit set of the devices that no child may touch now."""
        indices = {index for index, hang in self._hangs.items() if now_s < hang.until_s}
        indices |= {child.hung_device for child in self._abandoned}
        return sum(1 << index for index in indices if 0 <= index < 63)

    def _leave_out(self, now_s: float) -> None:
        if self._child is not None and (self._hangs or self._abandoned):
            self._child.progress.leave_out(self._left_out(now_s))

    def _tell(self, status: str, detail: str) -> list[Row | str]:
        """A row of health, unless it was the last one already."""
        if self._told == (status, detail):
            return []
        self._told = (status, detail)
        return [health(status, detail)]


def health(status: str, detail: str, lost: int | None = None) -> Row:
    """A row that the child could not write itself."""
    return Row(COLLECTOR_HEALTH, (NAME, status, detail, None, None, lost, None, None))


def _gpu_row(device: wire.Device, status: str) -> Row:
    known: dict[str, Value] = {
        "uuid": device.uuid,
        "serial": device.serial,
        "gpu_index": device.index,
        "pci": device.pci,
        "name": device.name,
        "status": status,
    }
    return Row(GPU, tuple(known.get(column.name) for column in GPU.columns))
