"""A child process for collectors that may hang: it hangs, and only it.

The child writes journal lines into a pipe, and around every collector a line that says so. The
parent never waits for it. When a collector is over its deadline the child is given up: asked to
end (SIGTERM, which a task stuck in the kernel gets when it comes back), never waited for, and a new
child starts without that collector, which is tried again later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.journal import encode, encode_all
from trainwreck_agent.schedule import Schedule
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

DEADLINE_S = 5.0
RETRY_HUNG_S = 300.0
RESTART_S = 5.0
EARLY_S = 0.25
"""What is due so soon is read with what is due now: to wake up costs as much as most of it."""
PIPE_READ_BYTES = 1 << 16
PIPE_BYTES = 1 << 20
"""What a child may say between two ticks without having to wait."""
LINE_MAX_BYTES = 1 << 20


class Worker:
    """Runs some collectors in a child of its own."""

    pollable = False
    """What it says is never urgent: it is read with the tick."""

    def __init__(
        self, name: str, host: Host, kinds: Sequence[Callable[[Host], Collector]], names: list[str],
        deadline_s: float = DEADLINE_S,
    ) -> None:  # fmt: skip
        self.name = name
        self._host = host
        self._kinds = dict(zip(names, kinds, strict=True))
        self._deadline_s = deadline_s
        self._left_out: dict[str, float] = {}
        """Collectors that hung, and when (CLOCK_MONOTONIC, s) they are tried again."""
        self._pid = 0
        self._pipe = -1
        self._rest = b""
        self._unfinished: list[Row | str] = []
        """Rows of a collector that has not ended its turn: all of a turn are written, or none."""
        self._running: str | None = None
        self._running_since_s = 0.0
        self._start_s = 0.0
        self._given_up: list[int] = []
        self._refused = False

    def start(self) -> None:
        """Start the child."""
        wanted = [name for name in self._kinds if name not in self._left_out]
        try:
            reading, writing = os.pipe()
        except OSError:
            return self._later()
        try:
            pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return self._later()
        if pid == 0:
            _child(self._host, [(n, self._kinds[n]) for n in wanted], writing)
        os.close(writing)
        os.set_blocking(reading, False)
        with contextlib.suppress(OSError):  # past the user's limit of pipe memory
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._pid, self._pipe, self._rest, self._running = pid, reading, b"", None
        self._unfinished = []

    def _later(self) -> None:
        """No process or descriptor is to be had now: try again."""
        self._start_s = time.monotonic() + RESTART_S
        self._refused, self._running = True, None

    def fileno(self) -> int:
        """For poll(); -1 while no child runs."""
        return self._pipe

    def read(self) -> list[Row | str]:
        """Journal lines since the last call; never blocks."""
        if self._pipe < 0:
            return []
        found: list[Row | str] = []
        while True:
            try:
                data = os.read(self._pipe, PIPE_READ_BYTES)
            except BlockingIOError:
                return found
            if not data:
                return [*found, *self._ended()]
            self._running_since_s = time.monotonic()  # it speaks: it does not hang
            whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
            if len(self._rest) > LINE_MAX_BYTES:
                self._rest = b""
            for line in whole.split(b"\n") if newline else ():
                if line[:1] == b"@":
                    self._control(line[1:].decode("ascii", "replace"))
                    if line == b"@":
                        found += self._unfinished
                        self._unfinished = []
                else:
                    self._unfinished.append(line.decode("utf-8", "replace") + "\n")

    def _control(self, word: str) -> None:
        self._running = word or None
        self._running_since_s = time.monotonic()

    def _ended(self) -> list[Row]:
        """The child is gone: say so, and start another one after a while."""
        _, status = os.waitpid(self._pid, 0)
        self._close()
        self._start_s = time.monotonic() + RESTART_S
        return [_health(self.name, "error", f"its process ended ({_told(status)}); restarted")]

    def _close(self) -> None:
        os.close(self._pipe)
        self._pipe, self._pid = -1, 0

    def check(self, now_monotonic: float) -> list[Row]:
        """Facts about hangs; starts and restarts children."""
        self._given_up = [pid for pid in self._given_up if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        for name, retry_s in list(self._left_out.items()):
            if now_monotonic >= retry_s:
                del self._left_out[name]
                self._replace()
        rows: list[Row] = []
        if self._refused:
            self._refused = False
            rows.append(_health(self.name, "error", "its process could not be started; retried"))
        if self._running is not None and now_monotonic - self._running_since_s > self._deadline_s:
            hung = self._running
            rows.append(_health(hung, "hang", f"no answer within {self._deadline_s:g} s; left out"
                                              f" for {RETRY_HUNG_S:g} s"))  # fmt: skip
            self._left_out[hung] = now_monotonic + RETRY_HUNG_S
            self._replace()
        elif self._pipe < 0 and now_monotonic >= self._start_s:
            self.start()
        return rows

    def _replace(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
            self._given_up.append(self._pid)
            self._close()
        self.start()

    def stop(self) -> None:
        """Ask the child to end; does not wait for one that hangs."""
        if not self._pid:
            return
        os.kill(self._pid, signal.SIGTERM)
        until_s = time.monotonic() + 1.0
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < until_s:
            time.sleep(0.01)
        self._close()


def _told(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"


def _health(name: str, status: str, detail: str) -> Row:
    return Row(COLLECTOR_HEALTH, (name, status, detail, None, None, None, None, None))


def _child(host: Host, kinds: list[tuple[str, Callable[[Host], Collector]]], pipe: int) -> None:
    """The child's whole life. Holds no descriptor of the parent's but the pipe: not its lock."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        os.closerange(3, pipe)
        os.closerange(pipe + 1, min(os.sysconf("SC_OPEN_MAX"), 65536))
        _loop(host, kinds, pipe)
    except BrokenPipeError:
        os._exit(0)  # the recorder is gone
    except BaseException:  # noqa: BLE001 — a forked child must never run on in its parent's code
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _loop(host: Host, kinds: list[tuple[str, Callable[[Host], Collector]]], pipe: int) -> None:
    """Run the collectors until the recorder is gone."""
    schedule = Schedule(host)
    for name, kind in kinds:
        schedule.add(name, kind)
    parent = os.getppid()
    while os.getppid() == parent:
        for entry in schedule.due(time.monotonic(), EARLY_S):
            os.write(pipe, f"@{entry.name}\n".encode())
            rows = schedule.run_one(entry, time.monotonic())
            tick_us = time.time_ns() // 1000
            lines, wrong = encode_all(rows, tick_us)
            lines += [encode(_health(entry.name, "error", told), tick_us) for told in wrong[:1]]
            data = "".join([*lines, "@\n"]).encode("utf-8", "replace")
            view = memoryview(data)
            while view:
                view = view[os.write(pipe, view) :]
        time.sleep(min(max(schedule.next_due_s() - time.monotonic(), 0.01), 5.0))
