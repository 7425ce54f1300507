"""Training processes and their children each second; every process each fifth.

Source: proc_pid_stat(5), https://docs.kernel.org/filesystems/proc.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trainwreck_agent.cgroup import Cgroup, Usage
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.processes import Process, ProcessTable
from trainwreck_agent.ranks import Told
from trainwreck_agent.tables.process import PROCESS, PROCESS_EXIT

SCAN_EVERY = 5
LARGE_BYTES = 256 << 20
BUSY_TICKS = 25
"""Others are written when they are larger than this, or used that much of five seconds (5 %)."""
CGROUPS_MAX = 256
_NO_USAGE = Usage(None, None, None, None)


class Processes(Collector):
    """Reads ``/proc/PID``. Shares its table of processes with the listener for exits."""

    name = "process"
    tables = (PROCESS, PROCESS_EXIT)

    def __init__(self, host: Host, table: ProcessTable | None = None) -> None:
        super().__init__(host)
        if not host.exists("/proc/self") and not host.exists("/proc/1"):
            raise Unavailable("/proc: no processes in it")
        self.table = table or ProcessTable(host)
        self.exits_elsewhere = False
        """The kernel reports exits, so a vanished process is not reported from here."""
        self.told: Told | None = None
        """Where it is told which processes are of a job."""
        self._cgroups: dict[str, Cgroup | None] = {}
        self._turn = 0

    def collect(self) -> Iterator[Row]:
        """Yield rows of processes, and of ends where nobody else tells them."""
        full = self._turn % SCAN_EVERY == 0
        self._turn += 1
        usage: dict[str, Usage] = {}
        if full:
            found, gone = self.table.scan()
            if not self.exits_elsewhere:
                yield from (exit_row(self.table, p, "poll") for p in gone if p.role != "other")
        else:
            found = list(self._look_at_training())
        for process in found:
            if process.role == "other" and not self._worth_it(process):
                continue
            yield self._row(process, usage)
        if self.told is not None:
            self.told.tell(self.table.training.values())

    def _look_at_training(self) -> Iterator[Process]:
        for pid in list(self.table.training):
            seen = self.table.look(pid)
            if seen is not None:
                yield seen
                for child in self._new_children(pid):
                    if (fresh := self.table.look(child)) is not None:
                        yield fresh

    def _new_children(self, pid: int) -> Iterator[int]:
        data = self.host.read(f"/proc/{pid}/task/{pid}/children") or b""
        for word in data.split():
            if word.isdigit() and int(word) not in self.table.known:
                yield int(word)

    def _worth_it(self, process: Process) -> bool:
        if process.slept and not process.notable:
            return False
        stat = process.stat
        busy = stat.user_ticks + stat.system_ticks
        used, process.busy_ticks = busy - process.busy_ticks, busy
        large = stat.rss_pages * self.table.page_bytes >= LARGE_BYTES
        process.notable = large or (stat.state in "DT" and process.command is not None)
        return process.notable or used >= BUSY_TICKS

    def _row(self, process: Process, usage: dict[str, Usage]) -> Row:
        stat, who = process.stat, process.identity
        group = process.cgroup
        if group is not None and group not in usage:
            usage[group] = self._usage(group)
        held = _NO_USAGE if group is None else usage[group]
        waits = self.host.text(f"/proc/{process.pid}/wchan") if stat.state == "D" else None
        return Row(
            PROCESS,
            (
                process.pid, self.table.started_us(stat), stat.parent, stat.name,
                process.command, process.role, who.rank, who.local_rank, who.world_size, who.job,
                stat.state, waits or None, stat.threads,
                stat.rss_pages * self.table.page_bytes, stat.user_ticks, stat.system_ticks,
                stat.major_faults, stat.last_core, self._open_files(process),
                group, held.memory_bytes, held.memory_max_bytes, held.oom_kill_count,
                held.throttled_us,
            ),
        )  # fmt: skip

    def _open_files(self, process: Process) -> int | None:
        if process.role != "training" or self._turn % 10 != 1:
            return None
        try:
            return len(os.listdir(self.host.path(f"/proc/{process.pid}/fd")))
        except OSError:
            return None

    def _usage(self, group: str) -> Usage:
        if group not in self._cgroups:
            if len(self._cgroups) >= CGROUPS_MAX:
                self._close_cgroups()
            try:
                self._cgroups[group] = Cgroup(self.host, group)
            except Unavailable:
                self._cgroups[group] = None
        files = self._cgroups[group]
        if files is None:
            return _NO_USAGE
        try:
            return files.read()
        except OSError:  # removed with its last process
            files.close()
            del self._cgroups[group]
            return _NO_USAGE

    def _close_cgroups(self) -> None:
        for files in self._cgroups.values():
            if files is not None:
                files.close()
        self._cgroups.clear()


def exit_row(
    table: ProcessTable,
    process: Process,
    source: str,
    status: int | None = None,
    ts_us: int | None = None,
) -> Row:
    """The row of a process' end. ``status`` is the kernel's wait status; None: nobody told."""
    stat, who = process.stat, process.identity
    signal = None if status is None else status & 0x7F or None
    seen = bool(stat.name)
    return Row(
        PROCESS_EXIT,
        (
            process.pid, stat.parent or None, table.started_us(stat) if seen else None,
            stat.name if seen else None, process.command, process.role,
            who.rank, who.world_size, who.job,
            None if status is None or signal else status >> 8 & 0xFF,
            signal,
            None if status is None else bool(status & 0x80),
            source, (stat.rss_pages * table.page_bytes) or None, process.cgroup,
        ),
        ts_us,
    )  # fmt: skip
