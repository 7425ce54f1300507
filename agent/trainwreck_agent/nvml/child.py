"""The child process: its clock, its end of the pipe, its signals. It alone calls NVML.

SIGTERM has a handler, and so only interrupts: with the default action the kernel would end the
process inside the call, exactly as SIGKILL does. The handler runs when the call has returned.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import time
import traceback
from types import FrameType
from typing import NoReturn

from trainwreck_agent.nvml import wire
from trainwreck_agent.nvml.burst import Burst
from trainwreck_agent.nvml.library import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    VERSION_MISMATCH,
    DriverGone,
    Library,
)
from trainwreck_agent.nvml.process import Order
from trainwreck_agent.nvml.progress import Progress
from trainwreck_agent.nvml.session import Renew, Session

PIPE_BYTES = 1 << 20
STOPPED = 128 + signal.SIGTERM
"""Exit code of a child that was told to end."""
_FIRST_FD = 3


class Stop(BaseException):
    """SIGTERM came."""


class Gone(BaseException):
    """The recorder at the other end of the pipe ended."""


class Pipe:
    """The writing end: never blocks; a message goes out whole or, told, not at all."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = memoryview(b"")
        os.set_blocking(fd, False)
        with contextlib.suppress(OSError):  # past the user's limit of pipe memory
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, line: bytes) -> bool:
        """Whether the line is on its way; False: what was sent before still fills the pipe.

        Raises:
            Gone: Nobody reads any more.
        """
        self._flush()
        if self._rest:
            return False
        self._rest = memoryview(line)
        self._flush()
        return True

    def _flush(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise Gone from None


def main(fd: int, progress: Progress, order: Order) -> NoReturn:
    """Run in the forked child until told to stop; never returns to the caller's code."""
    status = 1
    try:
        _become_child(fd)
        pipe = Pipe(_FIRST_FD)
        try:
            pipe.send(_serve(pipe, progress, order))
        except Exception:  # noqa: BLE001 — told to the recorder, which keeps it in its health table
            pipe.send(wire.end("error", traceback.format_exc(limit=-3)))
        status = 0
    except Gone:
        status = 0
    except Stop:
        status = STOPPED
    finally:
        os._exit(status)  # no clean-up of the recorder's objects, of which this is a copy


def _become_child(fd: int) -> None:
    """Leave behind what was the recorder's: signals, descriptors, garbage."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the recorder, which stops us
    signal.signal(signal.SIGTERM, _stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(fd, _FIRST_FD + 1)
    for standard in range(3):
        os.dup2(null, standard)
    os.dup2(_FIRST_FD + 1, _FIRST_FD, inheritable=False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _FIRST_FD:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write("trainwreck-nvml")
    gc.freeze()  # the collector would touch, and so copy, each page shared with the recorder


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Stop


def _serve(pipe: Pipe, progress: Progress, order: Order) -> bytes:
    """Read and send until something ends it; the last line to send."""
    loaded = False
    try:
        library = Library(order.library, progress, order.deadline_s)
        session = Session(library, order.known)
        session.begin()
        loaded = True
        gc.collect()
        gc.freeze()  # what is there now stays: a collection need not look at it
        if not session.devices:
            pipe.send(wire.rows(time.time_ns() // 1000, session.rows))
            return wire.end("absent", "the NVIDIA driver is loaded, but it shows no GPU")
        _loop(pipe, session, order.interval_s, Burst(order.burst_hz) if order.burst_hz else None)
    except DriverGone as gone:
        return wire.end(_status(gone.code, loaded), _detail(gone))
    except Renew:
        return wire.end("renew", "a device stays lost: the devices are listed anew")


def _loop(pipe: Pipe, session: Session, interval_s: float, burst: Burst | None) -> NoReturn:
    due_s = time.monotonic()
    while True:
        if session.changed:
            session.changed = not pipe.send(wire.devices(session.devices))
        ts_us = time.time_ns() // 1000
        rows = session.tick(time.monotonic())
        if pipe.send(wire.rows(ts_us, rows)):
            session.sent()
        else:
            session.unsent(rows)
        due_s += interval_s
        if burst is not None:
            _between_ticks(pipe, session, burst, rows, due_s)
        now_s = time.monotonic()
        if now_s < due_s:
            time.sleep(due_s - now_s)
        else:
            missed = int((now_s - due_s) / interval_s)
            if missed:
                session.missed(missed)
                due_s += missed * interval_s


def _between_ticks(
    pipe: Pipe, session: Session, burst: Burst, rows: list[wire.Cells], until_s: float
) -> None:
    """Sample until the next tick; send what is to be written."""
    now_s = time.monotonic()
    burst.events(session.gpus, rows, session.wanted, now_s)
    while True:
        burst.sample(session.gpus, now_s)
        if lines := burst.lines(session.gpus, now_s):
            pipe.send(lines)
        next_s = now_s + burst.every_s
        if next_s >= until_s:
            return
        time.sleep(max(next_s - time.monotonic(), 0.0))
        now_s = time.monotonic()


def _status(code: int, loaded: bool) -> str:
    if code == VERSION_MISMATCH:
        return "error"
    return "lost" if loaded else "absent"


def _detail(gone: DriverGone) -> str:
    if gone.code == DRIVER_NOT_LOADED:
        return f"the NVIDIA kernel driver is not loaded ({gone.detail})"
    if gone.code == VERSION_MISMATCH:
        return f"kernel driver and NVML are of two versions ({gone.detail}); reload the driver"
    return gone.detail if gone.code == LIBRARY_NOT_FOUND else f"the driver went ({gone.detail})"
