"""A story to look at: a worker that leaks until the kernel kills it, as data, log and diagnosis."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from story import CRASH_S, KILLED, RANKS, START, lines_of, row, telemetry
from trainwreck_agent import store
from trainwreck_agent.journal import Journal
from trainwreck_agent.layout import Layout
from trainwreck_analyzer.verdict import (
    Component,
    Diagnosis,
    Evidence,
    Hypothesis,
    Incident,
    Input,
    Run,
    Verdict,
    Victim,
)  # fmt: skip
from trainwreck_tui.app import TrainwreckApp


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write what is seen now")


@pytest.fixture(scope="session")
def story_folder() -> Iterator[Path]:
    """Where the story lies; nothing in it is changed by a test.

    Its path is always equally long, for it stands in titles that are cut off.
    """
    with tempfile.TemporaryDirectory(prefix="trainwreck-story-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def data(story_folder: Path) -> Path:
    """The data directory of the story."""
    layout = Layout(story_folder / "data")
    layout.create()
    (layout.root / "meta.json").write_text('{"schema_version": 1, "host": "node7"}')
    store.prepare(layout)
    journal = Journal(layout)
    lines = [line for second in range(0, CRASH_S + 60) for line in telemetry(second)]
    lines += [
        row("kernel_event", CRASH_S, boot_id="b", seq=7, priority=3, facility=0, text=KILLED),
        row("process_exit", CRASH_S, pid=4713, name="python", role="training", rank=2, signal=9,
            source="connector"),
        row("process_exit", CRASH_S + 2, pid=4711, name="python", role="training", rank=0,
            exit_code=1, source="connector"),
        row("collector_health", 0, collector="nvml", status="absent", detail="no NVIDIA driver"),
    ]  # fmt: skip
    journal.append(lines)
    journal.close()
    return layout.root


@pytest.fixture(scope="session")
def log(story_folder: Path) -> Path:
    """The training log of the story."""
    path = story_folder / "train.log"
    lines = []
    for second in range(CRASH_S):
        stamp = (START + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"{stamp} INFO step {second} loss {2 - second / 300:.4f}")
    lines.append("2026-01-02 03:04:02 [rank0]: ConnectionResetError: [Errno 104] reset by peer")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def incident(data: Path, log: Path) -> Incident:
    """The verdict on the story."""
    crash = START + timedelta(seconds=CRASH_S)
    evidence = (
        Evidence("kernel", True, KILLED, str(data), 7, crash, "SELECT text FROM kernel_event", 4.0),
        Evidence("telemetry", True, "rank 2: resident memory rose from 1.0 to 4.6 GiB in 180 s",
                 str(data), None, crash, "SELECT ts, rss_bytes FROM process WHERE rank = 2", 1.5),
        Evidence("absence", False, "no swap is configured, so memory could not be moved out",
                 str(data), None, None, None, -0.2),
    )  # fmt: skip
    reset = Evidence("log", True, "[rank0]: ConnectionResetError", str(log), CRASH_S + 1, crash)
    return Incident(
        "20260102T030400-host_oom", crash, crash + timedelta(seconds=5),
        Run("4711", "torchrun", RANKS, CRASH_S - 1),
        Verdict("host_oom", "memory", 0.93,
                "The kernel killed rank 2 because its memory cgroup was full; it had grown by"
                " 20 MiB a second for three minutes.", Component(host="node7", rank=2)),
        (Hypothesis("host_oom", "memory", 0.93, evidence),
         Hypothesis("unknown", "none", 0.05, (reset,))),
        tuple(Victim(r, "node7", f"[rank{r}]: ConnectionResetError: [Errno 104]",
                     "its peer, rank 2, was gone") for r in (0, 1, 3)),
        ("swap activity: no swap on this host",),
        ("Find what grows with every step in rank 2.", "Give the job more memory meanwhile."),
    )  # fmt: skip


@pytest.fixture
def app(data: Path, log: Path, incident: Incident) -> TrainwreckApp:
    """The app, opened at the story."""
    entry = Input(str(log), "training_log", CRASH_S + 1)
    return TrainwreckApp([data], [log], Diagnosis((entry,), (incident,)))


@pytest.fixture
def snapshot(
    request: pytest.FixtureRequest, story_folder: Path
) -> Callable[[TrainwreckApp, str], None]:
    """Compares the screen with a committed file; ``--update-snapshots`` writes it."""

    def compare(app: TrainwreckApp, name: str) -> None:
        file = Path(__file__).parent / "snapshots" / f"{name}.txt"
        seen = lines_of(app).replace(str(story_folder), "/tmp/story")
        if request.config.getoption("--update-snapshots"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(seen)
        assert file.exists(), f"{file} is missing; run pytest --update-snapshots and look at it"
        assert seen == file.read_text()

    return compare
