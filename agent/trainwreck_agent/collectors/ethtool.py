"""Statistics of network drivers: what ``ethtool -S`` shows, by the same ioctl.

Source: include/uapi/linux/ethtool.h of the kernel (ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS,
ETHTOOL_GSTATS), and for mlx5
https://docs.kernel.org/networking/device_drivers/ethernet/mellanox/mlx5/counters.html

A driver has up to some thousand of them, most for single queues. Recorded are those that tell of
the link, the cable, the bus below and of loss, and only when they change.
"""

from __future__ import annotations

import array
import errno
import fcntl
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence, note
from trainwreck_agent.tables.devices import ETHTOOL
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

CLASS = "/sys/class/net"
_SIOCETHTOOL = 0x8946
_GET_SET_INFO = 0x37
_GET_STRINGS = 0x1B
_GET_STATISTICS = 0x1D
_SET_STATISTICS = 1
_NAME_BYTES = 32
_NAMES_MAX = 16384
_SPARE = 8192
"""Places beyond the count asked for a moment ago: the kernel writes as many values as the driver
has now, whatever the size of the buffer."""
_EVERY_VALUE_EVERY = 30

_WANTED = re.compile(
    r"discard|drop|pause|symbol_err|crc|corrected_bits|fec|link_down|out_of_buffer|stall"
    r"|signal_integrity|module_|_cnp|_ecn|timeout|error|_err|miss|fault|reset|no_buf|nobuf|hang"
    r"|recover|retrain|alloc_fail|tx_busy|wqe_err|vport_rdma",
    re.I,
)
_PER_QUEUE = re.compile(
    r"\A(?:rx|tx|ch|cpu|xdp|xsk|ptp)[-_. ]?(?:queue[-_. ]?|ring[-_. ]?)?[0-9]+"
    r"|\A\[?[qQ(]?[0-9]+|queue_[0-9]"
)


class Ethtool(Collector):
    """Asks the driver of every interface that has a device, every 10 s."""

    name = "ethtool"
    every_s = 10.0
    may_block = True
    tables = (ETHTOOL, COLLECTOR_HEALTH)

    def __init__(self, host: Host, ask: Callable[[str, bytearray], None] | None = None) -> None:
        super().__init__(host)
        if ask is None and not host.live:
            raise Unavailable("ethtool asks the running kernel; a recorded machine cannot answer")
        self._socket: socket.socket | None = None
        if ask is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._ask = ask or self._ioctl
        self._turn = 0
        self._names: dict[str, list[tuple[int, str]]] = {}
        self._counts: dict[str, int] = {}
        self._last: dict[str, tuple[int, dict[str, int]]] = {}
        self._written: dict[str, set[str]] = {}
        if not any(self._wanted(interface) for interface in interfaces(host)):
            raise Unavailable(
                f"{CLASS}: no interface whose driver counts errors of link, cable or bus"
                " (a virtual network card)"
            )
        self._presence = Presence(self.name, interfaces(host))

    def _ioctl(self, interface: str, request: bytearray) -> None:
        if self._socket is None:
            raise OSError(errno.ENODEV, "closed")
        buffer = array.array("B", request)
        address, _ = buffer.buffer_info()
        fcntl.ioctl(
            self._socket, _SIOCETHTOOL, struct.pack("16sQ8x", interface.encode()[:15], address)
        )
        request[:] = buffer.tobytes()

    def _wanted(self, interface: str) -> list[tuple[int, str]]:
        """Position and name of the statistics that are kept."""
        try:
            names = statistic_names(interface, self._ask)
        except OSError:  # a driver without statistics says EOPNOTSUPP
            names = []
        self._counts[interface] = len(names)
        self._names[interface] = [(i, name) for i, name in enumerate(names) if is_wanted(name)]
        return self._names[interface]

    def collect(self) -> Iterator[Row]:
        """Yield a row a statistic that has changed; of all of them every five minutes."""
        found = interfaces(self.host)
        yield from self._presence.changes(found)
        for interface in self._names.keys() - set(found):
            self._names.pop(interface)
            self._last.pop(interface, None)
            self._written.pop(interface, None)
        everything = self._turn % _EVERY_VALUE_EVERY == 0
        self._turn += 1
        for interface in found:
            try:
                yield from self._read(interface, everything=everything)
            except OSError as error:
                self._names.pop(interface, None)  # renamed, gone, or its driver was loaded anew
                if error.errno != errno.ENODEV:
                    yield note(self.name, interface, "error", error.strerror)

    def _read(self, interface: str, *, everything: bool) -> Iterator[Row]:
        wanted = self._names.get(interface)
        if wanted is None:
            wanted = self._wanted(interface)
        if not wanted:
            return
        count = self._counts[interface]
        values = []
        if statistic_count(interface, self._ask) == count:
            values = statistics(interface, count, self._ask)
        now_us = time.time_ns() // 1000
        if not values:  # the driver has more or fewer of them now: its names are asked anew
            del self._names[interface]
            return
        before_us, before = self._last.get(interface, (now_us, {}))
        written = self._written.get(interface, set())
        now = {name: values[position] for position, name in wanted}
        self._last[interface] = now_us, now
        self._written[interface] = set()
        for name, value in now.items():
            changed = name in before and before[name] != value
            if changed and name not in written:
                yield Row(ETHTOOL, (interface, name, before[name]), before_us)
            if changed or everything or name not in before:
                self._written[interface].add(name)
                yield Row(ETHTOOL, (interface, name, value))


def interfaces(host: Host) -> list[str]:
    """Interfaces with a device below: no loopback, bridge or tunnel."""
    return [name for name in host.list(CLASS) if host.exists(f"{CLASS}/{name}/device")]


def is_wanted(name: str) -> bool:
    """Whether a statistic tells of link, cable, bus or loss of a whole port."""
    return _PER_QUEUE.search(name) is None and _WANTED.search(name) is not None


def statistic_names(interface: str, ask: Callable[[str, bytearray], None]) -> list[str]:
    """Names of the statistics of an interface, in the driver's order.

    Raises:
        OSError: The interface is gone or its driver has none.
    """
    count = statistic_count(interface, ask)
    if not count:
        return []
    request = bytearray(struct.pack("=III", _GET_STRINGS, _SET_STATISTICS, count))
    request += bytes((count + _SPARE) * _NAME_BYTES)
    ask(interface, request)
    told = struct.unpack_from("=III", request)[2]
    return names(bytes(request[12 : 12 + count * _NAME_BYTES])) if told == count else []


def statistic_count(interface: str, ask: Callable[[str, bytearray], None]) -> int:
    """How many statistics the driver has now; 0 where it has none or too many to be true.

    Raises:
        OSError: The interface is gone or its driver does not know the question.
    """
    request = bytearray(struct.pack("=IIQI", _GET_SET_INFO, 0, 1 << _SET_STATISTICS, 0))
    ask(interface, request)
    _, _, mask, count = struct.unpack("=IIQI", request)
    return count if mask and count <= _NAMES_MAX else 0


def statistics(interface: str, count: int, ask: Callable[[str, bytearray], None]) -> list[int]:
    """Values of the statistics, in the driver's order; empty where it has not ``count`` of them.

    Raises:
        OSError: The interface is gone.
    """
    request = bytearray(struct.pack("=II", _GET_STATISTICS, count)) + bytes((count + _SPARE) * 8)
    ask(interface, request)
    _, told = struct.unpack_from("=II", request)
    return list(struct.unpack_from(f"={count}Q", request, 8)) if told == count else []


def names(block: bytes) -> list[str]:
    """Names of a block of 32 bytes each."""
    parts = [block[i : i + _NAME_BYTES] for i in range(0, len(block), _NAME_BYTES)]
    return [part.split(b"\0", 1)[0].decode("ascii", "replace").strip() for part in parts]
