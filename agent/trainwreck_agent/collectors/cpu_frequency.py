"""Frequency of each core, and how often heat held it back.

Source: https://docs.kernel.org/admin-guide/pm/cpufreq.html and
Documentation/ABI/testing/sysfs-devices-system-cpu of the kernel (thermal_throttle: Intel only)

``/sys/devices/system/cpu/cpu0``: ``cpufreq/scaling_cur_freq`` 1219917 (kHz),
``thermal_throttle/core_throttle_count`` 10084.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent.attribute import Attribute, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.system import CPU

CORES = "/sys/devices/system/cpu"
_LOOK_EVERY = 30
_CORE = re.compile(r"cpu([0-9]{1,6})\Z")
_NOT_READ_HERE: tuple[Value, ...] = (None,) * 13
"""Times, context switches and load of the table: the collector ``cpu`` reads them."""
_PACKAGE = ("package_throttle_count", "package_throttle_total_time_ms")


@dataclass(slots=True)
class _Core:
    """Files of a core."""

    package: str
    frequency: Attribute
    throttled: Attribute


class CpuFrequency(Collector):
    """Reads ``/sys/devices/system/cpu``; counts of a package are read at its first core."""

    name = "cpu_frequency"
    every_s = 10.0
    tables = (CPU,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._listed: list[str] = []
        self._cores: dict[str, _Core] = {}
        self._packages: dict[str, list[Attribute]] = {}
        self._find()
        if not self._cores:
            raise Unavailable(
                f"{CORES}/cpu*: neither cpufreq nor thermal_throttle (a virtual machine: the"
                " hypervisor keeps both to itself)"
            )

    def _find(self) -> None:
        self._listed = self.host.list(CORES)
        self._cores, self._packages = {}, {}
        numbers = sorted(int(match[1]) for name in self._listed if (match := _CORE.match(name)))
        for number in numbers:
            base = f"{CORES}/cpu{number}"
            frequency = _frequency(self.host, base)
            throttled = Attribute(self.host, f"{base}/thermal_throttle/core_throttle_count")
            if not (frequency.there or throttled.there):
                continue
            package = word(self.host, f"{base}/topology/physical_package_id") or f"cpu{number}"
            self._cores[str(number)] = _Core(package, frequency, throttled)
            if package not in self._packages and throttled.there:
                self._packages[package] = [
                    Attribute(self.host, f"{base}/thermal_throttle/{name}") for name in _PACKAGE
                ]

    def collect(self) -> Iterator[Row]:
        """Yield one row a core that has a value."""
        self._turn += 1
        gone = any(core.frequency.broken for core in self._cores.values())
        if gone or (self._turn % _LOOK_EVERY == 0 and self.host.list(CORES) != self._listed):
            self._find()  # a core went offline or came online
        packages = {
            package: [file.digits() for file in files] for package, files in self._packages.items()
        }
        for name, core in self._cores.items():
            counted = packages.get(core.package, [None, None])
            values = (megahertz(core.frequency.integer()), core.throttled.digits(), *counted)
            if any(value is not None for value in values):
                yield Row(CPU, (name, *_NOT_READ_HERE, *values))


def _frequency(host: Host, base: str) -> Attribute:
    file = Attribute(host, f"{base}/cpufreq/scaling_cur_freq")
    return file if file.there else Attribute(host, f"{base}/cpufreq/cpuinfo_cur_freq")


def megahertz(kilohertz: int | None) -> float | None:
    """MHz; None where the driver says 0 for a core that it cannot ask."""
    return kilohertz / 1000 if kilohertz else None
