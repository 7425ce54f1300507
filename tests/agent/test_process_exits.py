"""Ends of processes as the kernel tells them: what is dropped, what waits, what is told."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainwreck_agent import process_exits
from trainwreck_agent.collector import Value
from trainwreck_agent.host import Host
from trainwreck_agent.process_exits import (
    PROC_EVENT_EXEC,
    PROC_EVENT_EXIT,
    WAKES_PER_TICK_MAX,
    ProcessExits,
    attach,
    events_of,
)
from trainwreck_agent.processes import ProcessTable
from trainwreck_agent.tables.process import PROCESS_EXIT

FORK = 0x00000001
STAT = "{0} ({1}) {2} 1 7 7 0 -1 4 1 2 3 4 50 60 0 0 20 0 9 0 1234 0 77" + " 0" * 14 + " 5 0"


CLOCK = itertools.count(1)


def event(what: int, pid: int, tgid: int, status: int = 0, time_ns: int | None = None) -> bytes:
    time_ns = next(CLOCK) if time_ns is None else time_ns
    headers = struct.pack("=IHHIIIIIIHH", 76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    return headers + struct.pack("=IIQiiIiii", what, 0, time_ns, pid, tgid, status, 17, 1, 1)


class Kernel:
    """The other ends of the two sockets of the connector, and ``/proc``."""

    def __init__(self, root: Path) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        self.ends = [end for end, _ in pairs]
        self.sockets = [made for _, made in pairs]
        for made in self.sockets:
            made.setblocking(False)
        self.root = root

    def process(
        self, pid: int, name: str, state: str = "S", command: bytes = b"", environment: bytes = b""
    ) -> None:
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(STAT.format(pid, name, state))
        (folder / "cmdline").write_bytes(command)
        (folder / "environ").write_bytes(environment)

    def tell(self, *events: bytes) -> None:
        for message in events:
            for end in self.ends:
                end.send(message)

    @property
    def wakes(self) -> bool:
        """Whether the recorder would be woken."""
        return bool(select.select([self.sockets[0]], [], [], 0)[0])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    sockets = iter(made.sockets)
    monkeypatch.setattr(process_exits, "_listen", lambda: next(sockets))
    monkeypatch.setattr(Host, "live", property(lambda self: True))
    yield made
    for each in (*made.ends, *made.sockets):
        each.close()


def ends(exits: ProcessExits) -> list[dict[str, Value]]:
    names = [column.name for column in PROCESS_EXIT.columns]
    return [dict(zip(names, row.values, strict=True)) for row in exits.read()]


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("execs", [True, False])
def test_only_execs_and_ends_of_whole_processes_come_through(
    kernel: Kernel, well: bool, execs: bool
) -> None:
    attach(kernel.sockets[0], events_of(well=well, execs=execs))
    kernel.tell(event(FORK, 5, 5), event(PROC_EVENT_EXIT, 6, 5), event(PROC_EVENT_EXIT, 6, 5, 9))
    began, ended = event(PROC_EVENT_EXEC, 5, 5), event(PROC_EVENT_EXIT, 7, 7)
    failed = event(PROC_EVENT_EXIT, 8, 8, 9)
    kernel.tell(b"short", event(PROC_EVENT_EXEC, 6, 5), began, ended, failed)
    came: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            came += [kernel.sockets[0].recv(4096)]
    assert came == [*([began] if execs else []), ended if well else failed]


def test_a_storm_wakes_the_recorder_only_so_often(kernel: Kernel, tmp_path: Path) -> None:
    exits = ProcessExits(ProcessTable(Host(tmp_path)))
    for _ in range(WAKES_PER_TICK_MAX):
        assert exits.pollable
        exits.read()
    assert not exits.pollable
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, status=9))
    assert [end["signal"] for end in ends(exits)] == [9]  # the tick reads it all the same
    exits.check(0.0)
    assert exits.pollable


def test_a_program_that_began_and_failed_at_once_is_not_the_one_before(
    kernel: Kernel, tmp_path: Path
) -> None:
    table = ProcessTable(Host(tmp_path))
    exits = ProcessExits(table)
    kernel.process(9, "bash", command=b"bash\0launch.sh\0")
    table.look(9)
    kernel.process(9, "python", state="Z")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9), event(PROC_EVENT_EXIT, 9, 9, status=1 << 8))
    (end,) = ends(exits)
    assert (end["name"], end["command"], end["exit_code"]) == ("python", None, 1)


RANK = b"RANK=3\0WORLD_SIZE=8\0"


def test_programs_that_come_and_go_wake_nobody_and_are_not_looked_at(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits = ProcessExits(ProcessTable(Host(tmp_path)))
    looked: list[str] = []
    read = Host.read

    def watched(self: Host, path: str, *, record: bool = False) -> bytes | None:
        looked.append(path)
        return read(self, path, record=record)

    monkeypatch.setattr(Host, "read", watched)
    kernel.process(9, "ls", command=b"ls\0")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9), event(PROC_EVENT_EXIT, 9, 9))
    assert not kernel.wakes
    assert ends(exits) == []
    assert looked == []


def test_a_process_that_ends_badly_wakes_and_is_named_while_it_is_a_zombie(
    kernel: Kernel, tmp_path: Path
) -> None:
    """A rank that dies before the tick that would have looked at it."""
    exits = ProcessExits(ProcessTable(Host(tmp_path)))
    kernel.process(9, "python", state="Z")
    (tmp_path / "proc/9/cgroup").write_text("0::/slurm/job_4711\n")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9), event(PROC_EVENT_EXIT, 9, 9, status=1 << 8))
    assert kernel.wakes
    (end,) = ends(exits)
    assert (end["name"], end["exit_code"], end["cgroup"]) == ("python", 1, "v2:/slurm/job_4711")


def test_what_a_program_was_called_with_is_known_when_it_fails_before_the_next_scan(
    kernel: Kernel, tmp_path: Path
) -> None:
    exits = ProcessExits(ProcessTable(Host(tmp_path)))
    kernel.process(9, "nvidia-smi", command=b"nvidia-smi\0-L\0")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9))
    assert ends(exits) == []
    kernel.process(9, "nvidia-smi", state="Z")
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, status=255 << 8))
    (end,) = ends(exits)
    assert (end["name"], end["command"], end["role"]) == ("nvidia-smi", "nvidia-smi -L", "other")


def test_while_a_job_runs_what_begins_wakes_and_a_rank_is_known_when_it_fails_at_once(
    kernel: Kernel, tmp_path: Path
) -> None:
    table = ProcessTable(Host(tmp_path))
    exits = ProcessExits(table)
    kernel.process(8, "torchrun", command=b"python\0/usr/bin/torchrun\0train.py\0")
    kernel.tell(event(PROC_EVENT_EXEC, 8, 8))
    assert not kernel.wakes
    exits.read()
    assert table.known[8].role == "training"
    kernel.process(9, "python", command=b"python\0train.py\0", environment=RANK)
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9))
    assert kernel.wakes
    exits.read()
    kernel.process(9, "python", state="Z")
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, status=1 << 8))
    (end,) = ends(exits)
    assert (end["rank"], end["command"], end["exit_code"]) == (3, "python train.py", 1)
    kernel.tell(event(PROC_EVENT_EXIT, 8, 8))
    assert not kernel.wakes
    (end,) = ends(exits)
    assert (end["role"], end["exit_code"]) == ("training", 0)
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9))
    assert not kernel.wakes


def test_an_end_that_was_read_late_belongs_to_the_process_of_its_time(
    kernel: Kernel, tmp_path: Path
) -> None:
    """The number of a process that ended well is given to a rank before the tick."""
    table = ProcessTable(Host(tmp_path))
    exits = ProcessExits(table)
    kernel.process(7, "python", command=b"python\0train.py\0", environment=RANK)
    table.look(7)
    exits.read()  # a job runs
    kernel.process(9, "python", command=b"python\0train.py\0", environment=RANK)
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, time_ns=10), event(PROC_EVENT_EXEC, 9, 9, time_ns=20))
    assert ends(exits) == []
    assert table.known[9].role == "training"


def test_an_end_has_the_time_at_which_it_came(kernel: Kernel, tmp_path: Path) -> None:
    exits = ProcessExits(ProcessTable(Host(tmp_path)))
    ago_ns = 700_000_000
    for pid, time_ns in ((9, time.monotonic_ns() - ago_ns), (10, 1 << 62)):
        kernel.tell(event(PROC_EVENT_EXIT, pid, pid, 9, time_ns))
    before_us = time.time_ns() // 1000
    first, second = exits.read()
    now_us = time.time_ns() // 1000
    assert first.ts_us is not None
    assert second.ts_us is not None
    assert before_us - 5_000_000 < first.ts_us <= now_us - ago_ns // 1000
    assert before_us <= second.ts_us <= now_us  # of a clock that is not ours


def test_a_process_that_called_exec_is_learned_anew(kernel: Kernel, tmp_path: Path) -> None:
    table = ProcessTable(Host(tmp_path))
    exits = ProcessExits(table)
    kernel.process(9, "bash", command=b"bash\0")
    table.look(9)
    kernel.process(9, "python", command=b"python\0train.py\0")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9))
    assert ends(exits) == []
    assert 9 not in table.known
    table.scan()
    assert table.known[9].command == "python train.py"
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, status=11))
    (end,) = ends(exits)
    assert (end["command"], end["signal"]) == ("python train.py", 11)
    assert 9 not in table.known
    assert os.path.exists(table.host.path("/proc/9"))
