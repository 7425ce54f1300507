"""Events that the driver pushes: Xid, double-bit errors, retirements, poison, a GPU gone.

Asked with timeout 0 once a tick, for all devices together: no thread.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlEvents.html
"""

from __future__ import annotations

import ctypes
from typing import Any

from trainwreck_agent.nvml.library import (
    TIMEOUT,
    CallFailed,
    DriverGone,
    Library,
    Planned,
)
from trainwreck_agent.nvml.progress import NO_DEVICE
from trainwreck_agent.nvml.wire import Cells
from trainwreck_agent.tables.gpu import GPU_EVENT

NAMES = {
    0x1: "ecc_single_bit",
    0x2: "ecc_double_bit",
    0x8: "xid",
    0x200: "ecc_single_bit_storm",
    0x400: "dram_retirement",
    0x800: "dram_retirement_failure",
    0x1000: "non_fatal_poison",
    0x2000: "fatal_poison",
    0x4000: "gpu_unavailable",
    0x8000: "recovery_action",
}
"""Left out: changes of P-state, clock and power source, which are no faults and many."""
WITH_DATA = frozenset({0x8, 0x8000})
_ALL = sum(NAMES)
_BATCH_MAX = 64
_WAIT = "nvmlEventSetWait_v2"
_NO_INSTANCE = 0xFFFFFFFF


class Events:
    """One event set for all devices of a session."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._uuids: dict[int, str | None] = {}
        self._data = library.nvml.c_nvmlEventData_t()
        self._wait: list[Planned] = []
        try:
            self._set: Any = library.call("nvmlEventSetCreate", NO_DEVICE)
            arguments = (self._set, ctypes.byref(self._data), ctypes.c_uint(0))
            self._wait = [(_WAIT, *library.bound(_WAIT), arguments)]
        except CallFailed:
            self._set = None

    def watch(self, index: int, handle: Any, uuid: str | None) -> None:  # noqa: ANN401
        """Have the device's events too, those of them that it can tell."""
        if self._set is None:
            return
        library = self._library
        try:
            can = library.call("nvmlDeviceGetSupportedEventTypes", index, handle) & _ALL
            if can:
                library.call("nvmlDeviceRegisterEvents", index, handle, can, self._set)
        except CallFailed:
            return
        self._uuids[_address(handle)] = uuid

    def take(self) -> list[Cells]:
        """Rows of the events that came since the last call."""
        found: list[Cells] = []
        while self._set is not None and self._uuids and len(found) < _BATCH_MAX:
            if failed := self._library.raw_all(NO_DEVICE, self._wait):
                self._nothing(failed[0][1])
                break
            data = self._data
            kind = int(data.eventType)
            found.append(
                (
                    GPU_EVENT,
                    [
                        self._uuids.get(_address(data.device)),
                        NAMES.get(kind, f"0x{kind:x}"),
                        int(data.eventData) if kind in WITH_DATA else None,
                        _instance(data.gpuInstanceId),
                        _instance(data.computeInstanceId),
                    ],
                )
            )
        return found

    def _nothing(self, code: int) -> None:
        """Look why no event came. Nearly always there is none: no exception is made for that."""
        if code == TIMEOUT:
            return
        fault = self._library.fault(_WAIT, code)
        if isinstance(fault, DriverGone):
            raise fault
        if isinstance(fault, CallFailed):  # else of one device that is watched; its reads say which
            self._set = None  # its rows stop; the kernel log has the Xid all the same

    def close(self) -> None:
        """Free the event set."""
        if self._set is not None:
            self._library.call("nvmlEventSetFree", NO_DEVICE, self._set)
            self._set = None


def _address(handle: Any) -> int:  # noqa: ANN401
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _instance(value: int) -> int | None:
    return None if value == _NO_INSTANCE else int(value)
