"""Memory of the host.

Source: https://docs.kernel.org/filesystems/proc.html#meminfo

``/proc/meminfo``::

    MemTotal:       24683656 kB
    HugePages_Total:       0
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import MEMORY

NAMES = (
    b"MemTotal", b"MemFree", b"MemAvailable", b"Buffers", b"Cached", b"AnonPages", b"Shmem",
    b"Slab", b"SUnreclaim", b"Unevictable", b"Mlocked", b"Dirty", b"Writeback", b"Committed_AS",
    b"SwapTotal", b"SwapFree", b"HugePages_Total", b"HugePages_Free", b"HardwareCorrupted",
)  # fmt: skip
"""In the order of the table's columns."""

_LINE = re.compile(rb"^([A-Za-z_()0-9]+): +([0-9]{1,18})( kB)?$", re.MULTILINE)


class Memory(Collector):
    """Reads ``/proc/meminfo``."""

    name = "memory"
    tables = (MEMORY,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/meminfo")

    def collect(self) -> Iterator[Row]:
        """Yield the one row."""
        found = parse(self._file.read())
        yield Row(MEMORY, tuple([found.get(name) for name in NAMES]))


def parse(data: bytes) -> dict[bytes, int]:
    """Bytes (or plain counts) by name."""
    return {
        name: int(value) * 1024 if unit else int(value) for name, value, unit in _LINE.findall(data)
    }
