"""Pressure stall information of the host.

Source: https://docs.kernel.org/accounting/psi.html

``/proc/pressure/memory``::

    some avg10=0.00 avg60=0.00 avg300=0.00 total=2861
    full avg10=0.00 avg60=0.00 avg300=0.00 total=2861
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, OpenFile, Unavailable
from trainwreck_agent.tables.system import PRESSURE

RESOURCES = ("cpu", "memory", "io", "irq")


class Pressure(Collector):
    """Reads ``/proc/pressure/*``."""

    name = "pressure"
    tables = (PRESSURE,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._files: dict[str, OpenFile] = {}
        for resource in RESOURCES:
            try:
                self._files[resource] = host.open(f"/proc/pressure/{resource}")
            except Unavailable:  # irq came later than the others
                continue
        if not self._files:
            raise Unavailable("/proc/pressure: kernel without PSI (CONFIG_PSI, psi=1)")

    def collect(self) -> Iterator[Row]:
        """Yield one row a resource."""
        for resource, file in self._files.items():
            yield Row(PRESSURE, (resource, "host", *parse(file.read_record())))


def parse(data: bytes) -> tuple[str | None, str | None, str | None, str | None]:
    """``(some avg10, some total, full avg10, full total)`` as written; None: no such line."""
    found: dict[bytes, tuple[str, str]] = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) == 5 and words[1][:6] == b"avg10=" and words[4][:6] == b"total=":
            average, total = (word[6:].decode("ascii", "replace") for word in (words[1], words[4]))
            found[words[0]] = (average, total)
    some = found.get(b"some", (None, None))
    full = found.get(b"full", (None, None))
    return (*some, *full)
