"""Interrupts by which processors report faults.

Source: https://docs.kernel.org/filesystems/proc.html (interrupts) and arch/x86/kernel/irq.c of the
kernel

``/proc/interrupts``::

               CPU0       CPU1
    TRM:          0          0   Thermal event interrupts
    MCE:          0          0   Machine check exceptions
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.devices import MACHINE_CHECK

NAMES = (b"MCE", b"MCP", b"TRM", b"THR", b"DFR")
"""In the order of the table's columns."""
_LINE = re.compile(rb"^ *(" + b"|".join(NAMES) + rb"):((?: +[0-9]{1,19})+)", re.M)


class MachineCheck(Collector):
    """Reads ``/proc/interrupts``, once a minute: it is large where there are many cores."""

    name = "machine_check"
    every_s = 60.0
    tables = (MACHINE_CHECK,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/interrupts")
        if not parse(self._file.read()):
            raise Unavailable(
                "/proc/interrupts: no line MCE or TRM (not an x86 processor: Arm servers report by"
                " GHES, in the kernel log)"
            )

    def collect(self) -> Iterator[Row]:
        """Yield the one row."""
        found = parse(self._file.read())
        yield Row(MACHINE_CHECK, tuple([found.get(name) for name in NAMES]))


def parse(data: bytes) -> dict[bytes, int]:
    """Sums over the cores by name."""
    return {name: sum(int(word) for word in counts.split()) for name, counts in _LINE.findall(data)}
