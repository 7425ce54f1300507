"""Counters of the virtual-memory system, the OOM killer's among them.

Source: https://docs.kernel.org/admin-guide/mm/numaperf.html and mm/vmstat.c of the kernel

``/proc/vmstat``::

    nr_free_pages 5973862
    oom_kill 0
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import VMSTAT

NAMES = (
    b"oom_kill", b"pgfault", b"pgmajfault", b"pswpin", b"pswpout", b"allocstall",
    b"pgscan_direct", b"pgsteal_direct", b"compact_stall", b"compact_fail", b"thp_fault_fallback",
    b"workingset_refault_anon", b"workingset_refault_file", b"numa_hit", b"numa_miss",
    b"numa_foreign", b"numa_pages_migrated",
)  # fmt: skip
"""In the order of the table's columns; ``allocstall`` is the sum over zones."""

_WANTED = re.compile(rb"^(allocstall[a-z_]*|" + b"|".join(NAMES) + rb") ([0-9]{1,20})$", re.M)


class Vmstat(Collector):
    """Reads ``/proc/vmstat``."""

    name = "vmstat"
    tables = (VMSTAT,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/vmstat")

    def collect(self) -> Iterator[Row]:
        """Yield the one row."""
        found = parse(self._file.read())
        yield Row(VMSTAT, tuple([found.get(name) for name in NAMES]))


def parse(data: bytes) -> dict[bytes, int]:
    """The wanted counters by name."""
    found: dict[bytes, int] = {}
    for name, value in _WANTED.findall(data):
        key = b"allocstall" if name.startswith(b"allocstall") else name
        found[key] = found.get(key, 0) + int(value)
    return found
