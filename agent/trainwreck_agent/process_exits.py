"""Ends of processes, told by the kernel's process connector: exit code and signal of any process.

Sources: https://docs.kernel.org/driver-api/connector.html, include/uapi/linux/cn_proc.h

A socket filter lets only exec and exit events through, so a host that forks thousands of times a
second costs nothing here.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import time
from collections.abc import Iterator

from trainwreck_agent.collector import Row
from trainwreck_agent.collectors.process import exit_row
from trainwreck_agent.host import Unavailable
from trainwreck_agent.identity import NOBODY
from trainwreck_agent.processes import Process, ProcessTable, Stat, parse_stat
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

NETLINK_CONNECTOR = 11
CN_IDX_PROC = CN_VAL_PROC = 1
PROC_CN_MCAST_LISTEN = 1
PROC_EVENT_EXEC = 0x00000002
PROC_EVENT_EXIT = 0x80000000
SO_ATTACH_FILTER = 26
_HEADERS = struct.Struct("=IHHIIIIIIHH")  # nlmsghdr, cn_msg
_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp_ns (CLOCK_MONOTONIC)
_EXIT = struct.Struct("=iiIIii")  # pid, tgid, exit_code, exit_signal, parent pid, parent tgid
_EXEC = struct.Struct("=ii")
_WHAT_AT = _HEADERS.size
BATCH_MAX = 2000
LOOKS_MAX_PER_BATCH = 50
WAKES_PER_TICK_MAX = 20
"""A host that starts a hundred programs a second would wake the recorder two hundred times."""
BUFFER_BYTES = 8 << 20
"""Of kernel memory at most: ten thousand events, should nobody read for a while."""
SO_RCVBUFFORCE = 33


def exec_and_exit_only() -> array.array[int]:
    """A classic BPF program that drops every message but execs and exits of whole processes.

    BPF loads big-endian words; the kernel wrote the event in the machine's order.
    """
    wanted = [socket.htonl(PROC_EVENT_EXEC), socket.htonl(PROC_EVENT_EXIT)]
    pid_at = _WHAT_AT + _EVENT.size
    instructions = [
        (0x20, 0, 0, _WHAT_AT),  # ld  [what]
        (0x15, 5, 0, wanted[0]),  # jeq exec, accept
        (0x15, 0, 5, wanted[1]),  # jeq exit, go on, drop
        (0x20, 0, 0, pid_at),  # ld  [pid]
        (0x07, 0, 0, 0),  # tax
        (0x20, 0, 0, pid_at + 4),  # ld  [tgid]
        (0x1D, 0, 1, 0),  # jeq x, accept, drop: a thread's end is nobody's end
        (0x06, 0, 0, 0xFFFFFFFF),  # ret everything
        (0x06, 0, 0, 0),  # ret nothing
    ]
    return array.array("B", b"".join(struct.pack("=HBBI", *i) for i in instructions))


def parse(data: bytes) -> tuple[int, bytes] | None:
    """``(what, payload behind the event's header)`` of one message; None for anything else."""
    if len(data) < _HEADERS.size + _EVENT.size:
        return None
    headers = _HEADERS.unpack_from(data)
    if headers[5:7] != (CN_IDX_PROC, CN_VAL_PROC):
        return None
    what = _EVENT.unpack_from(data, _HEADERS.size)[0]
    return what, data[_HEADERS.size + _EVENT.size :]


class ProcessExits:
    """Listens to the connector. Needs CAP_NET_ADMIN in the first network namespace."""

    name = "process_exits"

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        if not table.host.live:
            raise Unavailable("process exits: a recorded machine has none")
        self._socket = _listen()
        self._own = os.getpid()
        self._wakes = 0
        self.lost = 0

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    @property
    def pollable(self) -> bool:
        """Whether the next event should wake the recorder; in a storm it waits for the tick."""
        return self._wakes < WAKES_PER_TICK_MAX

    def read(self) -> list[Row]:
        """The ends since the last call; never blocks."""
        self._wakes += 1
        rows: list[Row] = []
        begun: dict[int, None] = {}
        for _ in range(BATCH_MAX):
            try:
                message = parse(self._socket.recv(4096))
            except BlockingIOError:
                break
            except OSError as error:  # ENOBUFS: the kernel threw events away
                self.lost += 1
                rows.append(
                    _lost(f"events of the process connector were lost: {error.strerror}", self.lost)
                )
                continue
            if message is None:
                continue
            what, body = message
            if what == PROC_EVENT_EXIT and len(body) >= 16:
                rows.extend(self._exit(body, begun))
            elif what == PROC_EVENT_EXEC and len(body) >= 8:
                pid, tgid = _EXEC.unpack_from(body)
                if pid == tgid:
                    begun[tgid] = None
        self._begin(list(begun))
        return rows

    def _begin(self, pids: list[int]) -> None:
        """Look at processes that are another program now; at those too many, with the next scan."""
        for pid in pids[:LOOKS_MAX_PER_BATCH]:
            self._table.relearn(pid)
        for pid in pids[LOOKS_MAX_PER_BATCH:]:
            self._table.forget(pid)

    def _exit(self, body: bytes, begun: dict[int, None]) -> Iterator[Row]:
        pid, tgid, status = struct.unpack_from("=iiI", body)
        if pid != tgid:  # a thread
            return
        if tgid in begun:  # what was known of it is of the program before
            del begun[tgid]
            self._table.forget(tgid)
        parent = _EXIT.unpack_from(body)[5] if len(body) >= _EXIT.size else 0
        known = self._table.forget(tgid)
        if known is None:
            if status == 0 or parent == self._own:
                return
            known = self._stranger(tgid, parent)
        elif known.role == "other" and (status == 0 or parent == self._own):
            return
        yield exit_row(self._table, known, "connector", status, time.time_ns() // 1000)

    def _stranger(self, pid: int, parent: int) -> Process:
        """A process that lived too shortly to be scanned; its name is still in its zombie."""
        data = self._table.host.read(f"/proc/{pid}/stat") or b""
        stat = parse_stat(data) or Stat("", "Z", parent, 0, 0, 0, 0, 0, 0, 0)
        process = Process(pid, stat, NOBODY)
        above = self._table.known.get(stat.parent)
        if above is not None and above.role != "other":
            process.role = "child"
        return process

    def check(self, now_monotonic: float) -> list[Row]:
        """Nothing to supervise: the kernel pushes. A new tick begins."""
        self._wakes = 0
        return []

    def stop(self) -> None:
        """Close the socket."""
        self._socket.close()


def _lost(detail: str, count: int) -> Row:
    return Row(COLLECTOR_HEALTH, ("process_exits", "lost", detail, None, None, count, None, None))


def _listen() -> socket.socket:
    if not hasattr(socket, "AF_NETLINK"):
        raise Unavailable("process connector: no netlink on this system")
    try:
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_CONNECTOR
        )
    except OSError as error:
        raise Unavailable(f"process connector: {error.strerror} (CONFIG_PROC_EVENTS)") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        program = exec_and_exit_only()
        address, size = program.buffer_info()
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", size // 8, address))
        sock.bind((0, CN_IDX_PROC))
        listen = struct.pack("=I", PROC_CN_MCAST_LISTEN)
        headers = _HEADERS.pack(
            _HEADERS.size + 4, 3, 0, 0, os.getpid(), CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, 0
        )
        sock.send(headers + listen)
    except PermissionError as error:
        sock.close()
        raise Unavailable(
            "process connector: permission denied; exits are polled, without code and signal;"
            " run as root (CAP_NET_ADMIN)",
            "denied",
        ) from error
    except OSError as error:
        sock.close()
        raise Unavailable(f"process connector: {error.strerror}") from error
    return sock
