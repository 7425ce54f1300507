"""Chips of the kernel's hardware-monitoring class, and what their sensors are called.

Source: https://docs.kernel.org/hwmon/sysfs-interface.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.host import Host

CLASS = "/sys/class/hwmon"

SLOW_CHIPS = frozenset({"acpi_power_meter", "jc42", "spd5118", "drivetemp", "power_meter"})
"""Their reads go over a slow bus, through firmware or to a disk: every 30 s is enough."""

_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_INPUT = re.compile(r"(temp|fan|in|curr|power|energy)([0-9]{1,4})_(?:input|average)\Z")
_ALARMS = ("alarm", "crit_alarm", "max_alarm", "min_alarm", "lcrit_alarm", "emergency_alarm",
           "cap_alarm", "fault")  # fmt: skip


@dataclass(slots=True)
class Sensor:
    """One sensor: where its value and its alarm bits are read."""

    kind: str
    """temp (m°C), fan (RPM), in (mV), curr (mA), power (µW) or energy (µJ)."""
    label: str
    value: Attribute
    alarms: list[Attribute]
    critical: int | None
    """The critical limit in the sensor's unit, None where none is set."""

    def alarm(self) -> bool | None:
        """Whether one of its alarm or fault bits is set; None where it has none."""
        bits = [bit for file in self.alarms if (bit := file.integer()) is not None]
        return any(bits) if bits else None


@dataclass(slots=True)
class Chip:
    """One chip with the sensors that were asked for."""

    folder: str
    name: str
    device: str
    """PCI address where there is one, else the kernel's name of the device."""
    sensors: list[Sensor]

    @property
    def slow(self) -> bool:
        """Whether its reads are dear."""
        return self.name in SLOW_CHIPS

    @property
    def vanished(self) -> bool:
        """Whether its driver took it away."""
        return any(sensor.value.vanished for sensor in self.sensors)


def find(host: Host, kinds: frozenset[str]) -> Iterator[Chip]:
    """Yield the chips that have sensors of these kinds."""
    for folder in host.list(CLASS):
        base = f"{CLASS}/{folder}"
        names = host.list(base)
        if (
            "name" not in names and "device" in names
        ):  # drivers before the class had files of its own
            base = f"{base}/device"
            names = host.list(base)
        found = list(sensors(host, base, kinds))
        if found:
            name = word(host, f"{base}/name") or folder
            yield Chip(folder, name, device(host, f"{CLASS}/{folder}"), found)


def device(host: Host, folder: str) -> str:
    """Where a device of a class sits: its PCI address if it has one, else its parent's name."""
    real = os.path.realpath(host.path(folder))
    parent = os.path.realpath(host.path(f"{folder}/device"))
    for path in (parent, real):
        for part in reversed(path.split("/")):
            if _PCI.match(part):
                return part
    exists = os.path.exists(host.path(f"{folder}/device"))
    return os.path.basename(parent if exists else folder)


def sensors(host: Host, base: str, kinds: frozenset[str]) -> Iterator[Sensor]:
    """Yield the sensors of these kinds in the folder of a chip."""
    names = host.list(base)
    present = set(names)
    found = sorted(
        (match[1], int(match[2]), name)
        for name in names
        if (match := _INPUT.match(name)) and match[1] in kinds
    )
    taken: set[str] = set()
    for kind, number, name in found:
        sensor = f"{kind}{number}"
        if sensor in taken:  # power1_average and power1_input of one sensor: the mean came first
            continue
        label = word(host, f"{base}/{sensor}_label") or sensor
        if label in taken:
            label = f"{label} ({sensor})"
        taken.update((sensor, label))
        critical = integer(host, f"{base}/{sensor}_crit")
        yield Sensor(
            kind,
            label,
            Attribute(host, f"{base}/{name}"),
            [
                Attribute(host, f"{base}/{sensor}_{bit}")
                for bit in _ALARMS
                if f"{sensor}_{bit}" in present
            ],
            # Chips whose limit nobody has set say 0 or less.
            critical if critical is not None and critical > 0 else None,
        )
