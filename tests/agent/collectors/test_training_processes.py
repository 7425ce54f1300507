"""What the child with the devices reads of training processes: who they are, and how they sleep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.collector import Row
from trainwreck_agent.collectors import cgroup, process_detail, setting, software
from trainwreck_agent.collectors.blocked_process import BlockedProcess
from trainwreck_agent.collectors.process import Processes
from trainwreck_agent.host import Host
from trainwreck_agent.identity import NOBODY
from trainwreck_agent.processes import Process, parse_stat
from trainwreck_agent.ranks import TOLD_MAX, Ranks, Told

STAT = (
    "{pid} ({name}) {state} {parent} 1 1 0 -1 4194304 100 0 7 0 {ticks} 60 0 0 20 0 4 0 {start}"
    " 1000000 2000 18446744073709551615 1 1 0 0 0 0 0 16781312 16386 0 0 0 17 3 0 0 0 0 0\n"
)


class Machine:
    """A recorded machine whose processes change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = Host(root)
        self.write("stat", "btime 1700000000\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / "proc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def process(self, pid: int, rank: int | None = 0, **stat: object) -> None:
        values = {"name": "python", "state": "S", "parent": 1, "ticks": 5, "start": 8000, **stat}
        self.write(f"{pid}/stat", STAT.format(pid=pid, **values))
        self.write(f"{pid}/cmdline", "python\0train.py\0")
        self.write(f"{pid}/environ", "" if rank is None else f"RANK={rank}\0WORLD_SIZE=2\0")
        self.write(f"{pid}/cgroup", "0::/job\n")

    def ends(self, pid: int) -> None:
        shutil.rmtree(self.root / "proc" / str(pid))

    def sleeps(self, pid: int, state: str, switches: int) -> None:
        self.process(pid, state=state)
        self.write(f"{pid}/status", f"voluntary_ctxt_switches:\t{switches}\n")
        self.write(f"{pid}/stack", "[<0>] nfs_wait_bit_killable+0x1e/0x90\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_ranks_and_their_children_are_found_and_forgotten(machine: Machine) -> None:
    machine.process(100, rank=0)
    machine.process(101, rank=0, parent=100)
    machine.process(200, rank=None)
    ranks = Ranks(machine.host)
    assert [(p.pid, p.role) for p in ranks.now(0.0)] == [(100, "training"), (101, "child")]
    assert [p.pid for p in ranks.training(1.0)] == [100]
    machine.ends(100)
    assert [p.pid for p in ranks.now(6.0)] == [101]


def test_a_process_caught_before_exec_is_known_for_what_it_becomes(machine: Machine) -> None:
    machine.process(100, rank=None, name="bash")
    ranks = Ranks(machine.host)
    assert ranks.now(0.0) == []
    machine.process(100, rank=3)
    assert [p.identity.rank for p in ranks.now(6.0)] == [3]


def test_others_are_read_twice_and_never_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(200, 230):
        machine.process(pid, rank=None)
    ranks = Ranks(machine.host)
    looked: list[int] = []
    look = ranks.table.look
    monkeypatch.setattr(ranks.table, "look", lambda pid: (looked.append(pid), look(pid))[1])
    for turn in range(5):
        ranks.now(6.0 * turn)
    assert sorted(looked) == sorted(2 * [*range(200, 230)])


def test_the_recorder_tells_who_is_of_a_job_and_nobody_else_is_looked_at(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.process(100, rank=0)
    machine.process(101, rank=None, parent=100)
    machine.process(200, rank=None)
    machine.process(1, rank=None, name="systemd")
    told = Told()
    ranks = Ranks(machine.host, told)
    assert [p.pid for p in ranks.now(0.0)] == [100, 101]  # nothing told yet
    recorder = Processes(machine.host)
    recorder.told = told
    machine.process(300, rank=1)
    machine.process(301, rank=1, parent=300)
    list(recorder.collect())
    monkeypatch.setattr(Host, "list", None)  # no look of its own
    expected = [(100, "training", 0), (101, "child", None), (300, "training", 1), (301, "child", 1)]
    assert [(p.pid, p.role, p.identity.rank) for p in ranks.now(20.0)] == expected
    assert [p.pid for p in ranks.training(40.0)] == [100, 300]
    for pid in (100, 101, 300):
        recorder.table.forget(pid)
    list(recorder.collect())
    assert [p.pid for p in ranks.now(60.0)] == [301]
    told.tell([])
    assert ranks.now(80.0) == []


def test_what_is_told_is_bounded(machine: Machine) -> None:
    told = Told()
    stat = parse_stat(STAT.format(pid=1, name="a", state="S", parent=1, ticks=1, start=1).encode())
    assert stat is not None
    told.tell(Process(pid, stat, NOBODY) for pid in range(1, TOLD_MAX + 100))
    heard = told.heard(0)
    assert heard is not None
    version, roles = heard
    assert len(roles) == TOLD_MAX
    assert told.heard(version) is None


def stacks(rows: Any) -> list[Row]:
    return [row for row in rows if row.table.name == "stack"]


def test_a_long_uninterruptible_sleep_gives_one_kernel_stack(machine: Machine) -> None:
    machine.sleeps(100, "D", switches=7)
    collector = BlockedProcess(machine.host)
    assert stacks(collector.look(0.0)) == []
    assert stacks(collector.look(2.5)) == []
    (row,) = stacks(collector.look(5.0))
    assert row.values[:5] == (
        *(100, "python", 0),
        "in uninterruptible sleep (state D) for 5 s",
        "kernel",
    )
    assert "nfs_wait_bit_killable" in str(row.values[5])
    assert stacks(collector.look(7.5)) == []


@pytest.mark.parametrize(("state", "switches"), [("D", 8), ("S", 7)])
def test_a_process_that_moved_meanwhile_is_not_blocked(
    machine: Machine, state: str, switches: int
) -> None:
    machine.sleeps(100, "D", switches=7)
    collector = BlockedProcess(machine.host)
    list(collector.look(0.0))
    machine.sleeps(100, state, switches)
    assert stacks(collector.look(6.0)) == []


def test_without_the_right_to_stacks_the_wait_channel_is_told(machine: Machine) -> None:
    machine.sleeps(100, "D", switches=7)
    (machine.root / "proc/100/stack").unlink()
    machine.write("100/wchan", "io_schedule")
    collector = BlockedProcess(machine.host)
    list(collector.look(0.0))
    rows = list(collector.look(6.0))
    assert [row.table.name for row in rows] == ["collector_health", "stack"]
    assert rows[0].values[:2] == ("blocked_process/stack", "denied")
    assert rows[1].values[5] == "[wait channel] io_schedule"


def test_a_library_that_a_real_process_has_mapped(tmp_path: Path) -> None:
    """The version of a wheel's library is that of its distribution."""
    site = tmp_path / "lib/python3.11/site-packages"
    (site / "nvidia_nccl_cu12-2.26.2.dist-info").mkdir(parents=True)
    library = site / "nvidia/nccl/lib/libnccl.so.2"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\0" * 4096)
    code = (
        f"import mmap,sys; f=open({str(library)!r},'rb');"
        "m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); print(1,flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        rows = [row.values for row in software.Software(Host()).collect()]
        process.communicate()
    assert ("library", "libnccl", str(library), "2.26.2", 1) in rows


@given(st.binary(max_size=400))
def test_any_bytes_are_parsed_or_nothing(data: bytes) -> None:
    cgroup.memberships(data)
    cgroup.numbers(data)
    cgroup.number(data)
    cgroup.io_totals(data)
    cgroup.blkio_totals(data)
    process_detail.parse_status(data)
    process_detail.parse_limits(data)
    process_detail.run_delay_ns(data)
    list(software.libraries(data))
    setting.acs(data)
    setting.acs(bytes(256) + data)


def test_a_long_map_is_read_in_linear_time() -> None:
    """64 KiB lines of slashes and names would take minutes by a pattern that backtracks."""
    line = b" " + b"/lib" * 16_000 + b"\n"
    assert list(software.libraries(line * 20)) == []
    assert list(software.libraries((b" /a" * 1000 + b"/libnccl.so\n") * 100)) != [()]


@pytest.mark.parametrize(
    ("path", "above"),
    [("/a/b/c", ["/a/b", "/a"]), ("/a", []), ("/", []), ("", []), ("a", [])],
)
def test_groups_above(path: str, above: list[str]) -> None:
    assert list(cgroup.above(path)) == above


def test_a_group_outside_of_what_is_visible_is_left_out() -> None:
    assert cgroup.memberships(b"0::/../../kubepods/pod1\n3:cpu,cpuacct:/x\n") == {
        "cpu": "/x",
        "cpuacct": "/x",
    }


SLEEPER = """
#include <unistd.h>
int main(void) { if (vfork() == 0) { write(1, "x", 1); sleep(600); _exit(0); } return 0; }
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="kernel stacks need root")
def test_a_real_process_in_uninterruptible_sleep(tmp_path: Path) -> None:
    """Who calls vfork() sleeps in state D until its child ends."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to make a process that blocks")
    (tmp_path / "sleeper.c").write_text(SLEEPER)
    subprocess.run([compiler, "-o", tmp_path / "sleeper", tmp_path / "sleeper.c"], check=True)
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "1"}
    with subprocess.Popen(
        [tmp_path / "sleeper"], env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as rank:
        try:
            assert rank.stdout is not None
            rank.stdout.read(1)
            collector = BlockedProcess(Host())
            list(collector.look(time.monotonic()))
            rows = stacks(collector.look(time.monotonic() + 6.0))
        finally:
            os.killpg(rank.pid, signal.SIGKILL)
    (text,) = [str(row.values[5]) for row in rows if row.values[0] == rank.pid]
    assert "vfork" in text or "clone" in text, text
