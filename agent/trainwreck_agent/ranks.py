"""The training processes of this host, known cheaply in a child that has no table of its own.

``process.py`` reads every process in the sampling process, and tells through shared memory which
are of a job. Until it does, each process is looked at when it is new and once more, for it may have
been caught between fork() and exec(), and then never again.
"""

from __future__ import annotations

import functools
import mmap
import struct
import time
from collections.abc import Iterable

from trainwreck_agent.host import Host
from trainwreck_agent.processes import Process, ProcessTable

LOOK_EVERY_S = 5.0


TOLD_MAX = 4092
_HEAD = struct.Struct("@qq")  # version (0: nothing told, odd: it is being written), count


class Told:
    """Which processes are of a job: memory shared with the child, made before the fork."""

    __slots__ = ("_last", "_map", "_version")

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _HEAD.size + 4 * TOLD_MAX)
        self._version = 0
        self._last: list[int] | None = None

    def tell(self, processes: Iterable[Process]) -> None:
        """These are all of them, at most ``TOLD_MAX``."""
        signed = [-p.pid if p.role == "child" else p.pid for p in processes][:TOLD_MAX]
        if signed == self._last:
            return
        self._last = signed
        self._version += 2
        _HEAD.pack_into(self._map, 0, self._version - 1, 0)
        struct.pack_into(f"@{len(signed)}i", self._map, _HEAD.size, *signed)
        _HEAD.pack_into(self._map, 0, self._version, len(signed))

    def heard(self, version: int) -> tuple[int, dict[int, str]] | None:
        """Version, and role by pid, where it is told and another than ``version``."""
        now, count = _HEAD.unpack_from(self._map)
        if now == version or now % 2 or not 0 <= count <= TOLD_MAX:
            return None
        signed = struct.unpack_from(f"@{count}i", self._map, _HEAD.size)
        if _HEAD.unpack_from(self._map)[0] != now:
            return None  # it was told anew while we read; the next look hears that
        return now, {abs(pid): "child" if pid < 0 else "training" for pid in signed}


class Ranks:
    """Training processes and their children."""

    def __init__(self, host: Host, told: Told | None = None) -> None:
        self.host = host
        self.told = told
        self._version = 0
        self.table = ProcessTable(host)
        self._others: set[int] = set()
        self._seen_once: set[int] = set()
        self._look_s = float("-inf")

    def now(self, now_s: float | None = None) -> list[Process]:
        """Those that live, by pid; new ones are seen within five seconds."""
        now_s = time.monotonic() if now_s is None else now_s
        if self.told is not None and (heard := self.told.heard(self._version)) is not None:
            self._version, roles = heard
            self._follow(roles)
        elif not self._version and now_s - self._look_s >= LOOK_EVERY_S:
            self._look_s = now_s
            self._look()
        known = self.table.known
        for pid in [pid for pid in known if self.table.look(pid) is None]:
            self.table.forget(pid)
        return [known[pid] for pid in sorted(known)]

    def training(self, now_s: float | None = None) -> list[Process]:
        """The ranks and their launchers, without children."""
        return [process for process in self.now(now_s) if process.role == "training"]

    def _follow(self, roles: dict[int, str]) -> None:
        """Know just these."""
        for pid in self.table.known.keys() - roles.keys():
            self.table.forget(pid)
        for pid, role in roles.items():
            if (process := self.table.look(pid)) is not None:
                process.role = role
        self._others.clear()
        self._seen_once.clear()

    def _look(self) -> None:
        pids = {int(n) for n in self.host.list("/proc") if n.isdigit() and len(n) < 10}
        self._others &= pids
        for pid in self.table.known.keys() - pids:
            self.table.forget(pid)
        seen_before = self._seen_once & pids
        self._seen_once = set()
        for pid in sorted(pids - self._others - self.table.known.keys()):
            process = self.table.look(pid)
            if process is None or process.role != "other":
                continue
            self.table.forget(pid)
            (self._others if pid in seen_before else self._seen_once).add(pid)


@functools.lru_cache(maxsize=4)
def shared(host: Host) -> Ranks:
    """The one of this process and host."""
    return Ranks(host)
