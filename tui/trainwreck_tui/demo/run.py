"""The whole line in one go: record, let a real job really die, diagnose."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainwreck_tui.demo import faults
from trainwreck_tui.demo.children import has_rows, launched, recorder
from trainwreck_tui.demo.faults import Fault, Plan
from trainwreck_tui.demo.folders import DemoError, Folders
from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.progress import Display, JobState, LogReader

if TYPE_CHECKING:
    from trainwreck_analyzer.verdict import Diagnosis

_POLL_S = 0.2
_JOB_MAX_S = 120.0
_LATE_ROWS_S = 8.0
"""The slowest sources that matter here are read every 5 s."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration leaves."""

    folders: Folders
    plan: Plan
    exit_code: int
    """The job's."""
    diagnosis: Diagnosis


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
    own = tuple(one for one in diagnosis.incidents if not one.before_run)
    diagnosis = replace(diagnosis, incidents=own)
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
