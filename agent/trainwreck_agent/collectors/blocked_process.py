"""Kernel stacks of training processes and their children that sleep uninterruptibly for long.

A process in state D for more than five seconds waits for a device, a file system or a driver that
does not answer; its kernel stack says for which. The stack is taken once a sleep.

Source: https://docs.kernel.org/filesystems/proc.html (``/proc/PID/stack``, root only)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent import ranks
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.collectors.process_detail import parse_status
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import note
from trainwreck_agent.processes import Process
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.process import STACK

BLOCKED_S = 5.0
TEXT_MAX = 16_000


@dataclass(slots=True)
class _Sleep:
    """One uninterruptible sleep: the count of switches does not change while it lasts."""

    start_ticks: int
    switches: int | None
    since_s: float
    told: bool = False


class BlockedProcess(Collector):
    """Looks at the state of training processes each 2.5 s."""

    name = "blocked_process"
    every_s = 2.5
    may_block = True
    tables = (STACK, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.list("/proc"):
            raise Unavailable("/proc: no processes in it")
        self._ranks = ranks.shared(host)
        self._sleeps: dict[int, _Sleep] = {}
        self._denied = False

    def collect(self) -> Iterator[Row]:
        """Yield the stack of each process that has slept for so long."""
        yield from self.look(time.monotonic())

    def look(self, now_s: float) -> Iterator[Row]:
        """The same at a time that is given (CLOCK_MONOTONIC, s)."""
        before, self._sleeps = self._sleeps, {}
        for process in self._ranks.now(now_s):
            if process.stat.state != "D":
                continue
            sleep = self._sleep(process, before.get(process.pid), now_s)
            self._sleeps[process.pid] = sleep
            if not sleep.told and now_s - sleep.since_s >= BLOCKED_S:
                sleep.told = True
                yield from self._stack(process, now_s - sleep.since_s)

    def _sleep(self, process: Process, before: _Sleep | None, now_s: float) -> _Sleep:
        status = parse_status(self.host.read(f"/proc/{process.pid}/status") or b"")
        switches = status.get("voluntary_ctxt_switches")
        same = before is not None and (before.start_ticks, before.switches) == (
            process.stat.start_ticks,
            switches,
        )
        if before is not None and same:
            return before
        return _Sleep(process.stat.start_ticks, switches, now_s)

    def _stack(self, process: Process, slept_s: float) -> Iterator[Row]:
        text = self.host.text(f"/proc/{process.pid}/stack")
        if not text:
            channel = self.host.text(f"/proc/{process.pid}/wchan") or ""
            text = f"[wait channel] {channel}" if channel not in ("", "0") else None
            if not self._denied:
                self._denied = True
                why = "kernel stacks (/proc/PID/stack) cannot be read; run as root"
                yield note(self.name, "stack", "denied", why)
        if text:
            reason = f"in uninterruptible sleep (state D) for {slept_s:.0f} s"
            values = (process.pid, process.stat.name, process.identity.rank, reason, "kernel",
                      text[:TEXT_MAX])  # fmt: skip
            yield Row(STACK, values)
