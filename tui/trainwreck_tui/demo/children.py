"""The processes of a demonstration: the recorder, and the job's launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trainwreck_agent
import trainwreck_analyzer

import trainwreck_tui
from trainwreck_tui.demo.faults import Plan
from trainwreck_tui.demo.folders import DemoError, Folders
from trainwreck_tui.demo.job import config
from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.progress import Display

_POLL_S = 0.2
_RECORDER_START_S = 30.0
_RECORDER_STOP_S = 30.0


def child_environment() -> dict[str, str]:
    """The environment in which a child finds the three packages that this process runs."""
    roots = [
        str(Path(package.__path__[0]).parent)
        for package in (trainwreck_agent, trainwreck_analyzer, trainwreck_tui)
    ]
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(dict.fromkeys([*roots, *([inherited] if inherited else [])]))
    return {**os.environ, "PYTHONPATH": path}


@contextmanager
def recorder(where: Folders, display: Display) -> Iterator[None]:
    """Record into the data directory for as long as the block runs, from its first tick on."""
    command = [sys.executable, "-m", "trainwreck_agent", "record"]
    command += ["--data", str(where.data), "--log", str(where.log)]
    notes = where.job / "recorder.log"
    with notes.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        _wait_for_first_tick(process, where, notes)
        display.say(f"The recorder runs (pid {process.pid}), one tick a second into {where.data}")
        yield
    finally:
        _stop(process, _RECORDER_STOP_S)


def _wait_for_first_tick(process: subprocess.Popen[bytes], where: Folders, notes: Path) -> None:
    deadline_s = time.monotonic() + _RECORDER_START_S
    while not has_rows(where.data, {"cpu"}, 0):
        if process.poll() is not None or time.monotonic() > deadline_s:
            told = notes.read_text(errors="replace").strip().splitlines()
            last = told[-1] if told else f"exit code {process.poll()}, nothing said"
            raise DemoError(f"the recorder did not start: {last}")
        time.sleep(_POLL_S)


def has_rows(data: Path, tables: set[str], after_us: int) -> bool:
    """Whether the live journal has a row of each table newer than a moment."""
    missing = set(tables)
    for path in (data / "journal").glob("*.tsv"):
        with path.open("rb") as file:
            for line in file:
                name, _, rest = line.partition(b"\t")
                ts = rest.partition(b"\t")[0]
                if ts.isdigit() and int(ts) > after_us:
                    missing.discard(name.decode("ascii", "replace"))
    return not missing


def _stop(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End a child with SIGTERM, and with SIGKILL if it does not listen."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def launched(job: JobConfig, plan: Plan, where: Folders) -> Iterator[subprocess.Popen[bytes]]:
    """The job's launcher; whatever is left of the job is gone on leaving."""
    path = where.job / "job.json"
    config.write(job, path)
    command = [sys.executable, "-m", "trainwreck_tui.demo.launcher", str(path)]
    process = subprocess.Popen(
        [*plan.place.prefix, *command],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process, 10.0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
