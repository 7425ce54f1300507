"""Memory of the host.

Source: https://docs.kernel.org/filesystems/proc.html#meminfo

``/proc/meminfo``::

    MemTotal:       24683656 kB
    HugePages_Total:       0
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.named_numbers import NamedNumbers
from trainwreck_agent.tables.system import MEMORY

NAMES = (
    b"MemTotal", b"MemFree", b"MemAvailable", b"Buffers", b"Cached", b"AnonPages", b"Shmem",
    b"Slab", b"SUnreclaim", b"Unevictable", b"Mlocked", b"Dirty", b"Writeback", b"Committed_AS",
    b"SwapTotal", b"SwapFree", b"HugePages_Total", b"HugePages_Free", b"HardwareCorrupted",
)  # fmt: skip
"""In the order of the table's columns."""


class Memory(Collector):
    """Reads ``/proc/meminfo``."""

    name = "memory"
    tables = (MEMORY,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/meminfo")
        self._numbers = numbers()

    def collect(self) -> Iterator[Row]:
        """Yield the one row."""
        yield Row(MEMORY, tuple(self._numbers.read(self._file.read())))


def numbers() -> NamedNumbers:
    """What reads bytes and plain counts out of the file."""
    return NamedNumbers(NAMES)
