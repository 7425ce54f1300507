"""Ports of InfiniBand and RoCE adapters.

Source: https://docs.kernel.org/infiniband/sysfs.html,
Documentation/ABI/stable/sysfs-class-infiniband of the kernel, and for ``hw_counters``
https://enterprise-support.nvidia.com/s/article/understanding-mlx5-linux-counters-and-status-parameters

``/sys/class/infiniband/mlx5_0/ports/1``: ``state`` 4: ACTIVE, ``rate`` 400 Gb/sec (4X NDR),
``counters/port_xmit_data`` in words of four bytes.

Reading a counter is a command to the adapter's firmware. Some firmware refuses it on restricted
functions and fills the kernel log, or takes seconds when it is ill. So a counter that failed is not
read again, and its port rests: a minute after the first failure, an hour at the most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from trainwreck_agent.attribute import Attribute, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence, note
from trainwreck_agent.tables.devices import INFINIBAND
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

CLASS = "/sys/class/infiniband"
SLOW_S = 0.1
"""A port that takes longer for its counters has firmware in trouble."""
REST_S = 60.0
REST_MAX_S = 3600.0
_LOOK_EVERY = 10

WORDS = ("port_xmit_data", "port_rcv_data")
COUNTERS = (
    "counters/symbol_error",
    "counters/link_error_recovery",
    "counters/link_downed",
    "counters/port_rcv_errors",
    "counters/port_rcv_remote_physical_errors",
    "counters/local_link_integrity_errors",
    "counters/excessive_buffer_overrun_errors",
    "counters/port_xmit_discards",
    "counters/port_xmit_wait",
    "hw_counters/out_of_buffer",
    "hw_counters/out_of_sequence",
    "hw_counters/packet_seq_err",
    "hw_counters/local_ack_timeout_err",
    "hw_counters/rnr_nak_retry_err",
    "hw_counters/roce_slow_restart",
    "hw_counters/np_cnp_sent",
    "hw_counters/rp_cnp_handled",
    "counters/port_rcv_switch_relay_errors",
    "counters/port_xmit_constraint_errors",
    "counters/port_rcv_constraint_errors",
    "counters/VL15_dropped",
    "hw_counters/duplicate_request",
    "hw_counters/implied_nak_seq_err",
    "hw_counters/req_cqe_error",
    "hw_counters/resp_cqe_error",
    "hw_counters/req_remote_access_errors",
    "hw_counters/np_ecn_marked_roce_packets",
    "hw_counters/roce_adp_retrans",
    "hw_counters/roce_adp_retrans_to",
)
"""In the order of the table's columns; ``hw_counters`` as mlx5 names them."""

_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?Gb/sec")
_STATE = re.compile(r"[0-9]{1,3}: ?(.*)", re.S)
_GID = re.compile(r"(?:[0-9a-f]{4}:){4}((?:[0-9a-f]{4}:){3}[0-9a-f]{4})\Z")


class Infiniband(Collector):
    """Reads ``/sys/class/infiniband``."""

    name = "infiniband"
    may_block = True
    tables = (INFINIBAND, COLLECTOR_HEALTH)

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(host)
        self._clock = clock
        self._turn = 0
        self._ports = {name: Port(host, *name) for name in ports(host)}
        if not self._ports:
            raise Unavailable(
                f"{CLASS}: no port; no InfiniBand or RoCE adapter, its driver (mlx5_ib, …) is not"
                " loaded, or this container does not see it"
            )
        self._presence = Presence(self.name, self._names())

    def _names(self) -> list[str]:
        return [f"{device}/{number}" for device, number in self._ports]

    def collect(self) -> Iterator[Row]:
        """Yield one row a port that is not resting."""
        vanished = any(port.vanished for port in self._ports.values())
        if vanished or (self._turn and self._turn % _LOOK_EVERY == 0):
            self._look()
            yield from self._presence.changes(self._names())
        self._turn += 1
        for port in self._ports.values():
            if self._clock() >= port.rests_until_s:
                yield from self._read(port)

    def _look(self) -> None:
        found = ports(self.host)
        gone = {name for name, port in self._ports.items() if port.vanished or name not in found}
        for name in gone:
            del self._ports[name]
        for name in found:
            if name not in self._ports:
                self._ports[name] = Port(self.host, *name)
        if not self._ports:
            raise Unavailable(f"{CLASS}: the last adapter vanished", "lost")

    def _read(self, port: Port) -> Iterator[Row]:
        started_s = self._clock()
        values = port.read()
        took_s = self._clock() - started_s
        failed = port.newly_failed()
        if port.vanished:  # told by the look at the next turn
            return
        yield Row(INFINIBAND, values)
        if failed:
            why = f"{', '.join(failed)}; not read again"
        elif took_s > SLOW_S:
            why = f"its counters took {took_s * 1000:.0f} ms"
        else:
            port.rest_s = max(port.rest_s / 2, REST_S) if port.calm() else port.rest_s
            return
        port.rests_until_s = self._clock() + port.rest_s
        detail = f"{why}; the port rests for {port.rest_s:.0f} s"
        port.rest_s = min(port.rest_s * 2, REST_MAX_S)
        yield note(self.name, f"{port.device}/{port.number}", "error" if failed else "slow", detail)


class Port:
    """One port: its files, and how long it is left alone after a failure."""

    def __init__(self, host: Host, device: str, number: int) -> None:
        self.device, self.number = device, number
        self.rest_s = REST_S
        self.rests_until_s = 0.0
        base = f"{CLASS}/{device}/ports/{number}"
        self._guid = guid(word(host, f"{base}/gids/0") or "")
        self._link_layer = word(host, f"{base}/link_layer")
        self._about = [Attribute(host, f"{base}/{n}") for n in ("state", "phys_state", "rate")]
        # ConnectX-3 without extended counters has 64-bit values in a folder of its own.
        self._words = [_first(host, f"{base}/counters/{n}", f"{base}/counters_ext/{n}_64")
                       for n in WORDS]  # fmt: skip
        self._counters = [Attribute(host, f"{base}/{name}") for name in COUNTERS]
        self._failed: set[str] = set()
        self._quiet_reads = 0

    @property
    def vanished(self) -> bool:
        """Whether the driver took the port away."""
        return self._about[0].vanished

    def read(self) -> tuple[Value, ...]:
        """The row of the port."""
        state, physical, speed = (file.text() for file in self._about)
        words = [file.digits() for file in self._words]
        return (
            self._guid,
            self.device,
            self.number,
            self._link_layer,
            state_name(state),
            state_name(physical),
            rate(speed),
            *[None if count is None else int(count) * 4 for count in words],
            *[file.digits() for file in self._counters],
        )

    def newly_failed(self) -> list[str]:
        """Files whose read failed since the last call, with the reason."""
        failed = [
            (file.path, file.error.strerror or str(file.error))
            for file in (*self._about, *self._words, *self._counters)
            if file.broken and file.error is not None and file.path not in self._failed
        ]
        self._failed.update(path for path, _ in failed)
        self._quiet_reads = 0 if failed else self._quiet_reads + 1
        return [f"{path.rsplit('/', 2)[-2]}/{path.rsplit('/', 1)[-1]}: {why}"
                for path, why in failed]  # fmt: skip

    def calm(self) -> bool:
        """Whether the port has answered for so long that it is trusted more."""
        return self._quiet_reads % 600 == 599


def ports(host: Host) -> list[tuple[str, int]]:
    """Device and number of every port."""
    return [
        (device, int(number))
        for device in host.list(CLASS)
        for number in host.list(f"{CLASS}/{device}/ports")
        if number.isdecimal() and number.isascii() and len(number) < 4
    ]


def guid(gid: str) -> str | None:
    """The GUID of a port: the lower half of its first GID; None where that is empty."""
    match = _GID.match(gid)
    if match is None or match[1] == "0000:0000:0000:0000":
        return None
    return match[1]


def state_name(text: str | None) -> str | None:
    """ACTIVE of "4: ACTIVE"."""
    match = None if text is None else _STATE.match(text)
    return text if match is None else match[1].strip() or None


def rate(text: str | None) -> str | None:
    """400 of "400 Gb/sec (4X NDR)", Gbit/s."""
    match = None if text is None else _RATE.match(text)
    return None if match is None else match[1]


def _first(host: Host, path: str, other: str) -> Attribute:
    file = Attribute(host, path)
    return file if file.there or not host.exists(other) else Attribute(host, other)
