"""What a GPU is and what drives it: read when the device is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml.library import CallFailed, Library
from trainwreck_agent.nvml.progress import NO_DEVICE

if TYPE_CHECKING:
    from trainwreck_agent.nvml.device import Gpu

LINK_COUNT = 91
LINKS_MAX = 72


def link_count(gpu: Gpu) -> int | None:
    """How many NVLinks the device has; None where it does not tell."""
    found = gpu.ask("nvmlDeviceGetFieldValues", (LINK_COUNT,))
    if found is None or found[0].nvmlReturn or found[0].value.uiVal > LINKS_MAX:
        return None
    return int(found[0].value.uiVal)


def read(gpu: Gpu, links: int | None) -> list[Value]:
    """The row of ``gpu_inventory``."""
    d = gpu.identity
    memory = gpu.ask("nvmlDeviceGetMemoryInfo")
    node = gpu.ask("nvmlDeviceGetNumaNodeId")
    ecc, mig = gpu.ask("nvmlDeviceGetEccMode"), gpu.ask("nvmlDeviceGetMigMode")
    persistence = gpu.ask("nvmlDeviceGetPersistenceMode")
    return [
        *(d.uuid, d.serial, d.index, d.pci, d.name),
        gpu.ask("nvmlDeviceGetBoardPartNumber"),
        gpu.ask("nvmlDeviceGetVbiosVersion"),
        gpu.ask("nvmlDeviceGetInforomImageVersion"),
        *software(gpu.library),
        gpu.ask("nvmlDeviceGetMinorNumber"),
        node if node is None or node >= 0 else None,
        None if persistence is None else bool(persistence),
        None if ecc is None else bool(ecc[0]),
        None if mig is None else bool(mig[0]),
        None if memory is None else memory.total,
        links,
    ]


def software(library: Library) -> tuple[str | None, str | None, str | None]:
    """Versions of the driver, of NVML, and of the CUDA that the driver can do."""

    def ask(name: str) -> object:
        try:
            return library.call(name, NO_DEVICE)
        except CallFailed:
            return None

    driver, nvml = ask("nvmlSystemGetDriverVersion"), ask("nvmlSystemGetNVMLVersion")
    cuda = ask("nvmlSystemGetCudaDriverVersion_v2")
    return (
        None if driver is None else str(driver),
        None if nvml is None else str(nvml),
        f"{cuda // 1000}.{cuda % 1000 // 10}" if isinstance(cuda, int) else None,
    )
