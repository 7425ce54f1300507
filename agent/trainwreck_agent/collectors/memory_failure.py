"""Pages that the kernel took out of use, by NUMA node.

Source: https://docs.kernel.org/mm/hwpoison.html and
Documentation/ABI/testing/sysfs-memory-page-offline of the kernel (Linux 6.3 or later)
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.attribute import Attribute
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.collectors.numa import NODES, nodes
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.devices import MEMORY_FAILURE

_NAMES = ("total", "recovered", "delayed", "ignored", "failed")


class MemoryFailure(Collector):
    """Reads ``/sys/devices/system/node/node*/memory_failure``."""

    name = "memory_failure"
    every_s = 10.0
    tables = (MEMORY_FAILURE,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._nodes: dict[int, list[Attribute]] = {}
        for node in nodes(host):
            base = f"{NODES}/node{node}/memory_failure"
            files = [Attribute(host, f"{base}/{name}") for name in _NAMES]
            if files[0].there:
                self._nodes[node] = files
        if not self._nodes:
            raise Unavailable(
                f"{NODES}/node*/memory_failure: not in this kernel (Linux 6.3 or later with"
                " CONFIG_MEMORY_FAILURE has it); HardwareCorrupted in table memory tells the sum"
            )

    def collect(self) -> Iterator[Row]:
        """Yield one row a node."""
        for node, files in self._nodes.items():
            yield Row(MEMORY_FAILURE, (node, *[file.digits() for file in files]))
