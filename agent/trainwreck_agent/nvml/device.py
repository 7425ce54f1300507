"""One GPU: what is read each tick, and what is read slower, two calls a tick at most."""

from __future__ import annotations

import ctypes
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml import fields
from trainwreck_agent.nvml.gpm import Gpm
from trainwreck_agent.nvml.library import REMEMBERED, CallFailed, DeviceGone, Library
from trainwreck_agent.nvml.wire import Cells, Device
from trainwreck_agent.tables.gpu import GPU

AT = {column.name: position for position, column in enumerate(GPU.columns)}
IDENTITY = ("uuid", "serial", "gpu_index", "pci", "name")
PING_S = 10.0
"""How often a device that was lost is asked whether it is back."""


@dataclass(slots=True)
class Task:
    """One call that is not made each tick, and the rows that it gives."""

    every_s: float
    run: Callable[[], list[Cells]]


class Gpu:
    """A device, its last readings, and what it was found not to support."""

    def __init__(self, library: Library, identity: Device, handle: object, status: str) -> None:
        self.identity = identity
        self.status = status
        self.told = "ok"
        """The status that was last told in ``collector_health``."""
        self.failures = 0
        self.faults: list[str] = []
        """Failed calls that were not seen before, in words; the session takes them away."""
        self.library = library
        self._handle = handle
        self._sm_clock = library.nvml.NVML_CLOCK_SM
        self._temperature_version = getattr(library.nvml, "nvmlTemperature_v1", 0)
        self._two = (ctypes.c_uint * 2)()
        self._three = (ctypes.c_int * 3)()
        self._wide = (ctypes.c_ulonglong * 5)()
        self._ping_due_s = 0.0
        self.refused: set[object] = set()
        self._seen_faults: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        d = self.identity
        self.cells: list[Value] = [None] * len(GPU.columns)
        for name, value in zip(IDENTITY, (d.uuid, d.serial, d.index, d.pci, d.name), strict=True):
            self.cells[AT[name]] = value
        self.cells[AT["status"]] = self.status
        self._tasks: list[Task] = []
        self._queue: list[tuple[float, int]] = []

    # -- life ---------------------------------------------------------------------------------

    def begin(
        self, now_s: float, handle: object, tasks: Callable[[Gpu], list[Task]]
    ) -> list[Cells]:
        """Read everything once; not a tick, so not held to its number of calls."""
        self._handle, self.status = handle, "ok"
        self.refused.clear()
        self._clear()
        library, index = self.library, self.identity.index
        tick = [(AT[f.column], f.id, f.scope, f.convert) for f in fields.TICK]
        self._tick_fields = fields.Batch(library, index, tick)
        power = [
            (0, f.id, f.scope, f.convert) for f in fields.TICK if f.column == "power_instant_w"
        ]
        self._power_field = fields.Batch(library, index, power)
        self._gpm = Gpm(library, index)
        found: list[Cells] = []
        try:
            self._tasks = tasks(self)
            for n, task in enumerate(self._tasks):
                found += task.run()
                self._queue.append((now_s + task.every_s * (n + 1) / len(self._tasks), n))
            heapq.heapify(self._queue)
        except DeviceGone as gone:
            self.go(gone.status, now_s)
        return found

    def go(self, status: str, now_s: float) -> None:
        """Take down that the device does not answer: its old readings are not repeated."""
        self.status = status
        self._ping_due_s = now_s + PING_S
        self._clear()

    def ping(self, now_s: float) -> bool:
        """Whether a device that was lost answers again; asked each 10 s."""
        if now_s < self._ping_due_s or self._handle is None:
            return False
        self._ping_due_s = now_s + PING_S
        try:
            self.library.call("nvmlDeviceGetMemoryInfo", self.identity.index, self._handle)
        except (DeviceGone, CallFailed):
            return False
        return True

    @property
    def handle(self) -> object:
        """NVML's handle; None: the device could not be opened."""
        return self._handle

    # -- reading ------------------------------------------------------------------------------

    def tick(self, now_s: float, slow_calls: int) -> list[Cells]:
        """The rows of this tick: at most 9 calls, and ``slow_calls`` more."""
        if self.status != "ok":
            return [(GPU, list(self.cells))]
        found: list[Cells] = []
        try:
            self._read_tick()
            if all(self.cells[position] is None for position in _ALWAYS):
                # Each device tells one of these: the handle is stale, or the driver in trouble.
                raise DeviceGone("no answer")
            for _ in range(slow_calls):
                if not self._queue or self._queue[0][0] > now_s:
                    break
                _, n = self._queue[0]
                heapq.heapreplace(self._queue, (now_s + self._tasks[n].every_s, n))
                found += self._tasks[n].run()
        except DeviceGone as gone:
            self.go(gone.status, now_s)
        found.append((GPU, list(self.cells)))
        return found

    def quick(self) -> tuple[float | None, int | None, int | None, int | None]:
        """W, MHz, °C and clock-event reasons at this moment, by four calls; None: not told.

        Raises:
            DeviceGone: The device does not answer any more.
        """
        fill, two, wide = self.fill, self._two, self._wide
        watts = None
        for _, value in self.values(self._power_field):
            watts = value if isinstance(value, float) else None
        if watts is None and fill("nvmlDeviceGetPowerUsage", two):
            watts = two[0] / 1000
        mhz = two[0] if fill("nvmlDeviceGetClockInfo", self._sm_clock, two) else None
        celsius = self._temperature()
        known = fill("nvmlDeviceGetCurrentClocksEventReasons", wide)
        return watts, mhz, None if celsius is None else int(celsius), wide[0] if known else None

    def ask(self, name: str, *arguments: object) -> Any:  # noqa: ANN401
        """What the call says; None where this device does not tell, now or ever."""
        key = (name, arguments) if arguments else name
        if key in self.refused:
            return None
        try:
            return self.library.call(name, self.identity.index, self._handle, *arguments)
        except CallFailed as error:
            self.note(key, error)
            return None

    def note(self, key: object, error: CallFailed) -> None:
        """Take down a call that failed: for good, or for this time."""
        if error.code in REMEMBERED:
            self.refused.add(key)
            return
        self.failures += 1
        if str(error) not in self._seen_faults:
            self._seen_faults.add(str(error))
            self.faults.append(f"{self.identity.title}: {error}")

    def fill(self, name: str, *arguments: object) -> bool:
        """Whether the C function ``name`` has written its answer into ``arguments``."""
        if name in self.refused:
            return False
        try:
            self.library.raw(name, self.identity.index, self._handle, *arguments)
        except CallFailed as error:
            self.note(name, error)
            return False
        return True

    def _read_tick(self) -> None:
        """Nine calls, into buffers that are kept: half the time of pynvml's own functions."""
        cells, fill = self.cells, self.fill
        two, wide = self._two, self._wide
        done = fill("nvmlDeviceGetUtilizationRates", two)
        cells[_UTILIZATION] = two[0] if done else None
        cells[_MEMORY_UTILIZATION] = two[1] if done else None
        self._read_memory()
        done = fill("nvmlDeviceGetClockInfo", self._sm_clock, two)
        cells[_SM_CLOCK] = two[0] if done else None
        cells[_TEMPERATURE] = self._temperature()
        cells[_POWER] = two[0] / 1000 if fill("nvmlDeviceGetPowerUsage", two) else None
        cells[_REASONS] = wide[0] if fill("nvmlDeviceGetCurrentClocksEventReasons", wide) else None
        for position, value in self.values(self._tick_fields):
            cells[position] = value
        self._read_gpm()

    def _read_memory(self) -> None:
        """Total, reserved, used: of nvmlMemory_v2_t, else (before driver 510) of nvmlMemory_t."""
        wide = self._wide
        wide[0] = self.library.nvml.nvmlMemory_v2
        found: tuple[Value, Value, Value] = (None, None, None)
        if self.fill("nvmlDeviceGetMemoryInfo_v2", wide):
            found = wide[1], wide[2], wide[4]
        elif self.fill("nvmlDeviceGetMemoryInfo", wide):
            found = wide[0], None, wide[2]
        cells = self.cells
        cells[_MEMORY_TOTAL], cells[_MEMORY_RESERVED], cells[_MEMORY_USED] = found

    def _temperature(self) -> int | None:
        """°C of nvmlTemperature_t, else (before driver 570) by the older call."""
        three, two = self._three, self._two
        three[0], three[1] = self._temperature_version, 0
        if self.fill("nvmlDeviceGetTemperatureV", three):
            return int(three[2])
        return int(two[0]) if self.fill("nvmlDeviceGetTemperature", 0, two) else None

    def values(self, batch: fields.Batch[Any]) -> list[tuple[Any, Value]]:
        """What the fields of a batch say; empty where this device or driver reads none."""
        key = id(batch)
        if key in self.refused:
            return []
        try:
            return batch.read(self._handle)
        except CallFailed as error:
            self.note(key, error)
            return []

    def _read_gpm(self) -> None:
        try:
            values = self._gpm.read(self._handle)
        except CallFailed as error:
            self.note("gpm", error)
            return
        for position, value in zip(_GPM, values, strict=True):
            self.cells[position] = value

    def close(self) -> None:
        """Give back what NVML allocated for this device."""
        if self.status == "ok":
            self._gpm.close()


_UTILIZATION, _MEMORY_UTILIZATION = AT["utilization_percent"], AT["memory_utilization_percent"]
_MEMORY_USED, _MEMORY_TOTAL = AT["memory_used_bytes"], AT["memory_total_bytes"]
_MEMORY_RESERVED, _SM_CLOCK = AT["memory_reserved_bytes"], AT["sm_clock_mhz"]
_TEMPERATURE, _POWER = AT["temperature_c"], AT["power_w"]
_REASONS = AT["clock_event_reasons"]
_ALWAYS = (_UTILIZATION, _MEMORY_TOTAL, _SM_CLOCK, _TEMPERATURE, _POWER)
_GPM = tuple(
    AT[name]
    for name in (
        "sm_active_percent",
        "sm_occupancy_percent",
        "tensor_active_percent",
        "dram_active_percent",
        "gpm_pcie_sent_bytes_per_s",
        "gpm_pcie_received_bytes_per_s",
        "gpm_nvlink_received_bytes_per_s",
        "gpm_nvlink_sent_bytes_per_s",
    )
)
