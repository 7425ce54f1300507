"""Network interfaces.

Source: https://docs.kernel.org/networking/statistics.html and
https://docs.kernel.org/ABI/testing/sysfs-class-net

``/proc/net/dev``::

    Inter-|   Receive                                                |  Transmit
     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop …
        lo:  104857     922    0    0    0     0          0         0   104857     922    0    0 …
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import NETWORK

_LINK_EVERY = 10


class Network(Collector):
    """Reads ``/proc/net/dev`` every time, ``/sys/class/net`` every tenth."""

    name = "network"
    tables = (NETWORK,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        # /proc/net leads to the reader's own /proc/self: the recorder's network namespace.
        self._file = host.open("/proc/net/dev")
        self._turn = 0
        self._links: dict[str, tuple[Value, ...]] = {}

    def collect(self) -> Iterator[Row]:
        """Yield one row an interface."""
        counted = list(parse(self._file.read()))
        if self._turn % _LINK_EVERY == 0:
            self._links = {str(name): self._link(str(name)) for name, *_ in counted}
        self._turn += 1
        for values in counted:
            link = self._links.get(str(values[0]), (None,) * 4)
            yield Row(NETWORK, (*values, *link))

    def _link(self, interface: str) -> tuple[Value, ...]:
        base = f"/sys/class/net/{interface}"
        carrier = self.host.number(f"{base}/carrier")
        speed = self.host.number(f"{base}/speed")
        return (
            self.host.number(f"{base}/carrier_changes"),
            None if carrier is None else carrier == 1,
            speed if speed and speed > 0 else None,
            self.host.number(f"{base}/mtu"),
        )


def parse(data: bytes) -> Iterator[tuple[Value, ...]]:
    """Yield name and the eight counters that are kept, as written, of each interface."""
    for line in data.splitlines():
        name, colon, rest = line.rpartition(b":")
        n = rest.decode("ascii", "replace").split()
        if colon and len(n) >= 16 and "".join(n).isdecimal():
            interface = name.strip().decode("utf-8", "replace")
            yield (interface, n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11])
