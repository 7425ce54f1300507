"""Traffic between processors and memory.

Source: https://docs.kernel.org/filesystems/resctrl.html (MBM) and, for uncore counters,
https://docs.kernel.org/admin-guide/perf/index.html and perf_event_open(2)

``/sys/fs/resctrl/mon_data/mon_L3_00``: ``mbm_total_bytes`` 284630253568, ``mbm_local_bytes``,
``llc_occupancy``; "Unavailable" or "Unassigned" where the hardware has no number now.
``/sys/bus/event_source/devices/uncore_imc_0``: ``events/cas_count_read`` event=0x04,umask=0x03.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.attribute import Attribute
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.tables.devices import MEMORY_BANDWIDTH
from trainwreck_agent.uncore import Uncore

RESCTRL = "/sys/fs/resctrl"
_LOOK_EVERY = 12
_DOMAIN = re.compile(r"mon_L3_([0-9]{1,4})\Z")
_NAMES = ("mbm_total_bytes", "mbm_local_bytes", "llc_occupancy")
_NO_GROUP = frozenset({"info", "mon_data", "mon_groups"})


class MemoryBandwidth(Collector):
    """Reads resctrl where it is mounted, else the memory controllers' counters through perf."""

    name = "memory_bandwidth"
    every_s = 5.0
    tables = (MEMORY_BANDWIDTH,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._uncore: Uncore | None = None
        self._groups: list[str] = []
        self._domains: dict[str, list[list[Attribute]]] = {}
        self._find()
        if not self._domains:
            self._uncore = Uncore(host, _why_no_resctrl(host))

    def _find(self) -> None:
        self._groups = groups(self.host)
        self._domains = {}
        for group in self._groups:
            base = f"{group}/mon_data"
            for name in self.host.list(base):
                if match := _DOMAIN.match(name):
                    files = [Attribute(self.host, f"{base}/{name}/{file}") for file in _NAMES]
                    self._domains.setdefault(match[1], []).append(files)

    def collect(self) -> Iterator[Row]:
        """Yield one row a domain."""
        if self._uncore is not None:
            for socket, read, written in self._uncore.read():
                both = None if read is None or written is None else read + written
                yield Row(MEMORY_BANDWIDTH, ("perf", socket, both, None, read, written, None))
            return
        self._turn += 1
        if self._turn % _LOOK_EVERY == 0 and groups(self.host) != self._groups:
            self._find()
        for domain, counted in self._domains.items():
            total, local, occupancy = (_sum([files[i] for files in counted]) for i in range(3))
            where = f"L3 {int(domain)}"
            yield Row(MEMORY_BANDWIDTH, ("resctrl", where, total, local, None, None, occupancy))


def groups(host: Host) -> list[str]:
    """Folders of the control groups: a task is counted in exactly one of them."""
    below = [name for name in host.list(RESCTRL) if name not in _NO_GROUP]
    found = [RESCTRL, *[f"{RESCTRL}/{name}" for name in below]]
    return [folder for folder in found if host.exists(f"{folder}/mon_data")]


def _sum(files: list[Attribute]) -> Value:
    """The sum over groups; None if one of them has no number, for a part is not the whole."""
    counts = [file.digits() for file in files if file.there]
    if not counts or None in counts:
        return None
    return sum(int(count) for count in counts if count is not None)


def _why_no_resctrl(host: Host) -> str:
    flags = re.search(rb"^flags\s*:(.*)$", host.read("/proc/cpuinfo") or b"", re.M)
    if flags is not None and b" cqm_mbm_total" in flags[1]:
        return f"{RESCTRL} is not mounted (mount -t resctrl resctrl {RESCTRL} makes it be recorded)"
    return f"{RESCTRL}: this processor, or hypervisor, has no memory bandwidth monitoring"
