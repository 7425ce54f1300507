"""Intel GPUs, through the files of the drivers xe and i915.

Source: Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon and
https://docs.kernel.org/gpu/xe/xe_gt_freq.html; for i915
Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon of the kernel

xe: below ``/sys/class/drm/card0/device``: ``tile0/gt0/freq0/act_freq`` (MHz),
``tile0/gt0/freq0/throttle/reason_thermal``. i915: ``/sys/class/drm/card0/gt/gt0/rps_act_freq_mhz``,
``throttle_reason_thermal``. Neither tells utilisation or memory in use by sysfs.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent import hwmon
from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.drm import CLASS, Card, cards, generation, row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.gpu import GPU

DRIVERS = frozenset({"xe", "i915"})
_LOOK_EVERY = 10

REASON_BITS = {
    "pl1": 0x4, "pl2": 0x4, "pl4": 0x4, "fast_vmode": 0x4,
    "thermal": 0x40, "vr_thermalert": 0x40, "ratl": 0x20,
    "prochot": 0x8, "vr_tdc": 0x80,
}  # fmt: skip
"""Intel's throttle reasons as NVML's bits: power cap 0x4, hardware slowdown 0x8, software thermal
0x20, hardware thermal 0x40, power brake 0x80."""


class Xe(Collector):
    """Reads ``/sys/class/drm/card*`` of Intel GPUs."""

    name = "xe"
    may_block = True
    tables = (GPU, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._gpus: dict[str, _Gpu] = {}
        self._find()
        if not self._gpus:
            raise Unavailable(f"{CLASS}: no card with the driver xe or i915 that shows a sensor")
        self._presence = Presence(self.name, self._gpus)

    def _find(self) -> None:
        found = {_uuid(card): card for card in cards(self.host, DRIVERS)}
        for uuid in [u for u, gpu in self._gpus.items() if gpu.vanished or u not in found]:
            del self._gpus[uuid]
        for uuid, card in found.items():
            if uuid not in self._gpus and (gpu := _Gpu(self.host, card)).readable:
                self._gpus[uuid] = gpu

    def collect(self) -> Iterator[Row]:
        """Yield one row a GPU."""
        if self._turn and self._turn % _LOOK_EVERY == 0:
            self._find()
            yield from self._presence.changes(self._gpus)
        self._turn += 1
        for uuid, gpu in self._gpus.items():
            yield row(GPU, {"uuid": uuid, **gpu.values()})


def _uuid(card: Card) -> str:
    # The drivers show no serial number; the place on the bus is what identifies a card.
    return f"pci-{card.pci or card.number}"


class _Gpu:
    def __init__(self, host: Host, card: Card) -> None:
        base = card.device
        self._about: dict[str, Value] = {
            "gpu_index": card.number,
            "pci": card.pci,
            "name": f"Intel {card.ids or 'GPU'}",
            "pcie_link_generation_max": generation(word(host, f"{base}/max_link_speed")),
            "pcie_link_width_max": integer(host, f"{base}/max_link_width"),
        }
        self._speed = Attribute(host, f"{base}/current_link_speed")
        self._width = Attribute(host, f"{base}/current_link_width")
        self._clocks: list[Attribute] = []
        self._clock_max: list[int] = []
        self._reasons: list[tuple[int, Attribute]] = []
        self._find_xe(host, base)
        self._find_i915(host, f"{card.folder}/gt")
        self._sensors: list[hwmon.Sensor] = []
        self._limit: int | None = None
        for folder in host.list(f"{base}/hwmon"):
            chip = f"{base}/hwmon/{folder}"
            for kind in ("temp", "energy"):  # each by itself: they share labels
                self._sensors += hwmon.sensors(host, chip, frozenset({kind}))
            self._limit = integer(host, f"{chip}/power1_max")

    def _find_xe(self, host: Host, base: str) -> None:
        for tile in _matching(host, base, "tile"):
            for gt in _matching(host, tile, "gt"):
                for domain in _matching(host, gt, "freq"):
                    self._add_clock(host, f"{domain}/act_freq", f"{domain}/max_freq")
                    self._add_reasons(host, f"{domain}/throttle", "reason_")

    def _find_i915(self, host: Host, base: str) -> None:
        for gt in _matching(host, base, "gt"):
            self._add_clock(host, f"{gt}/rps_act_freq_mhz", f"{gt}/rps_max_freq_mhz")
            self._add_reasons(host, gt, "throttle_reason_")

    def _add_clock(self, host: Host, now: str, most: str) -> None:
        self._clocks.append(Attribute(host, now))
        limit = integer(host, most)
        if limit is not None:
            self._clock_max.append(limit)

    def _add_reasons(self, host: Host, folder: str, prefix: str) -> None:
        for name in host.list(folder):
            bit = REASON_BITS.get(name.removeprefix(prefix))
            if bit is not None and name.startswith(prefix):
                self._reasons.append((bit, Attribute(host, f"{folder}/{name}")))

    @property
    def readable(self) -> bool:
        return any(clock.there for clock in self._clocks) or bool(self._sensors)

    @property
    def vanished(self) -> bool:
        return self._width.vanished

    def values(self) -> dict[str, Value]:
        clocks = [mhz for file in self._clocks if (mhz := file.integer()) is not None]
        asked = [(bit, value) for bit, file in self._reasons
                 if (value := file.integer()) is not None]  # fmt: skip
        told: dict[str, Value] = {
            **self._about,
            "status": "ok",
            "pcie_link_generation": generation(self._speed.text()),
            "pcie_link_width": self._width.integer(),
            "sm_clock_mhz": max(clocks, default=None),
            "sm_clock_max_mhz": max(self._clock_max, default=None),
            "clock_event_reasons": reasons(asked) if asked else None,
            "power_limit_w": None if self._limit is None else self._limit / 1_000_000,
        }
        for sensor in self._sensors:
            value = sensor.value.integer()
            if value is None:
                continue
            if sensor.kind == "energy":
                told.setdefault("energy_mj", value // 1000)  # the first one is the whole card
            elif sensor.label in ("pkg", "temp2"):
                told["temperature_c"] = round(value / 1000)
            elif sensor.label in ("vram", "temp3"):
                told["memory_temperature_c"] = round(value / 1000)
        return told


def reasons(asked: list[tuple[int, int]]) -> int:
    """NVML's bits of the reasons whose file says 1."""
    bits = 0
    for bit, value in asked:
        bits |= bit if value else 0
    return bits


def _matching(host: Host, folder: str, prefix: str) -> list[str]:
    return [
        f"{folder}/{name}"
        for name in host.list(folder)
        if name.startswith(prefix) and name[len(prefix) :].isdecimal()
    ]
