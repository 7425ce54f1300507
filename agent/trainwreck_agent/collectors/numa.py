"""Memory of each NUMA node.

Source: https://docs.kernel.org/admin-guide/numastat.html and
https://docs.kernel.org/filesystems/proc.html (buddyinfo)

``/sys/devices/system/node/node0/meminfo``::

    Node 0 MemTotal:       65817292 kB
    Node 0 MemFree:        1204312 kB
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from trainwreck_agent.attribute import Attribute
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, OpenFile, Unavailable
from trainwreck_agent.presence import Presence
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.system import NUMA

NODES = "/sys/devices/system/node"
_LARGE_BYTES = 2 << 20
_LOOK_EVERY = 12

_NODE = re.compile(r"node([0-9]{1,6})\Z")
_MEMINFO = re.compile(
    rb"^Node +[0-9]+ +(MemTotal|MemFree|AnonPages|FilePages): +([0-9]{1,16}) kB", re.M
)
_NUMASTAT = re.compile(
    rb"^(numa_hit|numa_miss|numa_foreign|local_node|other_node|numa_local|numa_other)"
    rb" ([0-9]{1,20})$",
    re.M,
)
_BUDDY = re.compile(rb"^Node +([0-9]{1,6}), zone +[^\s]+ +([0-9 ]+)$", re.M)


class Numa(Collector):
    """Reads ``/sys/devices/system/node`` and ``/proc/buddyinfo``."""

    name = "numa"
    every_s = 5.0
    tables = (NUMA, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._nodes: dict[int, tuple[Attribute, Attribute]] = {}
        self._order = _large_order(host)
        self._turn = 0
        self._find()
        if not self._nodes:
            raise Unavailable(f"{NODES}: no node; the kernel was built without NUMA (CONFIG_NUMA)")
        self._presence = Presence(self.name, map(str, self._nodes))
        self._buddyinfo: OpenFile | None = None
        try:
            self._buddyinfo = host.open("/proc/buddyinfo")
        except Unavailable:  # some containers hide it; the nodes are worth their rows without it
            self._buddyinfo = None

    def _find(self) -> None:
        found = set(nodes(self.host))
        for node in self._nodes.keys() - found:
            del self._nodes[node]
        for node in sorted(found - self._nodes.keys()):
            base = f"{NODES}/node{node}"
            stat = Attribute(self.host, f"{base}/numastat")
            if not stat.there:
                stat = Attribute(self.host, f"{base}/vmstat")
            self._nodes[node] = (Attribute(self.host, f"{base}/meminfo"), stat)

    def collect(self) -> Iterator[Row]:
        """Yield one row a node."""
        self._turn += 1
        if self._turn % _LOOK_EVERY == 0:
            self._find()
            yield from self._presence.changes(map(str, self._nodes))
        free = large_blocks(self._buddyinfo.read(), self._order) if self._buddyinfo else {}
        for node, (meminfo, stat) in self._nodes.items():
            memory = memory_bytes(meminfo.data() or b"")
            counts = allocations(stat.data() or b"")
            yield Row(NUMA, (node, *memory, *counts, free.get(node)))


def nodes(host: Host) -> Iterator[int]:
    """Yield the numbers of the NUMA nodes."""
    for name in host.list(NODES):
        if match := _NODE.match(name):
            yield int(match[1])


def memory_bytes(meminfo: bytes) -> tuple[Value, ...]:
    """Total, free, anonymous and file memory of a node; None: not told."""
    found = {name: int(kib) << 10 for name, kib in _MEMINFO.findall(meminfo)}
    return tuple([found.get(n) for n in (b"MemTotal", b"MemFree", b"AnonPages", b"FilePages")])


def allocations(stat: bytes) -> tuple[Value, ...]:
    """Hit, miss, foreign, local and other, as written, of a node's ``numastat`` or ``vmstat``."""
    found = {name: value.decode("ascii") for name, value in _NUMASTAT.findall(stat)}
    return (
        found.get(b"numa_hit"),
        found.get(b"numa_miss"),
        found.get(b"numa_foreign"),
        found.get(b"local_node", found.get(b"numa_local")),
        found.get(b"other_node", found.get(b"numa_other")),
    )


def large_blocks(buddyinfo: bytes, order: int) -> dict[int, int]:
    """Free blocks of ``order`` or larger by node, all its zones together."""
    found: dict[int, int] = {}
    for node, counts in _BUDDY.findall(buddyinfo):
        large = sum(int(word) for word in counts.split()[order:] if len(word) <= 18)
        found[int(node)] = found.get(int(node), 0) + large
    return found


def _large_order(host: Host) -> int:
    page_bytes = os.sysconf("SC_PAGE_SIZE") if host.live else 4096
    return max(_LARGE_BYTES // page_bytes, 1).bit_length() - 1
