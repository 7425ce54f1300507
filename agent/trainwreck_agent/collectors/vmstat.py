"""Counters of the virtual-memory system, the OOM killer's among them.

Source: https://docs.kernel.org/admin-guide/mm/numaperf.html and mm/vmstat.c of the kernel

``/proc/vmstat``::

    nr_free_pages 5973862
    oom_kill 0
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.named_numbers import NamedNumbers
from trainwreck_agent.tables.system import VMSTAT

NAMES = (
    b"oom_kill", b"pgfault", b"pgmajfault", b"pswpin", b"pswpout", b"allocstall",
    b"pgscan_direct", b"pgsteal_direct", b"compact_stall", b"compact_fail", b"thp_fault_fallback",
    b"workingset_refault_anon", b"workingset_refault_file", b"numa_hit", b"numa_miss",
    b"numa_foreign", b"numa_pages_migrated",
)  # fmt: skip
"""In the order of the table's columns; ``allocstall`` is the sum over zones."""


class Vmstat(Collector):
    """Reads ``/proc/vmstat``."""

    name = "vmstat"
    tables = (VMSTAT,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._file = host.open("/proc/vmstat")
        self._numbers = numbers()

    def collect(self) -> Iterator[Row]:
        """Yield the one row."""
        yield Row(VMSTAT, tuple(self._numbers.read(self._file.read())))


def numbers() -> NamedNumbers:
    """What reads the wanted counters out of the file."""
    return NamedNumbers(NAMES, lambda n: b"allocstall" if n.startswith(b"allocstall") else n)
