"""The processes that the recorder knows: one table, shared by the scan and by the exit listener."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from trainwreck_agent.cgroup import memory_path
from trainwreck_agent.host import Host, OpenFile, Unavailable
from trainwreck_agent.identity import (
    ARGUMENTS_MAX,
    NOBODY,
    Identity,
    command_line,
    identify,
    may_be_training,
)

OPEN_MAX = 8192
"""Files of ``/proc/PID`` kept open, unless half of what this process may open is less; files of
processes beyond that are opened each time."""
RESTLESS = 3
"""So often a process may have run without a trace in ``stat``: ``schedstat`` saves nothing then."""
SCHEDSTAT_MAX_BYTES = 64
_NOT_TOLD = (b"", b"0 0 0\n")
"""``schedstat`` of a kernel without it, or that does not count (CONFIG_SCHED_INFO)."""


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
    runs: OpenFile | None = None
    """``/proc/PID/schedstat`` of a process that sleeps."""
    ran: bytes = b""
    """What it said before ``seen`` was read: as long as it says so the process has not run."""
    asleep: bool = False
    """Whether it said so twice."""
    restless: int = 0
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
        self.begun: dict[int, bytes] = {}
        """Arguments of processes that called exec and have no place in a job; no more is read of
        them before the next scan, which most of them do not live to see."""
        self.training: dict[int, Process] = {}
        """Those of jobs, and their children."""
        self._open_count = 0
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._open_max = min(OPEN_MAX, soft // 2) if soft >= 0 else OPEN_MAX
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
        if process.slept and not process.notable and self._sleeps_on(process):
            return process
        try:
            data = self._stat_line(process)
        except OSError:
            return None
        if not data:
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
        process.stat, process.seen, process.ran, process.asleep = stat, data, b"", False
        return process

    def _stat_line(self, process: Process) -> bytes:
        if process.file is None:
            try:
                file = self.host.open(f"/proc/{process.pid}/stat")
            except Unavailable:
                return b""
            if self._open_count >= self._open_max:
                try:
                    return file.read_record()
                finally:
                    file.close()
            process.file = file
            self._open_count += 1
        return process.file.read_record()

    def _sleeps_on(self, process: Process) -> bool:
        """Whether a process has not run since the last look, for a third of what ``stat`` costs.

        Who has not run has changed nothing: neither its state, nor what it used, nor its memory,
        but for pages taken from it. With threads only the first of them is told.
        """
        if process.stat.threads != 1 or process.restless >= RESTLESS:
            return False
        try:
            if process.runs is None:
                if self._open_count >= self._open_max:
                    return False
                process.runs = self.host.open(f"/proc/{process.pid}/schedstat")
                self._open_count += 1
            ran = process.runs.read_record()
        except Unavailable:
            process.restless = RESTLESS
            return False
        except OSError:
            return False
        if ran == process.ran and ran not in _NOT_TOLD:
            process.restless = 0
            process.asleep, process.seen = True, b""  # not compared before it has run
            if process.file is not None:  # each file holds a page of the kernel's memory
                self._close(process.file)
                process.file = None
            return True
        process.restless += ran == process.ran or bool(process.ran)
        process.ran = ran
        if process.restless >= RESTLESS:
            self._close(process.runs)
            process.runs = None
        return False

    def _close(self, file: OpenFile) -> None:
        file.close()
        self._open_count -= 1

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
        keep = self._open_count < self._open_max
        if stat is None or not keep:
            file.close()
        if stat is None:
            return None
        identity = NOBODY
        if (command := self.begun.pop(pid, None)) is None:
            command = self.host.read(f"{base}/cmdline", record=True) or b""
            environment = b""
            if command and may_be_training(stat.name):
                environment = self.host.read(f"{base}/environ", record=True) or b""
            identity = identify(stat.name, command, environment)
        process = Process(
            pid,
            stat,
            identity,
            command[:ARGUMENTS_MAX],
            memory_path(self.host.read(f"{base}/cgroup", record=True) or b"") if command else None,
            seen=data,
        )
        if keep:
            process.file = file
            self._open_count += 1
        process.role = self._role(process)
        if process.role != "other":
            self.training[pid] = process
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
        self.begun.pop(pid, None)
        process = self.known.pop(pid, None)
        if process is None:
            return None
        self.training.pop(pid, None)
        for file in (process.file, process.runs):
            if file is not None:
                self._close(file)
        process.file = process.runs = None
        return process

    def begin(self, pid: int) -> None:
        """Take down what a process is that has called exec: another program than before.

        Just what nobody can read any more when it has ended; and all of it where it may be a rank.
        """
        self.forget(pid)
        command = self.host.read(f"/proc/{pid}/cmdline", record=True)
        if command is None:
            return
        environment = self.host.read(f"/proc/{pid}/environ", record=True) or b""
        if identify("", command, environment) == NOBODY:
            self.begun[pid] = command[:ARGUMENTS_MAX]
        else:
            self._learn(pid)

    def scan(self) -> tuple[list[Process], list[Process]]:
        """Every process that may have changed or is notable, and those known that are gone."""
        pids = set(map(int, filter(str.isdigit, os.listdir(self.host.path("/proc")))))
        gone = [p for pid in self.known.keys() - pids if (p := self.forget(pid)) is not None]
        known, pread = self.known, os.pread
        found: list[Process] = []
        for pid in sorted(pids):
            process = known.get(pid)
            if process is not None and process.asleep and process.runs is not None:
                try:  # as _sleeps_on, without the calls: most processes of a host come by here
                    if pread(process.runs.fd, SCHEDSTAT_MAX_BYTES, 0) == process.ran:
                        continue
                except OSError:
                    continue
            if (process := self.look(pid)) is not None:
                found.append(process)
        self.begun.clear()
        return found, gone
