"""Data directories and recorders for the tests of the agent's core."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trainwreck_agent
from trainwreck_agent import store
from trainwreck_agent.layout import Layout

GIVE_UP_S = 60.0
AGENT = str(Path(trainwreck_agent.__file__).parents[1])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-contract", action="store_true", help="rewrite tests/agent/contract.txt"
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A new data directory, as the recorder makes it, without the sealer's work."""
    made = Layout(tmp_path / "data")
    made.create()
    return made


def wait(true: Callable[[], object], what: str = "") -> Any:
    """The first true answer."""
    give_up_s = time.monotonic() + GIVE_UP_S
    while not (answer := true()):
        assert time.monotonic() < give_up_s, what or "waited in vain"
        time.sleep(0.02)
    return answer


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    return wait


class Recording:
    """A recorder that runs, and what it has recorded."""

    def __init__(self, data: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.layout = Layout(data)
        self.errors = Path(tempfile.mkdtemp(prefix="trainwreck-test-")) / "stderr"
        command = [sys.executable, "-m", "trainwreck_agent", "record", "--data", str(data)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, "--interval", "100ms", *options],
                env={**os.environ, "PYTHONPATH": AGENT, **(env or {})},
                stderr=errors,
            )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with store.connect([self.data]) as views:
            return views.execute(query, list(values)).fetchall()

    def journal(self) -> str:
        """Text of all journals now."""
        if not self.layout.journal.is_dir():
            return ""
        return "".join(
            self.layout.journal_path(n).read_text("utf-8", "replace")
            for n in self.layout.journals()
        )

    def ticks(self) -> int:
        return sum(line.startswith("memory\t") for line in self.journal().splitlines())

    def wait_ticks(self, count: int = 3) -> None:
        start = self.ticks()
        wait(lambda: self.ticks() >= start + count, self.errors.read_text())

    def wait_text(self, text: str) -> None:
        """Until it stands in a journal."""
        wait(lambda: text in self.journal(), f"{text!r} was not recorded")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(GIVE_UP_S)

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recording]]:
    """Starts recorders; kills what a failed test leaves."""
    started: list[Recording] = []

    def start(
        data: Path | None = None, *options: str, env: dict[str, str] | None = None
    ) -> Recording:
        made = Recording(data or tmp_path / "data", *options, env=env)
        started.append(made)
        return made

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(GIVE_UP_S)
        shutil.rmtree(one.errors.parent)


def ended(pid: int) -> None:
    """Wait for the end of a process that need not be a child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], GIVE_UP_S)[0], f"pid {pid} lives on"
    finally:
        os.close(fd)


@pytest.fixture
def wait_end() -> Callable[[int], None]:
    return ended
