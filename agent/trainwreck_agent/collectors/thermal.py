"""Temperatures, fans and cooling devices.

Source: https://docs.kernel.org/hwmon/sysfs-interface.html and
https://docs.kernel.org/driver-api/thermal/sysfs-api.html

``/sys/class/hwmon/hwmon1``: ``name`` coretemp, ``temp1_label`` Package id 0, ``temp1_input`` 45000.
``/sys/class/thermal/thermal_zone0``: ``type`` x86_pkg_temp, ``temp`` 45000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent import hwmon
from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence
from trainwreck_agent.tables.devices import THERMAL
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

ZONES = "/sys/class/thermal"
_SLOW_EVERY = 6
_LOOK_EVERY = 12
_ABSOLUTE_ZERO_MC = -273_150
_KINDS = frozenset({"temp", "fan"})


@dataclass(slots=True)
class _Zone:
    """Files of a thermal zone."""

    kind: str
    temperature: Attribute
    critical_c: float | None


@dataclass(slots=True)
class _Cooling:
    """Files of a cooling device."""

    kind: str
    state: Attribute
    last: int | None = None


class Thermal(Collector):
    """Reads ``/sys/class/hwmon`` and ``/sys/class/thermal``; slow chips every 30 s."""

    name = "thermal"
    every_s = 5.0
    may_block = True
    tables = (THERMAL, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._chips: dict[str, hwmon.Chip] = {}
        self._zones: dict[str, _Zone] = {}
        self._cooling: dict[str, _Cooling] = {}
        self._names: list[str] = []
        self._find()
        if not (self._chips or self._zones or self._cooling):
            raise Unavailable(
                f"{hwmon.CLASS}, {ZONES}: the kernel shows no sensor (a virtual machine, or the"
                " drivers coretemp, k10temp and the board's are not loaded)"
            )
        self._presence = Presence(self.name, self._devices())

    def _devices(self) -> set[str]:
        chips = {f"{chip.name}@{chip.device}" for chip in self._chips.values()}
        return chips | set(self._zones) | set(self._cooling)

    def _find(self) -> None:
        self._names = self._list()
        self._chips = {chip.folder: chip for chip in hwmon.find(self.host, _KINDS)}
        self._zones, self._cooling = {}, {}
        for name in self.host.list(ZONES):
            base = f"{ZONES}/{name}"
            kind = word(self.host, f"{base}/type") or name
            if name.startswith("thermal_zone"):
                temperature = Attribute(self.host, f"{base}/temp")
                self._zones[name] = _Zone(kind, temperature, critical_c(self.host, base))
            elif name.startswith("cooling_device"):
                self._cooling[name] = _Cooling(kind, Attribute(self.host, f"{base}/cur_state"))

    def _list(self) -> list[str]:
        return self.host.list(hwmon.CLASS) + self.host.list(ZONES)

    def _changed(self) -> bool:
        return self._list() != self._names or any(c.vanished for c in self._chips.values())

    def collect(self) -> Iterator[Row]:
        """Yield a row a sensor; of a cooling device when its state changed, and every minute."""
        if self._turn and self._turn % _LOOK_EVERY == 0 and self._changed():
            self._find()
            yield from self._presence.changes(self._devices())
        for chip in self._chips.values():
            if self._turn % _SLOW_EVERY == 0 or not chip.slow:
                yield from _chip_rows(chip)
        for name, zone in self._zones.items():
            value = celsius(zone.temperature.integer())
            if value is not None:
                yield Row(
                    THERMAL,
                    ("zone", zone.kind, name, "temp", value, zone.critical_c, None, None, None),
                )
        for name, device in self._cooling.items():
            state = device.state.integer()
            if state is not None and (state != device.last or self._turn % _LOOK_EVERY == 0):
                yield Row(
                    THERMAL,
                    ("cooling", device.kind, name, "state", None, None, None, state, None),
                )
            device.last = state
        self._turn += 1


def _chip_rows(chip: hwmon.Chip) -> Iterator[Row]:
    for sensor in chip.sensors:
        value = sensor.value.integer()
        alarm = sensor.alarm()
        if value is None and not alarm:  # disconnected, or gone: no reading is no row
            continue
        labels = ("hwmon", chip.name, chip.device, sensor.label)
        if sensor.kind == "fan":
            yield Row(THERMAL, (*labels, None, None, value, None, alarm))
        else:
            limit = celsius(sensor.critical)
            yield Row(THERMAL, (*labels, celsius(value), limit, None, None, alarm))


def celsius(millidegrees: int | None) -> float | None:
    """°C; None for values below absolute zero, by which drivers say that they have no reading."""
    if millidegrees is None or millidegrees < _ABSOLUTE_ZERO_MC:
        return None
    return millidegrees / 1000


def critical_c(host: Host, zone: str) -> float | None:
    """The critical trip point of a thermal zone, °C."""
    for name in host.list(zone):
        if name.startswith("trip_point_") and name.endswith("_type"):
            base = f"{zone}/{name.removesuffix('_type')}"
            if word(host, f"{base}_type") == "critical":
                return celsius(integer(host, f"{base}_temp"))
    return None
