"""The table of processes: what a look reads, and what it may leave unread."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainwreck_agent.host import Host
from trainwreck_agent.processes import RESTLESS, ProcessTable

STAT = "{0} (daemon) S 1 7 7 0 -1 4 1 2 3 4 {1} 60 0 0 20 0 {2} 0 1234 0 77" + " 0" * 14 + " 5 0"


class Machine:
    """A recorded machine with one process, whose files change."""

    def __init__(self, root: Path, threads: int = 1) -> None:
        self.folder = root / "proc" / "9"
        self.folder.mkdir(parents=True)
        self.threads = threads
        self.stat(50)
        self.table = ProcessTable(Host(root))

    def stat(self, user_ticks: int) -> None:
        (self.folder / "stat").write_text(STAT.format(9, user_ticks, self.threads))

    def schedstat(self, text: str) -> None:
        (self.folder / "schedstat").write_text(text)

    def look(self) -> int:
        """What the table knows of the processor time after a scan."""
        for process in self.table.scan()[0]:
            process.notable = False  # as the collector finds it
        return self.table.known[9].stat.user_ticks


@pytest.mark.parametrize(
    ("threads", "ran", "read"),
    [
        (1, "7 7 7\n", False),
        (1, "0 0 0\n", True),  # a kernel that does not count
        (2, "7 7 7\n", True),  # it tells of the first thread only
    ],
)
def test_a_process_that_has_not_run_is_not_read_again(
    tmp_path: Path, threads: int, ran: str, read: bool
) -> None:
    machine = Machine(tmp_path, threads)
    machine.schedstat(ran)
    for _ in range(4):
        assert machine.look() == 50
    machine.stat(99)
    assert machine.look() == (99 if read else 50)
    machine.schedstat("8 8 8\n")
    assert machine.look() == 99
    machine.stat(150)
    assert machine.look() == 150


def test_a_sleeper_whose_files_are_gone_is_gone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.schedstat("7 7 7\n")
    for _ in range(4):
        machine.look()
    machine.schedstat("8 8 8\n")
    (machine.folder / "stat").unlink()
    assert machine.table.look(9) is None


def test_a_large_process_is_read_even_if_it_sleeps(tmp_path: Path) -> None:
    """Its memory can be taken from it."""
    machine = Machine(tmp_path)
    machine.schedstat("7 7 7\n")
    for _ in range(4):
        machine.table.scan()
    machine.table.known[9].notable = True
    machine.stat(99)
    machine.table.scan()
    assert machine.table.known[9].stat.user_ticks == 99


def test_without_schedstat_each_look_reads(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for ticks in (50, 50, 50, 99, 99, 100):
        machine.stat(ticks)
        assert machine.look() == ticks


def test_a_process_that_runs_a_little_all_the_time_is_asked_no_more_whether_it_ran(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    for turn in range(RESTLESS + 4):
        machine.schedstat(f"{turn} 1 1\n")
        machine.look()
    machine.schedstat(f"{RESTLESS + 3} 1 1\n")  # as it was
    machine.stat(99)
    assert machine.look() == 99


def test_files_stay_within_what_this_process_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * before + 60, hard))
    try:
        machine = Machine(tmp_path)
        for pid in range(10, 200):
            (tmp_path / "proc" / str(pid)).mkdir()
            (tmp_path / "proc" / str(pid) / "stat").write_text(STAT.format(pid, 1, 1))
            (tmp_path / "proc" / str(pid) / "schedstat").write_text("7 7 7\n")
        for _ in range(4):
            machine.table.scan()
        assert len(machine.table.known) == 191
        held = len(os.listdir("/proc/self/fd")) - before
        assert 0 < held <= before + 30
        for pid in list(machine.table.known):
            machine.table.forget(pid)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys\nfor line in sys.stdin:\n for _ in range(2_000_000): pass\n print(flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_real_process_that_wakes_is_seen_to_have_run(sleeper: subprocess.Popen[str]) -> None:
    """On this kernel; where it has no schedstat, it is read each time."""
    assert sleeper.stdin is not None
    assert sleeper.stdout is not None
    table = ProcessTable(Host())

    def work() -> None:
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdin.write("go\n")
        sleeper.stdin.flush()
        sleeper.stdout.readline()

    work()
    deadline = time.monotonic() + 60
    process = table.look(sleeper.pid)
    assert process is not None
    process.notable = False
    slept = 0
    while slept < 3 and time.monotonic() < deadline:  # it may still be on its way to sleep
        table.look(sleeper.pid)
        slept = slept + 1 if process.slept else 0
    before = process.stat.user_ticks + process.stat.system_ticks
    work()
    table.look(sleeper.pid)
    assert process.stat.user_ticks + process.stat.system_ticks > before
