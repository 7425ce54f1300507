"""Which NVML call the child is in, told through shared memory.

The child writes before and after each call (0.5 µs); the sampling process looks once a tick. A
message on the pipe would cost ten times that, and a blocked child could not send it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

NO_DEVICE = -1
_MARK = struct.Struct("@4q")  # code of the call, device, deadline, start (0: in no call)
_START_AT, _LEFT_OUT_AT, _WANTED_AT, _NAMES_AT = 24, 32, 40, 64
_START = struct.Struct("@q")
_NAME_BYTES = 64
_SIZE = 4 * mmap.PAGESIZE
CODES_MAX = (_SIZE - _NAMES_AT) // _NAME_BYTES


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has not returned."""

    name: str
    device: int
    """Index of the device; ``NO_DEVICE`` for a call that concerns none."""
    age_s: float
    deadline_s: float
    start_ns: int
    """CLOCK_MONOTONIC; tells one call from the next of the same name."""


class Progress:
    """Memory shared by the sampling process and one child; made before the fork."""

    __slots__ = ("_codes", "_map", "enter", "leave")

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _SIZE)
        self._codes = 0
        self.enter: Callable[[int, int, int, int], None] = partial(_MARK.pack_into, self._map, 0)
        """The child is about to make a call: its code, the device, the deadline in ns, and now
        (CLOCK_MONOTONIC, ns), which is written last and makes the mark."""
        self.leave: Callable[[], None] = partial(_START.pack_into, self._map, _START_AT, 0)
        """The call returned."""

    def code(self, name: str) -> int:
        """The child's number for a function, whose name the other side can look up by it."""
        number = min(self._codes, CODES_MAX - 1)
        self._codes += 1
        at = _NAMES_AT + number * _NAME_BYTES
        text = name.encode("ascii", "replace")[:_NAME_BYTES]
        self._map[at : at + _NAME_BYTES] = text.ljust(_NAME_BYTES, b"\0")
        return number

    def call(self, now_s: float) -> Call | None:
        """The call that the child is in at ``now_s`` (CLOCK_MONOTONIC); None: it is in none."""
        code, device, deadline_ns, start_ns = _MARK.unpack_from(self._map, 0)
        if not start_ns:
            return None
        at = _NAMES_AT + code * _NAME_BYTES
        name = self._map[at : at + _NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")
        if _MARK.unpack_from(self._map, 0) != (code, device, deadline_ns, start_ns):
            return None  # it went on while we read
        return Call(name, device, now_s - start_ns / 1e9, deadline_ns / 1e9, start_ns)

    def leave_out(self, devices: int) -> None:
        """Devices, as a bit set of indices, that the child must not touch."""
        _START.pack_into(self._map, _LEFT_OUT_AT, devices)

    @property
    def left_out(self) -> int:
        """Bit set of the indices of devices not to touch."""
        return int(_START.unpack_from(self._map, _LEFT_OUT_AT)[0])

    def want(self, devices: int) -> None:
        """Devices, as a bit set, whose last minute should be written down."""
        _START.pack_into(self._map, _WANTED_AT, devices)

    @property
    def wanted(self) -> int:
        """Bit set of the devices whose last minute the recorder wants."""
        return int(_START.unpack_from(self._map, _WANTED_AT)[0])

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
