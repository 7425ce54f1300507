"""The last minute of each GPU at a quick pace, in memory; written when something happens.

Power, clock and temperature change within tens of milliseconds when a supply sags or a cooler
fails; a row a second shows the end only. So they can be read up to ten times a second into a ring
that costs no disk, and the ring is written down when a clock event of the hardware, an Xid or a
lost device says that it matters, with the seconds after it as well.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from math import isnan

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml import wire
from trainwreck_agent.nvml.device import Gpu
from trainwreck_agent.nvml.library import DeviceGone
from trainwreck_agent.nvml.wire import Cells
from trainwreck_agent.tables.gpu import GPU_BURST, GPU_EVENT

WINDOW_S = 60.0
AFTER_S = 5.0
"""How long after the moment the ring is written once more."""
QUIET_S = 300.0
"""Between two writings of a device for its clock events: one that throttles all day is no news."""
HZ_MAX = 10.0
TELLING = {0x8: "HW slowdown", 0x20: "SW thermal", 0x40: "HW thermal", 0x80: "power brake"}
"""Clock-event reasons that say something happened; a power cap is an ordinary day."""

_SAMPLE = struct.Struct("@qfffq")  # µs UTC, W, MHz, °C, reasons (-1: not told)
_NAN = float("nan")


class Ring:
    """The samples of one device."""

    __slots__ = ("_at", "_buffer", "_count", "_size", "after_s", "quiet_until_s", "reason",
                 "reasons", "status", "written_us")  # fmt: skip

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer = bytearray(size * _SAMPLE.size)
        self._at = self._count = 0
        self.reasons: int | None = None
        self.status = "ok"
        self.reason = ""
        self.after_s: float | None = None
        """When the seconds after the moment are to be written; None: nothing is open."""
        self.quiet_until_s = 0.0
        self.written_us = 0

    def add(self, ts_us: int, watts: float, mhz: float, celsius: float, reasons: int) -> None:
        """Put a sample in place of the oldest; NaN and -1: not told."""
        at = self._at * _SAMPLE.size
        _SAMPLE.pack_into(self._buffer, at, ts_us, watts, mhz, celsius, reasons)
        self._at = (self._at + 1) % self._size
        self._count = min(self._count + 1, self._size)

    def take(self) -> Iterator[tuple[int, tuple[Value, ...]]]:
        """Yield what was not written yet, oldest first: its time, µs, and its values."""
        first = (self._at - self._count) % self._size
        for n in range(self._count):
            at = (first + n) % self._size * _SAMPLE.size
            ts_us, watts, mhz, celsius, reasons = _SAMPLE.unpack_from(self._buffer, at)
            if ts_us <= self.written_us:
                continue
            self.written_us = ts_us
            yield (
                ts_us,
                (
                    None if isnan(watts) else round(watts, 3),
                    None if isnan(mhz) else int(mhz),
                    None if isnan(celsius) else int(celsius),
                    None if reasons < 0 else reasons,
                ),
            )


class Burst:
    """Samples all devices of a session between its ticks."""

    def __init__(self, hertz: float) -> None:
        self.every_s = 1.0 / min(hertz, HZ_MAX)
        self._size = round(WINDOW_S / self.every_s)
        self._rings: dict[int, Ring] = {}
        self._asked = 0

    def sample(self, gpus: list[Gpu], now_s: float) -> None:
        """Read each device that answers; see whether something happened to it."""
        ts_us = time.time_ns() // 1000
        for index, gpu in enumerate(gpus):
            ring = self._ring(index)
            if gpu.status != "ok":
                if ring.status == "ok":
                    self._open(ring, f"device {gpu.status}", now_s)
                ring.status = gpu.status
                continue
            ring.status = "ok"
            try:
                watts, mhz, celsius, reasons = gpu.quick()
            except DeviceGone as gone:
                gpu.go(gone.status, now_s)
                continue
            ring.add(
                ts_us,
                _NAN if watts is None else watts,
                _NAN if mhz is None else mhz,
                _NAN if celsius is None else celsius,
                -1 if reasons is None else reasons,
            )
            if reasons is not None and reasons != ring.reasons:
                self._changed(ring, reasons, now_s)

    def _ring(self, index: int) -> Ring:
        if index not in self._rings:
            self._rings[index] = Ring(self._size)
        return self._rings[index]

    def _changed(self, ring: Ring, reasons: int, now_s: float) -> None:
        new = reasons & ~(ring.reasons or 0)
        first, ring.reasons = ring.reasons is None, reasons
        names = [name for bit, name in TELLING.items() if new & bit]
        if names and not first and now_s >= ring.quiet_until_s:
            ring.quiet_until_s = now_s + QUIET_S
            self._open(ring, f"clock event: {', '.join(names)}", now_s)

    @staticmethod
    def _open(ring: Ring, reason: str, now_s: float) -> None:
        if ring.after_s is None:
            ring.reason, ring.after_s = reason, now_s

    def events(self, gpus: list[Gpu], rows: list[Cells], asked: int, now_s: float) -> None:
        """See what the rows of a tick tell, and which devices the recorder asks for (bit set)."""
        index_of = {gpu.identity.uuid: index for index, gpu in enumerate(gpus)}
        for table, values in rows:
            if table is GPU_EVENT and not isinstance(values, str):
                named = index_of.get(None if values[0] is None else str(values[0]))
                what = f"{values[1]} {values[2]}" if values[2] is not None else str(values[1])
                for index in range(len(gpus)) if named is None else (named,):
                    self._open(self._ring(index), what, now_s)
        new, self._asked = asked & ~self._asked, asked
        for index in range(len(gpus)):
            if new >> index & 1:
                self._open(self._ring(index), "Xid in the kernel log", now_s)

    def lines(self, gpus: list[Gpu], now_s: float) -> bytes:
        """What is to be sent now: at the moment, and once more some seconds later."""
        parts: list[bytes] = []
        for index, ring in self._rings.items():
            if ring.after_s is None or now_s < ring.after_s or index >= len(gpus):
                continue
            uuid = gpus[index].identity.uuid
            for ts_us, values in ring.take():
                parts.append(wire.rows(ts_us, [(GPU_BURST, [uuid, ring.reason, *values])]))
            began = ring.after_s
            ring.after_s = None if ring.reason.endswith(_AFTER) else began + AFTER_S
            ring.reason = "" if ring.after_s is None else ring.reason + _AFTER
        return b"".join(parts)


_AFTER = " (after it)"
