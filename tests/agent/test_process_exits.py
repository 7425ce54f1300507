"""Ends of processes as the kernel tells them: what is dropped, what waits, what is told."""

from __future__ import annotations

import os
import socket
import struct
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
    exec_and_exit_only,
)
from trainwreck_agent.processes import ProcessTable
from trainwreck_agent.tables.process import PROCESS_EXIT

FORK = 0x00000001
STAT = "{0} ({1}) {2} 1 7 7 0 -1 4 1 2 3 4 50 60 0 0 20 0 9 0 1234 0 77" + " 0" * 14 + " 5 0"


def event(what: int, pid: int, tgid: int, status: int = 0) -> bytes:
    headers = struct.pack("=IHHIIIIIIHH", 76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    return headers + struct.pack("=IIQiiIiii", what, 0, 5, pid, tgid, status, 17, 1, 1)


class Kernel:
    """The other end of the connector, and ``/proc``."""

    def __init__(self, root: Path) -> None:
        self.end, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        program = exec_and_exit_only()
        address, size = program.buffer_info()
        filter_ = struct.pack("@HP", size // 8, address)
        self.socket.setsockopt(socket.SOL_SOCKET, process_exits.SO_ATTACH_FILTER, filter_)
        self.root = root

    def process(self, pid: int, name: str, state: str = "S", command: bytes = b"") -> None:
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(STAT.format(pid, name, state))
        (folder / "cmdline").write_bytes(command)

    def tell(self, *events: bytes) -> None:
        for message in events:
            self.end.send(message)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    monkeypatch.setattr(process_exits, "_listen", lambda: made.socket)
    monkeypatch.setattr(Host, "live", property(lambda self: True))
    yield made
    made.end.close()
    made.socket.close()


def ends(exits: ProcessExits) -> list[dict[str, Value]]:
    names = [column.name for column in PROCESS_EXIT.columns]
    return [dict(zip(names, row.values, strict=True)) for row in exits.read()]


def test_only_execs_and_ends_of_whole_processes_come_through(kernel: Kernel) -> None:
    kernel.tell(event(FORK, 5, 5), event(PROC_EVENT_EXIT, 6, 5), event(PROC_EVENT_EXEC, 5, 5))
    kernel.tell(b"short", event(PROC_EVENT_EXIT, 5, 5))
    came = [process_exits.parse(kernel.socket.recv(4096)) for _ in range(2)]
    assert [message and message[0] for message in came] == [PROC_EVENT_EXEC, PROC_EVENT_EXIT]
    with pytest.raises(BlockingIOError):
        kernel.socket.recv(4096)


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


def test_a_process_that_called_exec_is_learned_anew(kernel: Kernel, tmp_path: Path) -> None:
    table = ProcessTable(Host(tmp_path))
    exits = ProcessExits(table)
    kernel.process(9, "bash", command=b"bash\0")
    table.look(9)
    kernel.process(9, "python", command=b"python\0train.py\0")
    kernel.tell(event(PROC_EVENT_EXEC, 9, 9))
    assert ends(exits) == []
    assert table.known[9].command == "python train.py"
    kernel.tell(event(PROC_EVENT_EXIT, 9, 9, status=11))
    (end,) = ends(exits)
    assert (end["command"], end["signal"]) == ("python train.py", 11)
    assert 9 not in table.known
    assert os.path.exists(table.host.path("/proc/9"))
