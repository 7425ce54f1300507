"""AMD GPUs, through the files of the amdgpu driver.

Source: https://docs.kernel.org/gpu/amdgpu/driver-misc.html,
https://docs.kernel.org/gpu/amdgpu/thermal.html and https://docs.kernel.org/gpu/amdgpu/ras.html

Below ``/sys/class/drm/card0/device``: ``gpu_busy_percent``, ``mem_info_vram_used``,
``pp_dpm_sclk``::

    0: 500Mhz
    1: 1700Mhz *

and ``ras/umc_err_count``::

    ue: 0
    ce: 0
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent import hwmon
from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.drm import CLASS, Card, cards, generation, row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.gpu import GPU

DRIVERS = frozenset({"amdgpu"})
_LOOK_EVERY = 10
_CLOCK = re.compile(rb"^[0-9S]{1,3}: *([0-9]{1,6})M[Hh]z *(\*?)", re.M)
_PAGE = re.compile(rb"^0x[0-9a-fA-F]{1,16} : 0x[0-9a-fA-F]{1,16} : ([RPF])\s*$", re.M)
_ERRORS = re.compile(rb"^(ue|ce): ?([0-9]{1,19})", re.M)

# Files by column. pcie_bw and gpu_metrics are left out: the first makes its reader wait a second,
# the second is a binary record with a layout of its own for each product.
_NUMBERS = {
    "utilization_percent": "gpu_busy_percent",
    "memory_utilization_percent": "mem_busy_percent",
    "memory_used_bytes": "mem_info_vram_used",
    "memory_total_bytes": "mem_info_vram_total",
    "pcie_link_width": "current_link_width",
    "pcie_replay_count": "pcie_replay_count",
}


class Amdgpu(Collector):
    """Reads ``/sys/class/drm/card*/device``; error counts, which ask the firmware, every 10 s."""

    name = "amdgpu"
    may_block = True
    tables = (GPU, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._gpus = {_uuid(host, card): _Gpu(host, card) for card in cards(host, DRIVERS)}
        if not self._gpus:
            raise Unavailable(f"{CLASS}: no card with the amdgpu driver")
        self._presence = Presence(self.name, self._gpus)

    def _find(self) -> None:
        found = {_uuid(self.host, card): card for card in cards(self.host, DRIVERS)}
        for uuid in [u for u, gpu in self._gpus.items() if gpu.vanished or u not in found]:
            del self._gpus[uuid]
        for uuid, card in found.items():
            if uuid not in self._gpus:
                self._gpus[uuid] = _Gpu(self.host, card)

    def collect(self) -> Iterator[Row]:
        """Yield one row a GPU."""
        look = self._turn % _LOOK_EVERY == 0
        if self._turn and look:
            self._find()
            yield from self._presence.changes(self._gpus)
        self._turn += 1
        for uuid, gpu in self._gpus.items():
            yield row(GPU, {"uuid": uuid, **gpu.values(with_errors=look)})


def _uuid(host: Host, card: Card) -> str:
    unique = word(host, f"{card.device}/unique_id")
    if unique and unique.strip("0x"):
        return f"amd-{unique.removeprefix('0x')}"
    return f"pci-{card.pci or card.number}"


class _Gpu:
    def __init__(self, host: Host, card: Card) -> None:
        base = card.device
        self._about: dict[str, Value] = {
            "serial": word(host, f"{base}/serial_number"),
            "gpu_index": card.number,
            "pci": card.pci,
            "name": word(host, f"{base}/product_name") or f"AMD {card.ids or 'GPU'}",
            "pcie_link_generation_max": generation(word(host, f"{base}/max_link_speed")),
            "pcie_link_width_max": integer(host, f"{base}/max_link_width"),
        }
        self._numbers = {
            column: Attribute(host, f"{base}/{file}") for column, file in _NUMBERS.items()
        }
        self._speed = Attribute(host, f"{base}/current_link_speed")
        self._shader = Attribute(host, f"{base}/pp_dpm_sclk")
        self._memory = Attribute(host, f"{base}/pp_dpm_mclk")
        self._errors = [
            Attribute(host, f"{base}/ras/{name}")
            for name in host.list(f"{base}/ras")
            if name.endswith("_err_count")
        ]
        self._bad_pages = f"{base}/ras/gpu_vram_bad_pages"
        self._host = host
        self._sensors: dict[str, hwmon.Sensor] = {}
        self._limit: Attribute | None = None
        for folder in host.list(f"{base}/hwmon"):
            chip = f"{base}/hwmon/{folder}"
            found = hwmon.sensors(host, chip, frozenset({"temp", "power"}))
            self._sensors = {f"{s.kind} {s.label}": s for s in found}
            self._limit = Attribute(host, f"{chip}/power1_cap")
        self._counted: dict[str, Value] = {}

    @property
    def vanished(self) -> bool:
        return self._numbers["memory_used_bytes"].vanished

    def values(self, *, with_errors: bool) -> dict[str, Value]:
        clock, clock_max = clocks(self._shader.data() or b"")
        told: dict[str, Value] = {
            **self._about,
            **{column: file.digits() for column, file in self._numbers.items()},
            "pcie_link_generation": generation(self._speed.text()),
            "sm_clock_mhz": clock,
            "sm_clock_max_mhz": clock_max,
            "memory_clock_mhz": clocks(self._memory.data() or b"")[0],
            **self._sensed(),
        }
        if with_errors and self._errors:
            self._counted = errors([file.data() or b"" for file in self._errors])
            self._counted |= bad_pages(self._host.read(self._bad_pages))
        told.update(self._counted)
        alive = any(file.there for file in self._numbers.values())
        told["status"] = "ok" if alive else "lost: the driver answers nothing"
        return told

    def _sensed(self) -> dict[str, Value]:
        read = {name: sensor.value.integer() for name, sensor in self._sensors.items()}
        core = next((n for n in ("temp junction", "temp edge", "temp temp1") if n in read), "")
        limit = self._sensors[core].critical if core else None
        power = next((value for name, value in read.items() if name.startswith("power ")), None)
        cap = None if self._limit is None else self._limit.integer()
        return {
            "temperature_c": degrees(read.get(core)),
            "temperature_slowdown_c": degrees(limit),
            "memory_temperature_c": degrees(read.get("temp mem")),
            "power_w": None if power is None else power / 1_000_000,
            "power_limit_w": None if cap is None else cap / 1_000_000,
        }


def degrees(millidegrees: int | None) -> int | None:
    """°C, rounded."""
    return None if millidegrees is None else round(millidegrees / 1000)


def clocks(levels: bytes) -> tuple[int | None, int | None]:
    """Clock in force (marked by a star) and highest one of a table of levels, MHz."""
    found = [(int(mhz), bool(star)) for mhz, star in _CLOCK.findall(levels)]
    now = next((mhz for mhz, star in found if star), None)
    return now, max((mhz for mhz, _ in found), default=None)


def bad_pages(listed: bytes | None) -> dict[str, Value]:
    """Pages taken out of use (R) and waiting to be (P) in lines ``0x1234 : 0x1000 : R``."""
    if listed is None:
        return {}
    states = _PAGE.findall(listed)
    return {
        "retired_pages_uncorrected_count": states.count(b"R"),
        "retired_pages_pending": int(b"P" in states),
    }


def errors(blocks: list[bytes]) -> dict[str, Value]:
    """Sums of corrected and uncorrected errors over the blocks of a device."""
    found = [(kind, int(count)) for data in blocks for kind, count in _ERRORS.findall(data)]
    sums: dict[str, Value] = {}
    for column, kind in (("ecc_corrected_count", b"ce"), ("ecc_uncorrected_count", b"ue")):
        counts = [count for name, count in found if name == kind]
        sums[column] = sum(counts) if counts else None
    return sums
