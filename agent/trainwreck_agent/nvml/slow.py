"""What is read of a GPU more seldom than each tick: a list of tasks, one NVML call each."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml import fields, inventory, nvlink
from trainwreck_agent.nvml.device import AT, Gpu, Task
from trainwreck_agent.nvml.library import CallFailed
from trainwreck_agent.nvml.wire import Cells
from trainwreck_agent.tables.gpu import GPU_ECC, GPU_INVENTORY, GPU_PROCESS

INSUFFICIENT_SIZE = 7
Run = Callable[[], list[Cells]]


def tasks(gpu: Gpu) -> list[Task]:
    """Every slow call of this device, quickest pace first."""
    nvml = gpu.library.nvml
    sm, memory = nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM
    threshold = "nvmlDeviceGetTemperatureThreshold"
    links = inventory.link_count(gpu)
    states = _LinkStates(gpu, links or 0)
    return [
        Task(5, _Processes(gpu).run),
        Task(5, one(gpu, "nvmlDeviceGetMarginTemperature", "temperature_margin_c")),
        Task(10, one(gpu, "nvmlDeviceGetCurrPcieLinkGeneration", "pcie_link_generation")),
        Task(10, one(gpu, "nvmlDeviceGetCurrPcieLinkWidth", "pcie_link_width")),
        Task(10, one(gpu, "nvmlDeviceGetClockInfo", "memory_clock_mhz", memory)),
        Task(10, _slow_fields(gpu)),
        Task(10, one(gpu, "nvmlDeviceGetEnforcedPowerLimit", "power_limit_w", scale=1000)),
        Task(10, lambda: _fabric(gpu)),
        *(
            Task(20, _links(gpu, batch, states))
            for batch in nvlink.link_batches(gpu.library, gpu.identity.index, links)
        ),
        Task(5, states.run),
        Task(60, _ecc(gpu)),
        Task(60, lambda: _sram(gpu)),
        Task(60, lambda: _histogram(gpu)),
        Task(60, lambda: _repair(gpu)),
        Task(60, lambda: _first(gpu, "nvmlDeviceGetMigMode", "mig_mode")),
        Task(60, lambda: _bar1(gpu)),
        Task(300, one(gpu, "nvmlDeviceGetMaxClockInfo", "sm_clock_max_mhz", sm)),
        Task(300, one(gpu, "nvmlDeviceGetMaxClockInfo", "memory_clock_max_mhz", memory)),
        Task(300, one(gpu, "nvmlDeviceGetMaxPcieLinkGeneration", "pcie_link_generation_max")),
        Task(300, one(gpu, "nvmlDeviceGetMaxPcieLinkWidth", "pcie_link_width_max")),
        Task(300, one(gpu, threshold, "temperature_shutdown_c", 0)),
        Task(300, one(gpu, threshold, "temperature_slowdown_c", 1)),
        Task(300, one(gpu, threshold, "memory_temperature_max_c", 2)),
        Task(300, one(gpu, threshold, "temperature_max_c", 3)),
    ]


def one(gpu: Gpu, name: str, column: str, *arguments: object, scale: float | None = None) -> Run:
    """A task that puts one call's answer into one column."""
    position = AT[column]

    def run() -> list[Cells]:
        value = gpu.ask(name, *arguments)
        gpu.cells[position] = value if value is None or scale is None else value / scale
        return []

    return run


def into(gpu: Gpu, name: str, struct: Any) -> bool:  # noqa: ANN401 — a pynvml structure
    """Whether the call filled ``struct``."""
    if name in gpu.refused:
        return False
    try:
        gpu.library.call(name, gpu.identity.index, gpu.handle, ctypes.byref(struct))
    except CallFailed as error:
        gpu.note(name, error)
        return False
    return True


def _slow_fields(gpu: Gpu) -> Run:
    wanted = [(AT[f.column], f.id, f.scope, f.convert) for f in fields.SLOW]
    batch = fields.Batch(gpu.library, gpu.identity.index, wanted)

    def run() -> list[Cells]:
        gpu.put(batch)
        return []

    return run


def _links(gpu: Gpu, batch: fields.Batch[nvlink.Key], states: _LinkStates) -> Run:
    return lambda: states.complete(nvlink.link_rows(gpu.identity.uuid, *gpu.values(batch)))


class _LinkStates:
    """State of the links one by one, for devices before Hopper, which have no field for it."""

    NAME = "nvmlDeviceGetNvLinkState"

    def __init__(self, gpu: Gpu, links: int) -> None:
        self._gpu = gpu
        self._links = links
        self._next = 0
        self._states: dict[Value, Value] = {}

    def complete(self, rows: list[nvlink.LinkRow]) -> list[Cells]:
        """The rows of links, with the state last read where a field told none."""
        for _table, cells in rows:
            if cells[nvlink.STATE_AT] is None:
                if not self._states:  # the device is being begun: all of them, once
                    for link in range(self._links):
                        self._read(link)
                cells[nvlink.STATE_AT] = self._states.get(cells[nvlink.LINK_AT])
        return list(rows)

    def run(self) -> list[Cells]:
        if self._states:
            self._read(self._next)
            self._next = (self._next + 1) % self._links
        return []

    def _read(self, link: int) -> None:
        value = self._gpu.ask(self.NAME, link)
        self._states[link] = None if value is None else nvlink.STATES.get(value)


def _ecc(gpu: Gpu) -> Run:
    wanted = [
        ((place, n), number, 0, None)
        for place, numbers in fields.ECC.items()
        for n, number in enumerate(numbers)
        if number is not None
    ]
    batch = fields.Batch(gpu.library, gpu.identity.index, wanted)

    def run() -> list[Cells]:
        places: dict[str, list[Value]] = {}
        for (place, n), value in zip(*gpu.values(batch), strict=True):
            places.setdefault(place, [None] * 4)[n] = value
        return [
            (GPU_ECC, [gpu.identity.uuid, place, *values])
            for place, values in places.items()
            if any(value is not None for value in values)
        ]

    return run


def _sram(gpu: Gpu) -> list[Cells]:
    nvml = gpu.library.nvml
    s = nvml.c_nvmlEccSramErrorStatus_v1_t()
    s.version = nvml.nvmlEccSramErrorStatus_v1
    if not into(gpu, "nvmlDeviceGetSramEccErrorStatus", s):
        gpu.cells[AT["sram_threshold_exceeded"]] = None
        return []
    gpu.cells[AT["sram_threshold_exceeded"]] = s.bThresholdExceeded
    corrected, secded = s.volatileCor, s.volatileUncSecDed
    places: dict[str, tuple[Value, ...]] = {
        "sram_parity": (None, s.volatileUncParity, None, s.aggregateUncParity),
        "sram_secded": (corrected, secded, s.aggregateCor, s.aggregateUncSecDed),
        "sram_l2": (None, None, None, s.aggregateUncBucketL2),
        "sram_sm": (None, None, None, s.aggregateUncBucketSm),
        "sram_pcie": (None, None, None, s.aggregateUncBucketPcie),
        "sram_mcu": (None, None, None, s.aggregateUncBucketMcu),
        "sram_other": (None, None, None, s.aggregateUncBucketOther),
    }
    return [(GPU_ECC, [gpu.identity.uuid, place, *v]) for place, v in places.items()]


def _fabric(gpu: Gpu) -> list[Cells]:
    nvml = gpu.library.nvml
    info = nvml.c_nvmlGpuFabricInfo_v2_t()
    info.version = nvml.nvmlGpuFabricInfo_v2
    done = into(gpu, "nvmlDeviceGetGpuFabricInfoV", info)
    gpu.cells[AT["fabric_state"]] = info.state if done else None
    gpu.cells[AT["fabric_status"]] = info.status if done else None
    gpu.cells[AT["fabric_health_mask"]] = info.healthMask if done else None
    return []


def _histogram(gpu: Gpu) -> list[Cells]:
    found = gpu.ask("nvmlDeviceGetRowRemapperHistogram")
    for level in ("max", "high", "partial", "low", "none"):
        value = None if found is None else getattr(found, level)
        gpu.cells[AT[f"row_remap_banks_{level}_count"]] = value
    return []


def _repair(gpu: Gpu) -> list[Cells]:
    channel, tpc = gpu.ask("nvmlDeviceGetRepairStatus") or (None, None)
    gpu.cells[AT["channel_repair_pending"]] = channel
    gpu.cells[AT["tpc_repair_pending"]] = tpc
    return []


def _first(gpu: Gpu, name: str, column: str) -> list[Cells]:
    found = gpu.ask(name)
    gpu.cells[AT[column]] = None if found is None else found[0]
    return []


def _bar1(gpu: Gpu) -> list[Cells]:
    found = gpu.ask("nvmlDeviceGetBAR1MemoryInfo")
    gpu.cells[AT["bar1_used_bytes"]] = None if found is None else found.bar1Used
    return []


class _Processes:
    """Processes with memory on the device; one call, where pynvml's own function makes two."""

    NAME = "nvmlDeviceGetComputeRunningProcesses_v3"

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._room = 16

    def run(self) -> list[Cells]:
        gpu = self._gpu
        library = gpu.library
        if self.NAME in gpu.refused:
            return []
        array = (library.nvml.c_nvmlProcessInfo_v3_t * self._room)()
        count = ctypes.c_uint(self._room)
        try:
            library.raw(self.NAME, gpu.identity.index, gpu.handle, ctypes.byref(count), array)
        except CallFailed as error:
            if error.code == INSUFFICIENT_SIZE:  # read with room enough at the next turn
                self._room = count.value + 16
            else:
                gpu.note(self.NAME, error)
            return []
        return [(GPU_PROCESS, _process(gpu.identity.uuid, p)) for p in array[: count.value]]


def _process(uuid: str | None, p: Any) -> list[Value]:  # noqa: ANN401 — a pynvml structure
    memory = told(p.usedGpuMemory, 64)
    return [uuid, p.pid, memory, told(p.gpuInstanceId, 32), told(p.computeInstanceId, 32)]


def told(value: int, bits: int) -> int | None:
    """None for the all-ones by which NVML says that it does not know."""
    return None if value == (1 << bits) - 1 else value


def inventory_row(gpu: Gpu) -> list[Cells]:
    """What the device is; read when it is found, not in a tick."""
    return [(GPU_INVENTORY, inventory.read(gpu, inventory.link_count(gpu)))]
