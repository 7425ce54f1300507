"""Real jobs under a real recorder, and the diagnosis of what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from trainwreck_analyzer.verdict import Diagnosis, Evidence, Incident
from trainwreck_tui.demo import children, folders, run
from trainwreck_tui.demo.faults import Fault, Plan
from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.progress import Display, JobState, LogReader
from trainwreck_tui.demo.sandbox import Place

NOTHING = Plan(Fault.EXCEPTION, (), Place("none", ""), "")


@dataclass(slots=True)
class Accident:
    """What is left of a job."""

    where: folders.Folders
    exit_code: int
    diagnosis: Diagnosis
    rank: int | None = None
    """Where the fault was."""
    pids: dict[int, int] = field(default_factory=dict)

    @property
    def incident(self) -> Incident:
        assert len(self.diagnosis.incidents) == 1, self.diagnosis.incidents
        return self.diagnosis.incidents[0]

    @property
    def cause(self) -> str:
        return self.incident.verdict.cause

    @property
    def evidence(self) -> list[Evidence]:
        return [one for hypothesis in self.incident.hypotheses for one in hypothesis.evidence]

    def told(self) -> str:
        """Everything the incident says, for a message of a failed test."""
        lines = [f"{self.incident.verdict}"]
        for one in self.incident.hypotheses:
            lines.append(f"{one.cause} {one.confidence:.2f}")
            lines += [f"   {e.weight:+.1f} {e.kind} {e.text[:160]}" for e in one.evidence]
        return "\n".join(lines)


@pytest.fixture
def accident_type() -> type[Accident]:
    """For tests that make their own job."""
    return Accident


def pids_of_ranks(run_id: str) -> dict[int, int]:
    """Pid of each rank of a job that runs."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                env = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            rank = next((e[5:] for e in env if e.startswith(b"RANK=")), b"")
            if rank.isdigit() and b"TORCHELASTIC_RUN_ID=" + run_id.encode() in env:
                found[int(rank)] = int(folder.name)
    return found


@dataclass(slots=True)
class Running:
    """A job that trains."""

    launcher: subprocess.Popen[bytes]
    pids: dict[int, int]


@pytest.fixture
def demonstrated(tmp_path: Path) -> Callable[..., Accident]:
    """Plays one of the demo's faults."""

    def play(fault: Fault, seed: int) -> Accident:
        display = Display()
        with folders.folders(tmp_path / "data", keep=True) as where:
            outcome = run.demonstrate(fault, where, workers=4, seed=seed, display=display)
        rank = next((flaw.rank for flaw in outcome.plan.flaws), None)
        return Accident(where, outcome.exit_code, outcome.diagnosis, rank)

    return play


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Accident]:
    """Records a sound job, to which ``act`` does something once it has made 30 steps."""

    def play(act: Callable[[Running], None] | None, steps: int = 100_000) -> Accident:
        display, state = Display(), JobState()
        with ExitStack() as stack:
            where = stack.enter_context(folders.folders(tmp_path / "data", keep=True))
            stack.enter_context(children.recorder(where, display))
            job = JobConfig(
                run_id=f"test-{os.getpid()}",
                log_folder=str(where.log.parent),
                checkpoint_folder=str(where.job / "checkpoints"),
                steps=steps,
            )
            launcher = stack.enter_context(children.launched(job, NOTHING, where))
            reader, deadline_s = LogReader(where.log), time.monotonic() + 60
            while state.step < min(steps, 30) and time.monotonic() < deadline_s:
                reader.update(state)
                time.sleep(0.05)
            pids = pids_of_ranks(job.run_id)
            if act is not None:
                act(Running(launcher, pids))
            exit_code = launcher.wait(60)
            ended_us = time.time_ns() // 1000
            while not children.has_rows(where.data, {"cpu"}, ended_us + 1_500_000):
                assert time.monotonic() < deadline_s + 60, "the recorder stopped writing"
                time.sleep(0.1)
        return Accident(where, exit_code, run.diagnosed(where, display), pids=pids)

    return play


@pytest.fixture
def demo_command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``trainwreck demo`` as a user does."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        code = "from trainwreck_tui.demo.command import demo; demo()"
        env = children.child_environment() | {"TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start
