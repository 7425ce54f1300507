"""Energy of processors (RAPL), power sensors, supplies.

Source: https://docs.kernel.org/power/powercap/powercap.html,
https://docs.kernel.org/hwmon/sysfs-interface.html and
https://docs.kernel.org/power/power_supply_class.html

``/sys/class/powercap/intel-rapl:0``: ``name`` package-0, ``energy_uj`` 240422366267,
``max_energy_range_uj`` 262143328850: there ``energy_uj`` starts again from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent import hwmon
from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence, note
from trainwreck_agent.tables.devices import POWER
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

ZONES = "/sys/class/powercap"
SUPPLIES = "/sys/class/power_supply"
_SENSORS_EVERY = 5
_RARE_EVERY = 30
_LOOK_EVERY = 60
_ZONE = re.compile(r"[a-z][a-z-]{0,30}:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})?\Z")
_SUPPLY_FILES = ("online", "status", "power_now", "voltage_now", "current_now")
_KINDS = frozenset({"power", "in", "curr", "energy"})


@dataclass(slots=True)
class _Zone:
    """Files of a RAPL zone."""

    chip: str
    energy: Attribute
    range_uj: int | None


@dataclass(slots=True)
class _Supply:
    """Files of a power supply."""

    kind: str
    online: Attribute
    status: Attribute
    power: Attribute
    voltage: Attribute
    current: Attribute


class Power(Collector):
    """Reads ``/sys/class/powercap`` every second, hwmon every 5 s, supplies every 30 s."""

    name = "power"
    may_block = True
    tables = (POWER, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._zones: dict[str, _Zone] = {}
        self._chips: list[hwmon.Chip] = []
        self._supplies: dict[str, _Supply] = {}
        self._listed: list[str] = []
        self._find()
        self._denied = [n for n, zone in self._zones.items() if zone.energy.broken]
        if len(self._denied) == len(self._zones) and not (self._chips or self._supplies):
            if self._denied:
                raise Unavailable(f"{ZONES}: energy counters are for root only", "denied")
            raise Unavailable(
                f"{ZONES}, {hwmon.CLASS}, {SUPPLIES}: no RAPL zone, power sensor or supply (a"
                " virtual machine, or the drivers intel_rapl_msr and the board's are not loaded)"
            )
        self._presence = Presence(self.name, self._devices())

    def _list(self) -> list[str]:
        return [
            name for folder in (ZONES, hwmon.CLASS, SUPPLIES) for name in self.host.list(folder)
        ]

    def _devices(self) -> set[str]:
        return (
            {f"{c.name}@{c.device}" for c in self._chips}
            | self._zones.keys()
            | self._supplies.keys()
        )

    def _find(self) -> None:
        self._listed = self._list()
        self._zones = {n: z for n in self.host.list(ZONES) if (z := _zone(self.host, n))}
        self._chips = list(hwmon.find(self.host, _KINDS))
        self._supplies = {name: _supply(self.host, name) for name in self.host.list(SUPPLIES)}

    def _changed(self) -> bool:
        return self._list() != self._listed or any(chip.vanished for chip in self._chips)

    def collect(self) -> Iterator[Row]:
        """Yield a row a zone, sensor and supply, each at its pace."""
        if self._turn == 0 and self._denied:
            yield note(self.name, "rapl", "denied", f"{ZONES}: energy counters are for root only")
        if self._turn and self._turn % _LOOK_EVERY == 0 and self._changed():
            self._find()
            yield from self._presence.changes(self._devices())
        for name, zone in self._zones.items():
            energy = zone.energy.digits()
            if energy is not None:
                values = (None, energy, zone.range_uj, None, None, None, None)
                yield Row(POWER, ("rapl", zone.chip, name, "energy", *values))
        for chip in self._chips:
            if self._turn % (_RARE_EVERY if chip.slow else _SENSORS_EVERY) == 0:
                yield from _chip_rows(chip)
        if self._turn % _RARE_EVERY == 0:
            for name, supply in self._supplies.items():
                yield Row(POWER, ("supply", supply.kind, name, "supply", *_supply_values(supply)))
        self._turn += 1


def _zone(host: Host, name: str) -> _Zone | None:
    base = f"{ZONES}/{name}"
    if not _ZONE.match(name) or not host.exists(f"{base}/energy_uj"):
        return None
    chip = word(host, f"{base}/name") or name
    energy_range = integer(host, f"{base}/max_energy_range_uj")
    return _Zone(chip, Attribute(host, f"{base}/energy_uj"), energy_range)


def _chip_rows(chip: hwmon.Chip) -> Iterator[Row]:
    for sensor in chip.sensors:
        value = sensor.value.integer()
        alarm = sensor.alarm()
        if value is None and not alarm:
            continue
        labels = ("hwmon", chip.name, chip.device, sensor.label)
        yield Row(POWER, (*labels, *sensor_values(sensor.kind, value), alarm, None))


def sensor_values(kind: str, value: int | None) -> tuple[Value, ...]:
    """W, µJ, range, V and A of a sensor whose value is in hwmon's unit."""
    power = None if kind != "power" or value is None else value / 1_000_000
    energy = value if kind == "energy" else None
    volt = None if kind != "in" or value is None else value / 1000
    ampere = None if kind != "curr" or value is None else value / 1000
    return (power, energy, None, volt, ampere)


def _supply(host: Host, name: str) -> _Supply:
    base = f"{SUPPLIES}/{name}"
    files = [Attribute(host, f"{base}/{file}") for file in _SUPPLY_FILES]
    return _Supply(word(host, f"{base}/type") or name, *files)


def _supply_values(supply: _Supply) -> tuple[Value, ...]:
    online = supply.online.integer()
    state = supply.status.text()
    if state is None and online is not None:
        state = "online" if online else "offline"
    power, volt, ampere = (
        None if (value := file.integer()) is None else value / 1_000_000
        for file in (supply.power, supply.voltage, supply.current)
    )
    return (power, None, None, volt, ampere, None, state)
