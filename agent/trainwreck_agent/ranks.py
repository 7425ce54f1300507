"""The training processes of this host, found cheaply in a child that has no table of its own.

``process.py`` reads every process in the sampling process. What runs in the child with the devices
needs only the training ones: each process is looked at when it is new and once more, for it may
have been caught between fork() and exec(), and then never again.
"""

from __future__ import annotations

import functools
import time

from trainwreck_agent.host import Host
from trainwreck_agent.processes import Process, ProcessTable

LOOK_EVERY_S = 5.0


class Ranks:
    """Training processes and their children."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.table = ProcessTable(host)
        self._others: set[int] = set()
        self._seen_once: set[int] = set()
        self._look_s = float("-inf")

    def now(self, now_s: float | None = None) -> list[Process]:
        """Those that live, by pid; new ones are seen within five seconds."""
        now_s = time.monotonic() if now_s is None else now_s
        if now_s - self._look_s >= LOOK_EVERY_S:
            self._look_s = now_s
            self._look()
        known = self.table.known
        for pid in [pid for pid in known if self.table.look(pid) is None]:
            self.table.forget(pid)
        return [known[pid] for pid in sorted(known)]

    def training(self, now_s: float | None = None) -> list[Process]:
        """The ranks and their launchers, without children."""
        return [process for process in self.now(now_s) if process.role == "training"]

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
