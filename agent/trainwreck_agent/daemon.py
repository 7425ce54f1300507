"""The recorder: one process that waits, reads what is due, and writes it down once a tick.

What may hang runs in children (``worker.py``, ``nvml``), what is pushed by the kernel wakes the
loop at once, and everything of a tick goes to the journal in one write with one ``fdatasync``.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import time
from dataclasses import dataclass

from trainwreck_agent import last_run, ranks
from trainwreck_agent.collector import Row, find
from trainwreck_agent.collectors.process import Processes
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.journal import encode_all
from trainwreck_agent.kernel_log import KernelLog
from trainwreck_agent.layout import Layout
from trainwreck_agent.notify import Notifier
from trainwreck_agent.nvml import NvmlWorker
from trainwreck_agent.process_exits import ProcessExits
from trainwreck_agent.schedule import Schedule
from trainwreck_agent.sealer import Sealer
from trainwreck_agent.stack_taker import StackTaker
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, KERNEL_EVENT, KERNEL_TRACE_EVENT
from trainwreck_agent.tables.process import PROCESS_EXIT
from trainwreck_agent.trace_events import TraceEvents
from trainwreck_agent.worker import Worker
from trainwreck_agent.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trainwreck_agent.collector import Collector
    from trainwreck_agent.source import Source

CLOCK_STEP_US = 500_000
URGENT_PRIORITY = 4
"""Kernel lines of this severity (warning) or worse are on disk at once, not at the next tick."""
FLUSHES_PER_TICK_MAX = 10
_EXIT_ROLE, _EXIT_SIGNAL = (
    [column.name for column in PROCESS_EXIT.columns].index(name) for name in ("role", "signal")
)
FILES_MAX = 16_384
LOG_DEADLINE_S = 120.0
"""The log follower also takes stacks, and reads file systems that may be slow."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line chose."""

    data: str
    interval_s: float = 1.0
    duration_s: float | None = None
    host_root: str = "/"
    logs: tuple[str, ...] = ()
    kmsg: str | None = None
    nvml_library: str | None = None
    retain_days: float = 30.0
    max_bytes: int = 8 << 30
    gpu_burst_hz: float = 0.0


class Recorder:
    """The agent in one process and a few children."""

    def __init__(self, settings: Settings) -> None:
        _allow_files()
        self.settings = settings
        self.layout = Layout(settings.data)
        self.layout.create()
        self.layout.lock()
        self.host = Host(settings.host_root)
        self.schedule = Schedule(self.host, settings.interval_s)
        self.sources: list[Source] = []
        self.stacks: StackTaker | None = None
        self.nvml: NvmlWorker | None = None
        self._boot_id = self.host.text("/proc/sys/kernel/random/boot_id") or ""
        self._health = last_run.begin(self.layout, self._boot_id, settings.interval_s)
        self._stopping = False
        self._urgent = 0
        self._waiting: list[Row | str] = []
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._offset_us = _clock_offset_us()
        self._suspended_us = _suspended_us()
        self._told = ranks.Told()
        self._start_children()
        try:
            self.writer = Writer(self.layout)
        except OSError as error:
            raise self.layout.not_writable(error) from error
        self.sealer = Sealer(self.layout, settings.retain_days, settings.max_bytes)
        self._start_sources()
        self._notify = Notifier()

    def _start_children(self) -> None:
        """Fork what may hang, while this process is small and holds nothing."""
        blocking = []
        kinds = find()
        ranks.shared(self.host).told = self._told
        gc.collect()
        gc.freeze()  # a collection would touch, and so copy, each page shared with the children
        for name, kind in kinds.items():
            if kind is Processes:
                continue
            if kind.may_block:
                blocking.append((name, kind))
            else:
                self.schedule.add(name, kind)
        if blocking:
            names, made = zip(*blocking, strict=True)
            self._adopt(Worker("devices", self.host, list(made), list(names)))
        if self.settings.logs:
            follow = self._follow_logs
            self._adopt(Worker("logs", self.host, [follow], ["training_log"], LOG_DEADLINE_S))
        if self.host.live or self.settings.nvml_library:
            library, pace_s = self.settings.nvml_library, self.settings.interval_s
            self.nvml = NvmlWorker(library, pace_s, burst_hz=self.settings.gpu_burst_hz)
            self._adopt(self.nvml)

    def _follow_logs(self, host: Host) -> Collector:
        """What follows the training logs; made, and its modules loaded, in the child."""
        from trainwreck_agent import stacks
        from trainwreck_agent.training_log import TrainingLog

        logs = list(self.settings.logs)
        return TrainingLog(host, logs, lambda why: stacks.take(host, why), self.layout)

    def _adopt(self, source: Worker | NvmlWorker) -> None:
        source.start()
        self.sources.append(source)

    def _start_sources(self) -> None:
        """Open what the kernel pushes. What is not there is recorded, once."""
        try:
            processes = Processes(self.host)
            processes.told = self._told
        except Unavailable as error:
            self._absent("process", error)
        else:
            try:
                self.sources.append(ProcessExits(processes.table))
                processes.exits_elsewhere = True
            except Unavailable as error:
                self._absent("process_exits", error)
            self.schedule.add("process", lambda _host: processes)
        if self.host.live or self.settings.kmsg:
            cursor = self.layout.file("state", "kernel_log.cursor")
            try:
                self.sources.append(
                    KernelLog(self.host, self.settings.kmsg or "/dev/kmsg", self._boot_id, cursor)
                )
            except Unavailable as error:
                self._absent("kernel_log", error)
        if self.host.live:
            self.stacks = StackTaker(self.layout)
            self.sources.append(self.stacks)
            try:
                self.sources.append(TraceEvents(self.host))
            except Unavailable as error:
                self._absent("trace_events", error)

    def _absent(self, name: str, error: Unavailable) -> None:
        values = (name, error.status, error.detail, None, None, None, None, None)
        self._health.append(Row(COLLECTOR_HEALTH, values))

    def run(self) -> int:
        """Record until asked to stop; the exit code."""
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        started_s = tick_s = time.monotonic()
        until_s = started_s + (self.settings.duration_s or float("inf"))
        self._notify("READY=1")
        try:
            while not self._stopping and tick_s < until_s:
                self._tick(tick_s)
                now_s = time.monotonic()
                tick_s += self.settings.interval_s
                if now_s > tick_s + self.settings.interval_s:
                    tick_s = self._skip(tick_s, now_s)
                self._wait(min(tick_s, until_s))
        finally:
            self._stop()
        return 0

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _skip(self, tick_s: float, now_s: float) -> float:
        """Missed ticks are not made up for, but counted."""
        missed = int((now_s - tick_s) / self.settings.interval_s)
        detail = f"{missed} ticks missed: the recorder was stopped, or had to wait too long"
        self._health.append(_lost("recorder", "lost", detail, missed))
        return tick_s + missed * self.settings.interval_s

    def _tick(self, planned_s: float) -> None:
        """Read and write what is due. By the plan: a tick that comes late makes no later one so."""
        now_s = time.monotonic()
        tick_us = time.time_ns() // 1000
        rows: list[Row | str] = [*self._health, *self._waiting]
        self._health.clear()
        self._waiting.clear()
        rows += self._clock_step()
        for source in self.sources:
            rows += source.read()  # first: what has answered does not hang
            rows += source.check(now_s)
        rows += self.schedule.run(planned_s)
        self._urgent = 0
        self._write(rows, tick_us)
        self._health += self.sealer.check(now_s, self.writer)
        self._notify("WATCHDOG=1")

    def _write(self, rows: list[Row | str], tick_us: int) -> None:
        if self.stacks is not None:
            self.stacks.observe(rows)
        if self.nvml is not None:
            self.nvml.observe(rows, time.monotonic())
        lines, wrong = encode_all(rows, tick_us)
        self._health += [_lost("recorder", "error", told, None) for told in wrong[:10]]
        self._health += self.writer.write(lines)
        if self.writer.behind:
            return
        for source in self.sources:
            if isinstance(source, KernelLog):
                source.commit()

    def _wait(self, until_s: float) -> None:
        """Sleep until the next tick, but write at once what cannot wait."""
        poll = select.poll()
        by_fd: dict[int, Source] = {}
        poll.register(self._wake[0], select.POLLIN)
        for source in self.sources:
            if source.fileno() >= 0 and getattr(source, "pollable", True):
                by_fd[source.fileno()] = source
                poll.register(source.fileno(), select.POLLIN)
        while not self._stopping:
            left_ms = (until_s - time.monotonic()) * 1000
            if left_ms <= 0:
                return
            for fd, events in poll.poll(left_ms):
                if fd == self._wake[0]:
                    os.read(fd, 4096)
                elif not self._take(by_fd[fd]) or not events & select.POLLIN:
                    # A pipe that its writer has left wakes poll() without end.
                    poll.unregister(fd)

    def _take(self, source: Source) -> bool:
        """Read a source that woke the loop; False: leave it to the tick."""
        rows = source.read()
        self._waiting += rows
        if any(_urgent(row) for row in rows) and self._urgent < FLUSHES_PER_TICK_MAX:
            self._urgent += 1
            waiting, self._waiting = self._waiting, []
            self._write(waiting, time.time_ns() // 1000)
        pollable = source.fileno() >= 0 and getattr(source, "pollable", True)
        return pollable and self._urgent < FLUSHES_PER_TICK_MAX

    def _clock_step(self) -> list[Row]:
        """Rows where the machine slept, and where the wall clock jumped apart from that."""
        offset_us, suspended_us = _clock_offset_us(), _suspended_us()
        slept_us = suspended_us - self._suspended_us
        step_us = offset_us - self._offset_us - slept_us
        self._offset_us, self._suspended_us = offset_us, suspended_us
        rows: list[Row] = []
        if slept_us >= CLOCK_STEP_US:
            missed = int(slept_us / 1e6 / self.settings.interval_s)
            detail = f"the machine was suspended for {slept_us / 1e6:.3f} s"
            rows.append(_lost("recorder", "lost", detail, missed))
        if abs(step_us) >= CLOCK_STEP_US:
            detail = f"the wall clock stepped by {step_us / 1e6:+.3f} s"
            rows.append(_lost("recorder", "clock", detail, None))
        return rows

    def _stop(self) -> None:
        self._notify("STOPPING=1")
        rows: list[Row | str] = [*self._health, *self._waiting]
        for source in self.sources:
            rows += source.read()
        self._write(rows, time.time_ns() // 1000)
        for source in self.sources:
            source.stop()
        self.sealer.stop()
        self.writer.close()
        last_run.end(self.layout, self._boot_id)


def _allow_files() -> None:
    """A file of each process is kept open: a service's usual limit of 1,024 is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _urgent(row: Row | str) -> bool:
    if isinstance(row, str):
        return False
    if row.table is KERNEL_EVENT:
        priority = row.values[2]
        return isinstance(priority, int) and priority <= URGENT_PRIORITY
    if row.table is PROCESS_EXIT:  # of strangers those that were killed: scripts end with 1 all day
        return row.values[_EXIT_ROLE] != "other" or row.values[_EXIT_SIGNAL] is not None
    return row.table is KERNEL_TRACE_EVENT


def _lost(name: str, status: str, detail: str, count: int | None) -> Row:
    return Row(COLLECTOR_HEALTH, (name, status, detail, None, None, count, None, None))


def _clock_offset_us() -> int:
    return (time.time_ns() - time.monotonic_ns()) // 1000


def _suspended_us() -> int:
    """Time that the machine was suspended since boot: only CLOCK_BOOTTIME counts it."""
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return (boot_ns - time.monotonic_ns()) // 1000
