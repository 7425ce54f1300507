"""Starts the ranks of a job, watches them, and tells who failed first, as ``torchrun`` does.

``python -m trainwreck_tui.demo.launcher CONFIG``: exit code 0 when every rank finished, 1 when one
failed, 128 + N when signal N ended the job.
Source of the wording: https://docs.pytorch.org/docs/stable/elastic/errors.html
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trainwreck_tui.demo.job import config
from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.job.train import log_to_stderr

ENTRY_MODULE = "trainwreck_tui.demo.job.train"
_MONITOR_INTERVAL_S = 0.5
"""From the first failure to the end of the others: time for them to say what they saw."""
_GRACE_S = 5.0

log = logging.getLogger("launcher")


@dataclass(slots=True)
class Worker:
    """One rank's process."""

    rank: int
    process: subprocess.Popen[bytes]
    ended_s: float | None = None
    """When its end was seen, s since 1970; None: it runs."""

    @property
    def exit_code(self) -> int | None:
        """Negative: the number of the signal."""
        return self.process.returncode


class CombinedLog:
    """``train.log``: whole lines of all ranks in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = (folder / "train.log").open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append whole lines, and show them."""
        with self._lock:
            self._file.write(data)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def follow(self, rank: int, pipe: IO[bytes]) -> threading.Thread:
        """Copy a rank's output, line by line, here and to ``rank<N>.log``."""

        def copy() -> None:
            with (self.folder / f"rank{rank}.log").open("ab", buffering=0) as own:
                for line in pipe:
                    own.write(line)
                    self.write(b"[rank%d]: %s" % (rank, line))

        thread = threading.Thread(target=copy, name=f"output of rank {rank}", daemon=True)
        thread.start()
        return thread


class Launcher:
    """Runs one job."""

    def __init__(self, job: JobConfig, config_path: Path) -> None:
        self.job, self._config_path = job, config_path
        self._output = CombinedLog(Path(job.log_folder))
        self._workers: list[Worker] = []
        self._signal: int | None = None
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> int:
        """The exit code, once all ranks have ended."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._say("INFO", f"Starting {self.job.workers} workers, run id {self.job.run_id}")
        followers = self._start()
        first = self._wait_for_first_failure()
        if self._signal is not None:
            self._say("WARNING", f"Received {self._signal} death signal, shutting down workers")
        elif first is not None:
            self._wait(time.monotonic() + _MONITOR_INTERVAL_S)
        self._end_the_rest()
        for follower in followers:
            follower.join()
        if self._signal is not None:
            return 128 + self._signal
        if first is None:
            self._say("INFO", "All workers finished successfully")
            return 0
        self._summary()
        return 1

    def _start(self) -> list[threading.Thread]:
        # Rank 0 gets the socket itself: a port that was only looked up may be taken by then.
        with socket.create_server(("127.0.0.1", 0), backlog=self.job.workers) as listener:
            return [self._start_rank(rank, listener) for rank in range(self.job.workers)]

    def _start_rank(self, rank: int, listener: socket.socket) -> threading.Thread:
        env = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.job.workers),
            "LOCAL_WORLD_SIZE": str(self.job.workers),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(listener.getsockname()[1]),
            "TORCHELASTIC_RUN_ID": self.job.run_id,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        inherited = (listener.fileno(),) if rank == 0 else ()
        if inherited:
            env["MASTER_LISTEN_FD"] = str(listener.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", ENTRY_MODULE, str(self._config_path)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
        )
        assert process.stdout is not None
        self._workers.append(Worker(rank, process))
        return self._output.follow(rank, process.stdout)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._signal is None:
            self._signal = number
        os.write(self._wake_write, b"!")

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ended_s is None]

    def _wait_for_first_failure(self) -> Worker | None:
        while self._running() and self._signal is None:
            for worker in self._wait_once(None):
                if worker.exit_code:
                    return worker
        return None

    def _wait(self, deadline_s: float) -> None:
        while self._running() and (left_s := deadline_s - time.monotonic()) > 0:
            self._wait_once(left_s)

    def _wait_once(self, timeout_s: float | None) -> list[Worker]:
        """The workers that ended, as soon as one does; the kernel tells, so the order is real."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        by_fd = {os.pidfd_open(worker.process.pid): worker for worker in self._running()}
        try:
            for fd in by_fd:
                poll.register(fd, select.POLLIN)
            ready = poll.poll(None if timeout_s is None else timeout_s * 1e3)
            ended = [by_fd[fd] for fd, _ in ready if fd in by_fd]
            if any(fd == self._wake_read for fd, _ in ready):
                os.read(self._wake_read, 64)
        finally:
            for fd in by_fd:
                os.close(fd)
        for worker in ended:
            worker.process.wait()
            worker.ended_s = time.time()
        return ended

    def _end_the_rest(self) -> None:
        number = self._signal or signal.SIGTERM
        name = signal.Signals(number).name
        for worker in self._running():
            pid = worker.process.pid
            self._say("WARNING", f"Sending process {pid} closing signal {name}")
            worker.process.send_signal(number)
        self._wait(time.monotonic() + _GRACE_S)
        for worker in self._running():
            pid = worker.process.pid
            self._say("WARNING", f"Unable to shutdown process {pid} via {name}, forcefully exiting")
            worker.process.kill()
        self._wait(time.monotonic() + _GRACE_S)

    def _summary(self) -> None:
        """Print every failure, the first one last."""
        failed = sorted((w for w in self._workers if w.exit_code), key=lambda w: w.ended_s or 0)
        first, others = failed[0], failed[1:]
        self._say(
            "ERROR",
            f"failed (exitcode: {first.exit_code}) local_rank: {first.rank}"
            f" (pid: {first.process.pid}) of binary: {sys.executable}",
        )
        lines = ["=" * 60, f"{ENTRY_MODULE} FAILED", "-" * 60, "Failures:"]
        for number, worker in enumerate(others, 1):
            lines += _failure(number, worker)
        if not others:
            lines.append("  <NO_OTHER_FAILURES>")
        lines += ["-" * 60, "Root Cause (first observed failure):", *_failure(0, first), "=" * 60]
        self._output.write("".join(f"{line}\n" for line in lines).encode())

    def _say(self, level: str, text: str) -> None:
        now_s = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
        line = f"{stamp}.{int(now_s % 1 * 1e3):03d}Z {level} launcher: {text}\n"
        self._output.write(line.encode())


def _failure(number: int, worker: Worker) -> list[str]:
    code, pid = worker.exit_code or 0, worker.process.pid
    if code < 0:
        told = f"Signal {-code} ({signal.Signals(-code).name}) received by PID {pid}"
    else:
        told = "see the lines of this rank above"
    ended = time.strftime("%Y-%m-%d_%H:%M:%S", time.gmtime(worker.ended_s or 0))
    return [
        f"[{number}]:",
        f"  time      : {ended}",
        f"  host      : {socket.gethostname()}",
        f"  rank      : {worker.rank} (local_rank: {worker.rank})",
        f"  exitcode  : {code} (pid: {pid})",
        "  error_file: <N/A>",
        f"  traceback : {told}",
    ]


def main() -> int:
    """Run the job that the first argument describes."""
    log_to_stderr()
    path = Path(sys.argv[1])
    return Launcher(config.read(path), path).run()


if __name__ == "__main__":
    sys.exit(main())
