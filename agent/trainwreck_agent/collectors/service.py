"""Services that training depends on: which of those installed here run, and since when.

Found by the names of processes and of unit files; nothing is started to ask.

Source: proc_pid_comm(5): a name is cut to 15 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.processes import ProcessTable, parse_stat
from trainwreck_agent.tables.system import SERVICE

COMMS = {
    "nvidia-fabricmanager": ("nv-fabricmanage", "nv-fabricmanager"),
    "nvidia-persistenced": ("nvidia-persiste",),
    "nvidia-imex": ("nvidia-imex",),
    "nvidia-dcgm": ("nv-hostengine",),
    "dcgm-exporter": ("dcgm-exporter",),
    "nvlsm": ("nvlsm",),
    "opensm": ("opensm",),
    "slurmd": ("slurmd",),
    "munge": ("munged",),
    "kubelet": ("kubelet",),
    "containerd": ("containerd",),
    "crio": ("crio",),
    "docker": ("dockerd",),
    "chrony": ("chronyd",),
    "ntp": ("ntpd",),
    "systemd-timesyncd": ("systemd-timesyn",),
    "ptp4l": ("ptp4l",),
    "rasdaemon": ("rasdaemon",),
    "mcelog": ("mcelog",),
    "systemd-oomd": ("systemd-oomd",),
    "earlyoom": ("earlyoom",),
    "irqbalance": ("irqbalance",),
}
"""Names of processes by service; the service's name is that of its unit file too."""

UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
_UNIT = re.compile(r"([a-z0-9-]{2,40})\.service\Z")
_BY_COMM = {comm: name for name, comms in COMMS.items() for comm in comms}


class Service(Collector):
    """Reads ``/proc/PID/comm`` of each new process."""

    name = "service"
    every_s = 60.0
    may_block = True
    tables = (SERVICE,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.list("/proc"):
            raise Unavailable("/proc: no processes in it")
        self._table = ProcessTable(host)
        self._seen: set[int] = set()
        self._pids: dict[str, int] = {}
        self._last: dict[str, tuple[Value, ...]] = {}

    def collect(self) -> Iterator[Row]:
        """Yield a row a service at the start and when it comes, goes or starts anew."""
        self._find()
        for name in sorted(self._installed() | self._pids.keys() | self._last.keys()):
            values = self._values(name)
            if self._last.get(name) != values:
                self._last[name] = values
                yield Row(SERVICE, values)

    def _find(self) -> None:
        pids = {int(n) for n in self.host.list("/proc") if n.isdigit() and len(n) < 10}
        mine = set(self._pids.values())
        self._seen &= pids
        for pid in sorted(pids - self._seen | (mine & pids)):
            comm = self.host.text(f"/proc/{pid}/comm") or ""
            name = _BY_COMM.get(comm)
            if name is not None and self._pids.get(name) not in pids:
                self._pids[name] = pid
            elif name is None and pid in mine:  # another process has its number now
                self._pids = {n: p for n, p in self._pids.items() if p != pid}
        self._seen = pids
        self._pids = {n: p for n, p in self._pids.items() if p in pids}

    def _installed(self) -> set[str]:
        found: set[str] = set()
        for folder in UNITS:
            names = (m[1] for n in self.host.list(folder) if (m := _UNIT.match(n)))
            found |= {name for name in names if name in COMMS}
        return found

    def _values(self, name: str) -> tuple[Value, ...]:
        pid = self._pids.get(name)
        stat = None if pid is None else parse_stat(self.host.read(f"/proc/{pid}/stat") or b"")
        if stat is None:
            return (name, False, None, None, None)
        return (name, True, pid, self._table.started_us(stat), stat.name)
