"""Has stacks taken by a program of its own: when a job stands still, or when somebody asks.

py-spy takes its time and may hang with the process that it looks at; the sampling process only
reads a pipe. Who asks leaves a file in the data directory (``request``); it is removed when the
stacks are on record.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from trainwreck_agent.collector import Row
from trainwreck_agent.idle import IdleWatch
from trainwreck_agent.layout import Layout
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

DEADLINE_S = 150.0
COOL_DOWN_S = 300.0
"""Between two takings that nobody asked for."""
REQUEST = "stacks.request"
REQUEST_MAX_AGE_S = 60.0
"""An older one was meant for a recorder that is gone."""
REASON_MAX = 300
READ_BYTES = 1 << 16
REST_MAX_BYTES = 1 << 20
_OURS = (b"stack\t", b"collector_health\t")


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for."""

    reason: str
    native: bool

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return f"{'native' if self.native else 'python'}\t{self.reason}\n".encode()


def parse(data: bytes) -> Order | None:
    """The order in a file; None for anything that is none."""
    how, tab, reason = data.decode("utf-8", "replace").partition("\t")
    if how not in ("native", "python") or not tab:
        return None
    clean = "".join(c if c.isprintable() else " " for c in reason).strip()
    return Order(clean[:REASON_MAX] or "on request", how == "native")


def request(layout: Layout, order: Order) -> str:
    """Ask the recorder of a data directory; the path of the file, gone when it is done.

    Raises:
        OSError: The directory cannot be written to by this user.
    """
    path = layout.file("state", REQUEST)
    Layout.replace(path, order.to_bytes().decode("utf-8"))
    return path


class StackTaker:
    """Watches for a reason, and runs ``trainwreck-agent stacks`` when there is one."""

    name = "stacks"
    pollable = True

    def __init__(self, layout: Layout, command: tuple[str, ...] | None = None) -> None:
        self._request = layout.file("state", REQUEST)
        self._command = command or (sys.executable, "-m", "trainwreck_agent", "stacks", "--lines")
        self._idle = IdleWatch()
        self._pid = 0
        self._fd = -1
        self._rest = b""
        self._asked = self._done = False
        self._until_s = 0.0
        self._again_s = 0.0
        self._health: list[Row] = []

    def observe(self, rows: Iterable[Row | str]) -> None:
        """Look at the rows of a tick."""
        now_s = time.monotonic()
        reasons = self._idle.observe(rows, now_s)
        if reasons and now_s >= self._again_s and not self._pid:
            self._again_s = now_s + COOL_DOWN_S
            self._start(Order("; ".join(reasons)[:REASON_MAX], False), now_s)

    def _start(self, order: Order, now_s: float) -> None:
        options = ["--reason", order.reason, *(["--native"] if order.native else [])]
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            self._tell("error", f"stacks were wanted ({order.reason}): {error.strerror}")
            return
        try:
            self._pid = os.posix_spawn(
                self._command[0], [*self._command, *options], os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
            )  # fmt: skip
        except OSError as error:
            os.close(reading)
            self._tell("error", f"stacks were wanted ({order.reason}): {error.strerror}")
            return
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        self._fd, self._until_s, self._rest = reading, now_s + DEADLINE_S, b""

    def fileno(self) -> int:
        """For poll(); -1 while none are taken."""
        return self._fd

    def read(self) -> list[Row | str]:
        """Journal lines that came; never blocks."""
        found: list[Row | str] = [*self._health]
        self._health.clear()
        while self._fd >= 0:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                self._close()
                break
            whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
            if len(self._rest) > REST_MAX_BYTES:
                self._rest = b""
            found += [
                line.decode("utf-8", "replace") + "\n"
                for line in (whole.split(b"\n") if newline else ())
                if line.startswith(_OURS) and line.endswith(b"\t$")
            ]
        return found

    def check(self, now_monotonic: float) -> list[Row]:
        """Give up on one that takes too long; see whether somebody asks."""
        rows: list[Row] = []
        if self._done:
            self._answer()
        if self._pid and self._fd < 0:
            self._reap()
        elif self._pid and now_monotonic > self._until_s:
            os.kill(self._pid, signal.SIGTERM)
            os.close(self._fd)
            self._fd = -1
            rows.append(_health("hang", f"stacks took longer than {DEADLINE_S:g} s; given up"))
        if not self._pid and not self._done and (order := self._ordered()) is not None:
            self._asked = True
            self._start(order, now_monotonic)
            self._done = not self._pid  # it could not be started, which is told
        return rows

    def _ordered(self) -> Order | None:
        if not os.access(self._request, os.F_OK):
            return None
        try:
            fd = os.open(self._request, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            age_s = time.time() - os.fstat(fd).st_mtime
            order = parse(os.read(fd, 4096))
        finally:
            os.close(fd)
        if order is None or age_s > REQUEST_MAX_AGE_S:
            self._answer()
            return None
        return order

    def _reap(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code:
            self._tell("error", f"taking stacks ended with exit code {code}; see the log")
        self._done = self._asked  # answered at the next tick: the rows of this one are on disk then

    def _answer(self) -> None:
        """What was asked for is done."""
        self._asked = self._done = False
        with contextlib.suppress(OSError):
            os.unlink(self._request)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _tell(self, status: str, detail: str) -> None:
        self._health.append(_health(status, detail))

    def stop(self) -> None:
        """Ask a running one to end; does not wait for it."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        if self._fd >= 0:
            self._close()


def _health(status: str, detail: str) -> Row:
    return Row(COLLECTOR_HEALTH, ("stacks", status, detail, None, None, None, None, None))
