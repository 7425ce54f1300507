"""Which NVML call the child is in, told through shared memory.

The child writes before and after each call (0.5 µs); the sampling process looks once a tick. A
message on the pipe would cost ten times that, and a blocked child could not send it.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass

_STARTED, _DEVICE, _DEADLINE, _LEFT_OUT, _WORDS = 0, 1, 2, 3, 4
_NAME_AT, _NAME_BYTES = 8 * _WORDS, 64
NO_DEVICE = -1


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has not returned."""

    name: str
    device: int
    """Index of the device; ``NO_DEVICE`` for a call that concerns none."""
    age_s: float
    deadline_s: float


class Progress:
    """One page shared by the sampling process and one child; made before the fork."""

    __slots__ = ("_map", "_words")

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._map)[: 8 * _WORDS].cast("q")

    def enter(self, name: bytes, device: int, deadline_ns: int) -> None:
        """The child is about to call ``name`` (padded by ``padded``)."""
        words = self._words
        self._map[_NAME_AT : _NAME_AT + _NAME_BYTES] = name
        words[_DEVICE] = device
        words[_DEADLINE] = deadline_ns
        words[_STARTED] = time.monotonic_ns()

    def leave(self) -> None:
        """The call returned."""
        self._words[_STARTED] = 0

    def call(self, now_s: float) -> Call | None:
        """The call that the child is in at ``now_s`` (CLOCK_MONOTONIC); None: it is in none."""
        words = self._words
        started = words[_STARTED]
        if not started:
            return None
        device, deadline = words[_DEVICE], words[_DEADLINE]
        name = bytes(self._map[_NAME_AT : _NAME_AT + _NAME_BYTES]).rstrip(b"\0").decode("ascii")
        if words[_STARTED] != started:  # it went on while we read
            return None
        return Call(name, device, now_s - started / 1e9, deadline / 1e9)

    def leave_out(self, devices: int) -> None:
        """Devices, as a bit set of indices, that the child must not touch."""
        self._words[_LEFT_OUT] = devices

    @property
    def left_out(self) -> int:
        """Bit set of the indices of devices not to touch."""
        return self._words[_LEFT_OUT]

    def close(self) -> None:
        """Give the page back."""
        self._words.release()
        self._map.close()


def padded(name: str) -> bytes:
    """A call's name as ``enter`` wants it."""
    return name.encode("ascii")[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
