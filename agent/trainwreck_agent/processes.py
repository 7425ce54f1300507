"""The processes that the recorder knows: one table, shared by the scan and by the exit listener."""

from __future__ import annotations

import os
from dataclasses import dataclass

from trainwreck_agent.cgroup import memory_path
from trainwreck_agent.host import Host, OpenFile, Unavailable
from trainwreck_agent.identity import (
    ARGUMENTS_MAX,
    Identity,
    command_line,
    identify,
    may_be_training,
)

OPEN_MAX = 4096
"""Descriptors kept open for ``/proc/PID/stat``; processes beyond that are opened each time."""


@dataclass(slots=True)
class Stat:
    """What is kept of ``/proc/PID/stat``. Source: proc_pid_stat(5)."""

    name: str
    state: str
    parent: int
    major_faults: int
    user_ticks: int
    system_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int
    last_core: int


@dataclass(slots=True)
class Process:
    """One process, with what does not change and what was last seen."""

    pid: int
    stat: Stat
    identity: Identity
    arguments: bytes = b""
    """As in ``/proc/PID/cmdline``, cut; empty for kernel threads."""
    cgroup: str | None = None
    role: str = "other"
    file: OpenFile | None = None
    seen: bytes = b""
    """The line that ``stat`` was read from: most processes sleep, and theirs stays the same."""
    slept: bool = False
    """Whether the last look found the same line as the one before."""
    notable: bool = True
    """Whether it was worth a row when its line last changed."""
    busy_ticks: int = 0
    """user + system at the last look."""
    _command: str | None = None

    @property
    def command(self) -> str | None:
        """The command line for people; None for kernel threads.

        Made when it is first wanted: it takes longer than all else that is learned of a process.
        """
        if self._command is None and self.arguments:
            self._command = command_line(self.arguments)
        return self._command


def parse_stat(data: bytes) -> Stat | None:
    """The fields kept; None for anything that is no stat line.

    The name stands in parentheses and may hold spaces and parentheses itself.
    """
    left, right = data.find(b"("), data.rfind(b")")
    if left < 0 or right < left:
        return None
    f = data[right + 2 :].split(None, 37)
    try:
        return Stat(
            name=data[left + 1 : right].decode("utf-8", "replace"),
            state=f[0].decode("ascii", "replace"),
            parent=int(f[1]),
            major_faults=int(f[9]),
            user_ticks=int(f[11]),
            system_ticks=int(f[12]),
            threads=int(f[17]),
            start_ticks=int(f[19]),
            rss_pages=int(f[21]),
            last_core=int(f[36]),
        )
    except (IndexError, ValueError):
        return None


class ProcessTable:
    """Knows each process from its first sight to its end."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.known: dict[int, Process] = {}
        self._own_uid = os.geteuid()
        self._open_count = 0
        self.page_bytes = os.sysconf("SC_PAGE_SIZE")
        hertz = os.sysconf("SC_CLK_TCK")
        self._tick_us = 1_000_000 // hertz
        self._boot_us = self._boot_time_us()

    def _boot_time_us(self) -> int:
        for line in (self.host.read("/proc/stat") or b"").splitlines():
            if line.startswith(b"btime ") and line[6:].strip().isdigit():
                return int(line[6:]) * 1_000_000
        return 0

    def started_us(self, stat: Stat) -> int:
        """Start of a process, µs since 1970 UTC; as exact as the kernel's ``btime``, 1 s."""
        return self._boot_us + stat.start_ticks * self._tick_us

    def look(self, pid: int) -> Process | None:
        """What is so of a process now; None where it is gone. New ones are learned."""
        process = self.known.get(pid)
        if process is None:
            return self._learn(pid)
        try:
            if process.file is not None:
                data = process.file.read_record()
            else:
                data = self.host.read(f"/proc/{pid}/stat") or b""
        except OSError:
            return None
        process.slept = data == process.seen
        if process.slept:
            return process
        stat = parse_stat(data)
        if stat is None:
            return None
        if process.stat.start_ticks != stat.start_ticks:
            self.forget(pid)
            return self._learn(pid)
        process.stat, process.seen = stat, data
        return process

    def _learn(self, pid: int) -> Process | None:
        base = f"/proc/{pid}"
        try:
            file = self.host.open(f"{base}/stat")
        except Unavailable:
            return None
        try:
            data = file.read_record()
        except OSError:
            data = b""
        stat = parse_stat(data)
        if stat is None or self._open_count >= OPEN_MAX:
            file.close()
        if stat is None:
            return None
        command = self.host.read(f"{base}/cmdline", record=True) or b""
        environment = b""
        if command and may_be_training(stat.name):
            environment = self.host.read(f"{base}/environ", record=True) or b""
        process = Process(
            pid,
            stat,
            identify(stat.name, command, environment),
            command[:ARGUMENTS_MAX],
            memory_path(self.host.read(f"{base}/cgroup", record=True) or b"") if command else None,
            seen=data,
        )
        if self._open_count < OPEN_MAX:
            process.file = file
            self._open_count += 1
        process.role = self._role(process)
        process.busy_ticks = stat.user_ticks + stat.system_ticks
        self.known[pid] = process
        return process

    def _role(self, process: Process) -> str:
        parent = self.known.get(process.stat.parent)
        inherited = parent is not None and parent.role in ("training", "child")
        identity = process.identity
        if identity.training and not (
            # A rank's own children (loaders, shells) inherit its environment.
            inherited and parent is not None and parent.identity.rank == identity.rank
        ):
            return "training"
        return "child" if inherited else "other"

    def forget(self, pid: int) -> Process | None:
        """Drop a process that has ended; what was known of it."""
        process = self.known.pop(pid, None)
        if process is not None and process.file is not None:
            process.file.close()
            process.file = None
            self._open_count -= 1
        return process

    def relearn(self, pid: int) -> Process | None:
        """Look afresh at a process that has called exec: it is another program now."""
        self.forget(pid)
        return self.look(pid)

    def scan(self) -> tuple[list[Process], list[Process]]:
        """Every process now, and those that were known and are gone."""
        pids = set(map(int, filter(str.isdigit, os.listdir(self.host.path("/proc")))))
        gone = [p for pid in self.known.keys() - pids if (p := self.forget(pid)) is not None]
        found = [p for pid in sorted(pids) if (p := self.look(pid)) is not None]
        return found, gone
