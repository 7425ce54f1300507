"""The whole line in one go: record, let a real job really die, diagnose."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trainwreck_agent
import trainwreck_analyzer

import trainwreck_tui
from trainwreck_tui.demo import faults
from trainwreck_tui.demo.faults import Fault, Plan
from trainwreck_tui.demo.job import config
from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.progress import Display, JobState, LogReader

if TYPE_CHECKING:
    from trainwreck_analyzer.verdict import Diagnosis

_POLL_S = 0.2
_RECORDER_START_S = 30.0
_RECORDER_STOP_S = 30.0
_JOB_MAX_S = 120.0
_LATE_ROWS_S = 8.0
"""The slowest sources that matter here are read every 5 s."""


class DemoError(Exception):
    """The demonstration could not be run: what, where, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a demonstration puts things."""

    data: Path
    """The recorder's data directory; the job's files are in ``job`` inside it."""

    @property
    def job(self) -> Path:
        """Logs, checkpoints and the description of the job."""
        return self.data / "job"

    @property
    def log(self) -> Path:
        """The training log of all ranks."""
        return self.job / "logs" / "train.log"

    def command_to_look_again(self) -> str:
        """What opens this incident again."""
        return f"trainwreck tui --data {self.data} {self.log}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration leaves."""

    folders: Folders
    plan: Plan
    exit_code: int
    """The job's."""
    diagnosis: Diagnosis


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
def folders(data: Path | None, *, keep: bool) -> Iterator[Folders]:
    """The folders; a temporary one is removed on an interruption, and always unless ``keep``."""
    made = Path(tempfile.mkdtemp(prefix="trainwreck-")) if data is None else data.absolute()
    finished = False
    try:
        try:
            (made / "job" / "logs").mkdir(parents=True, exist_ok=True)
            found = Folders(made)
            found.log.unlink(missing_ok=True)
            found.log.touch()  # the recorder follows it from the start
        except OSError as error:
            raise DemoError(
                f"{made}: {error.strerror}; choose another folder with --data"
            ) from error
        yield found
        finished = True
    finally:
        if data is None and not (finished and keep):
            shutil.rmtree(made, ignore_errors=True)


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


def _memory(run_id: str, state: JobState) -> None:
    """Bring the resident memory of the ranks in ``state`` up to date."""
    state.rss_bytes_by_rank.clear()
    mark = b"TORCHELASTIC_RUN_ID=" + run_id.encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            env = (folder / "environ").read_bytes().split(b"\0")
            rank = next((e[5:] for e in env if e.startswith(b"RANK=")), b"") if mark in env else b""
            if rank.isdigit():
                pages = int((folder / "statm").read_bytes().split()[1])
                state.rss_bytes_by_rank[int(rank)] = pages * resource.getpagesize()
        except (OSError, IndexError):  # it has just ended, or is another user's
            continue


def _watch(process: subprocess.Popen[bytes], plan: Plan, job: JobConfig, display: Display) -> None:
    """Show the job until it has ended.

    Raises:
        DemoError: It did not end in two minutes.
    """
    log = Path(job.log_folder) / "train.log"
    state, reader = JobState(), LogReader(log)
    deadline_s = time.monotonic() + _JOB_MAX_S
    announced = False
    while process.poll() is None:
        reader.update(state)
        _memory(job.run_id, state)
        if not announced and state.step >= max(1, plan.step - 1):
            announced = True
            display.say(f"Step {max(state.step, plan.step)}: {plan.announcement}")
        silent = [r for r, step in state.step_by_rank.items() if step < state.step]
        late = f"  waiting for rank {silent[0]}" if len(silent) == 1 and announced else ""
        display.now(f"{state}{late}")
        if time.monotonic() > deadline_s:
            raise DemoError(f"the job did not end within {_JOB_MAX_S:.0f} s; see {log}")
        time.sleep(_POLL_S)
    reader.update(state)
    display.say(f"The job has died at step {state.step}, exit code {process.returncode}")


def _let_recorder_finish(where: Folders, fault: Fault, ended_us: int, display: Display) -> None:
    """Wait for the rows that tell of the end."""
    display.now("the recorder writes down the end")
    wanted = {"cpu"} | ({"filesystem"} if fault is Fault.DISK_FULL else set())
    deadline_s = time.monotonic() + _LATE_ROWS_S
    while time.monotonic() < deadline_s:
        if has_rows(where.data, wanted, ended_us + 1_500_000):
            return
        time.sleep(_POLL_S)


def play(
    fault: Fault, where: Folders, *, workers: int, seed: int, display: Display
) -> tuple[Plan, int]:
    """Record while the job dies: the fault as it was drawn, and the job's exit code.

    Raises:
        DemoError: Recorder or job did not do their part.
    """
    with ExitStack() as stack:
        checkpoints = where.job / "checkpoints"
        plan = stack.enter_context(faults.plan(fault, workers, seed, checkpoints))
        stack.enter_context(recorder(where, display))
        if plan.place.told:
            display.say(f"The job lives in: {plan.place.told}")
        job = JobConfig(
            run_id=f"{seed & 0xFFFFFFFF:08x}",
            log_folder=str(where.log.parent),
            checkpoint_folder=str(checkpoints),
            workers=workers,
            seed=seed & 0xFFFFFFFF,
            checkpoints_kept=plan.checkpoints_kept,
            flaws=plan.flaws,
        )
        with launched(job, plan, where) as process:
            display.say(f"The training job runs: {workers} ranks, launcher pid {process.pid}")
            _watch(process, plan, job, display)
            ended_us = time.time_ns() // 1000
        _let_recorder_finish(where, fault, ended_us, display)
        display.now("the recorder stops")
    return plan, process.returncode


def diagnosed(where: Folders, display: Display) -> Diagnosis:
    """What the analyzer says, given the log and the data and nothing else."""
    from trainwreck_analyzer.diagnose import diagnose

    display.now("diagnosing")
    started_s = time.monotonic()
    diagnosis = diagnose([where.log], [where.data])
    display.say(f"Diagnosed in {time.monotonic() - started_s:.1f} s from the log and the telemetry")
    return diagnosis


def demonstrate(
    fault: Fault, where: Folders, *, workers: int, seed: int, display: Display
) -> Outcome:
    """Record, die, diagnose.

    Raises:
        DemoError: See ``play``.
    """
    plan, exit_code = play(fault, where, workers=workers, seed=seed, display=display)
    return Outcome(where, plan, exit_code, diagnosed(where, display))


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does; while it cleans up none of them disturbs."""

    def interrupt(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
