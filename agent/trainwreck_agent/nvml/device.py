"""One GPU: what is read each tick, and what is read slower, two calls a tick at most."""

from __future__ import annotations

import ctypes
import heapq
import struct
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from trainwreck_agent.collector import Value
from trainwreck_agent.journal import field
from trainwreck_agent.nvml import fields
from trainwreck_agent.nvml.gpm import Gpm
from trainwreck_agent.nvml.library import REMEMBERED, CallFailed, DeviceGone, Library, Planned
from trainwreck_agent.nvml.wire import Cells, Device
from trainwreck_agent.tables.gpu import GPU

AT = {column.name: position for position, column in enumerate(GPU.columns)}
IDENTITY = ("uuid", "serial", "gpu_index", "pci", "name")
PING_S = 10.0
"""How often a device that was lost is asked whether it is back."""


class _Answers(ctypes.Structure):
    """Room for the answers of the calls of each tick."""

    _fields_ = (
        ("utilization", ctypes.c_uint * 2),  # nvmlUtilization_t
        ("memory", ctypes.c_ulonglong * 5),  # nvmlMemory_v2_t: version, total, reserved, free, used
        ("reasons", ctypes.c_ulonglong),
        ("clock", ctypes.c_uint),
        ("power", ctypes.c_uint),
        ("temperature", ctypes.c_int * 3),  # nvmlTemperature_t: version, sensor, °C
    )


_ANSWERS = struct.Struct("<2I5QQII3i")


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
        self._raw, self._index = library.raw, identity.index
        self._handle = handle
        self._sm_clock = library.nvml.NVML_CLOCK_SM
        self._temperature_version = getattr(library.nvml, "nvmlTemperature_v1", 0)
        self._two = (ctypes.c_uint * 2)()
        self._three = (ctypes.c_int * 3)()
        self._wide = (ctypes.c_ulonglong * 5)()
        self._answers = _Answers()
        self._answers_view = memoryview(self._answers).cast("B")
        self._plan: list[Planned] = []
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
        self._rest: tuple[Value, ...] = ()
        self._template = ""
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
        self._plan = self._planned()
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
            return [(GPU, self._line())]
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
        found.append((GPU, self._line()))
        return found

    def _line(self) -> str:
        """The row as it stands in the journal.

        What each tick reads is put into the text of the rest, made when some of it has changed.
        """
        cells = self.cells
        rest = _rest_of(cells)
        if rest != self._rest:
            self._rest = rest
            texts = [field(value).replace("%", "%%") for value in cells]
            for position in _EACH_TICK:
                texts[position] = "%s"
            self._template = "\t".join(texts)
        return self._template % tuple(
            [value if type(value) in _PLAIN else field(value) for value in _tick_of(cells)]
        )

    def quick(self) -> tuple[float | None, int | None, int | None, int | None]:
        """W, MHz, °C and clock-event reasons at this moment, by four calls; None: not told.

        Raises:
            DeviceGone: The device does not answer any more.
        """
        fill, two, wide = self.fill, self._two, self._wide
        watts = None
        for value in self.values(self._power_field)[1]:
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
            self._raw(name, self._index, self._handle, *arguments)
        except CallFailed as error:
            self.note(name, error)
            return False
        return True

    def _read_tick(self) -> None:
        """Nine calls, into buffers that are kept: a third the time of pynvml's own functions."""
        if self._plan:
            self._read_planned()
        else:
            self._read_each()
        self.put(self._tick_fields)
        self._read_gpm()

    def _planned(self) -> list[Planned]:
        """The calls that a device of today answers; empty where the library has not all of them."""
        answers, place = self._answers, _Answers
        calls = (
            ("nvmlDeviceGetUtilizationRates", ctypes.byref(answers, place.utilization.offset)),
            ("nvmlDeviceGetMemoryInfo_v2", ctypes.byref(answers, place.memory.offset)),
            ("nvmlDeviceGetCurrentClocksEventReasons",
             ctypes.byref(answers, place.reasons.offset)),
            ("nvmlDeviceGetClockInfo", self._sm_clock, ctypes.byref(answers, place.clock.offset)),
            ("nvmlDeviceGetPowerUsage", ctypes.byref(answers, place.power.offset)),
            ("nvmlDeviceGetTemperatureV", ctypes.byref(answers, place.temperature.offset)),
        )  # fmt: skip
        try:
            return [(str(name), *self.library.bound(str(name)), (self._handle, *arguments))
                    for name, *arguments in calls]  # fmt: skip
        except CallFailed:
            return []

    def _read_planned(self) -> None:
        """Six calls whose answers are read together."""
        answers, cells = self._answers, self.cells
        answers.memory[0] = self.library.nvml.nvmlMemory_v2
        answers.temperature[0], answers.temperature[1] = self._temperature_version, 0
        failed = self.library.raw_all(self._index, self._plan)
        found = _ANSWERS.unpack_from(self._answers_view)
        cells[_UTILIZATION], cells[_MEMORY_UTILIZATION] = found[0:2]
        cells[_MEMORY_TOTAL], cells[_MEMORY_RESERVED], cells[_MEMORY_USED] = (
            *found[3:5],
            found[6],
        )
        cells[_REASONS], cells[_SM_CLOCK], milliwatts = found[7:10]
        cells[_POWER], cells[_TEMPERATURE] = milliwatts / 1000, found[12]
        for name, _code in failed:
            for position in _FILLED_BY[name]:
                cells[position] = None
        for name, code in failed:
            error = self.library.fault(name, code)
            if not isinstance(error, CallFailed):
                raise error
            self.note(name, error)
            if name in self.refused:
                self._plan = []  # an older device or driver: there may be another call for it

    def _read_each(self) -> None:
        """The same one by one, and older calls where the device refuses one."""
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

    def values(self, batch: fields.Batch[fields.Key]) -> tuple[list[fields.Key], list[Value]]:
        """What the fields of a batch say; nothing where this device or driver reads none."""
        key = id(batch)
        if key in self.refused:
            return [], []
        try:
            return batch.read(self._handle)
        except CallFailed as error:
            self.note(key, error)
            return [], []

    def put(self, batch: fields.Batch[int]) -> None:
        """Read a batch whose keys are positions of columns into the row."""
        cells = self.cells
        for position, value in zip(*self.values(batch), strict=True):
            cells[position] = value

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
_FILLED_BY = {
    "nvmlDeviceGetUtilizationRates": (_UTILIZATION, _MEMORY_UTILIZATION),
    "nvmlDeviceGetMemoryInfo_v2": (_MEMORY_TOTAL, _MEMORY_RESERVED, _MEMORY_USED),
    "nvmlDeviceGetCurrentClocksEventReasons": (_REASONS,),
    "nvmlDeviceGetClockInfo": (_SM_CLOCK,),
    "nvmlDeviceGetPowerUsage": (_POWER,),
    "nvmlDeviceGetTemperatureV": (_TEMPERATURE,),
}
_EACH_TICK = sorted(
    {_MEMORY_UTILIZATION, _MEMORY_USED, _MEMORY_RESERVED, _REASONS, *_ALWAYS, *_GPM}
    | {AT[f.column] for f in fields.TICK}
)
"""Columns that each tick writes."""
_tick_of = itemgetter(*_EACH_TICK)
_rest_of = itemgetter(*(n for n in range(len(GPU.columns)) if n not in _EACH_TICK))
_PLAIN = (int, float)
"""Types whose ``str`` is what the journal has."""
