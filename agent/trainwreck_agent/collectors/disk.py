"""Block devices.

Source: https://docs.kernel.org/admin-guide/iostats.html

``/proc/diskstats``::

    254 0 vda 7471 3205 713530 1694 6613 10134 461768 2722 0 3052 4568 0 0 0 0 1199 151
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import DISK

SECTOR_BYTES = 512
_PARTITION = re.compile(r"^(?:(?:sd|vd|xvd|hd)[a-z]+[0-9]+|(?:nvme\d+n\d+|mmcblk\d+|loop\d+)p\d+)$")
_IDLE = re.compile(r"^(?:loop|ram|fd|sr)\d+$")


class Disk(Collector):
    """Reads ``/proc/diskstats``; loop and RAM disks only once they were used."""

    name = "disk"
    tables = (DISK,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/diskstats")
        self._last: dict[bytes, tuple[Value, ...] | None] = {}

    def collect(self) -> Iterator[Row]:
        """Yield one row a device."""
        last, self._last = self._last, {}
        for line in self._file.read().splitlines():
            # Most devices of a host do nothing: their line is the same as a second ago.
            values = last[line] if line in last else parse_line(line)
            self._last[line] = values
            if values is not None:
                yield Row(DISK, values)


def parse_line(line: bytes) -> tuple[Value, ...] | None:
    """The table's columns of a whole device; None for anything else."""
    words = line.split(None, 14)
    if len(words) < 14 or not all(word.isdigit() and len(word) < 21 for word in words[3:14]):
        return None
    device = words[2].decode("utf-8", "replace")
    n = [int(word) for word in words[3:14]]
    if _PARTITION.match(device) or (_IDLE.match(device) and not any(n)):
        return None
    return (
        device, n[0], n[2] * SECTOR_BYTES, n[3], n[4], n[6] * SECTOR_BYTES, n[7], n[8], n[9], n[10],
    )  # fmt: skip
