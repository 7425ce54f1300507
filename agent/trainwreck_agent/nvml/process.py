"""One child as the sampling process has it: its pid, its pipe, its shared memory."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass, field

from trainwreck_agent.nvml import wire
from trainwreck_agent.nvml.progress import NO_DEVICE, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_READ_BYTES = 1 << 16
_READS_MAX = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What a child is started with."""

    library: str | None
    interval_s: float
    deadline_s: float
    known: tuple[wire.Device, ...]
    left_out: int
    burst_hz: float = 0.0
    """How often power, clock and temperature are read into memory; 0: not."""


@dataclass(slots=True)
class ChildProcess:
    """A child that was started and has not been reaped."""

    pid: int
    fd: int
    """Our end of its pipe, registered in ``epoll``; -1 when it was closed."""
    epoll: select.epoll
    progress: Progress
    started_s: float
    heard_s: float
    decoder: wire.Decoder = field(default_factory=wire.Decoder)
    end: wire.End | None = None
    """Why it ended: its own words, or how the kernel tells it."""
    heard: bool = False
    """Whether rows came since the last check."""
    silent: bool = False
    seen_ns: int = 0
    """Start of the call that it was in at the last look; 0: in none."""
    hung_device: int = NO_DEVICE

    def messages(self) -> list[wire.Message]:
        """What it wrote, without waiting; its pipe is closed when it will write no more."""
        found: list[wire.Message] = []
        for _ in range(_READS_MAX if self.fd >= 0 else 0):
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                self.close_pipe()
                break
            found += self.decoder.feed(data)
        return found

    def close_pipe(self) -> None:
        """Read nothing more of it."""
        if self.fd >= 0:
            self.epoll.unregister(self.fd)
            os.close(self.fd)
            self.fd = -1

    def terminate(self) -> None:
        """Ask it to end after the call that it is in. Never SIGKILL: that froze GPUs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def reaped(self) -> bool:
        """Whether it ended; ``end`` says then why. It leaves no zombie."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # reaped by somebody else
            pid, status = self.pid, 0
        if pid == 0:
            return False
        if self.end is None:
            self.end = wire.End("error", how_it_ended(self.pid, status))
        return True

    def wait(self, deadline_s: float) -> bool:
        """Whether it ended before ``deadline_s`` (CLOCK_MONOTONIC); what it writes is dropped."""
        while not self.reaped():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            if self.fd < 0:
                time.sleep(0.002)  # its pipe is closed: it is in the kernel's exit
            else:
                self.epoll.poll(left_s, 1)
                self.messages()
        return True


def start(order: Order, epoll: select.epoll, now_s: float) -> ChildProcess:
    """Fork. Signals wait meanwhile: the child gets its own by its own handlers.

    Raises:
        OSError: No process or descriptor is to be had.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    progress = Progress()
    progress.leave_out(order.left_out)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(writer, progress, order)
    except OSError:
        os.close(reader)
        progress.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        os.close(writer)
    epoll.register(reader, select.EPOLLIN)
    return ChildProcess(pid, reader, epoll, progress, now_s, heard_s=now_s)


def _be_child(writer: int, progress: Progress, order: Order) -> NoReturn:
    """Go on as the child. Its modules are imported here, so that the recorder has them not."""
    try:
        from trainwreck_agent.nvml import child

        child.main(writer, progress, order)
    finally:
        os._exit(1)


def how_it_ended(pid: int, status: int) -> str:
    """A wait status in words."""
    child = f"the NVML child (pid {pid})"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "real-time"
        return f"{child} was ended by signal {number} ({name}); a new one starts"
    code = os.WEXITSTATUS(status)
    if code == 128 + signal.SIGTERM:
        return f"{child} was told to end by SIGTERM; a new one starts"
    return f"{child} ended with code {code}; a new one starts"
