"""Ends of processes, told by the kernel's process connector: exit code and signal of any process.

Sources: https://docs.kernel.org/driver-api/connector.html, include/uapi/linux/cn_proc.h

Socket filters let only exec and exit events through, so a host that forks thousands of times a
second costs nothing here. There are two sockets, for to be woken costs ten times what an event
does: one wakes the recorder, the other is read with the tick. A process that ended badly cannot
wait: its name is to be had until its parent takes note. One that ended well can, and so can a
program that begins, which mostly is gone by then and never looked at; but while a job runs, what
begins may be a rank of it that fails at once, and is looked at before it does.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import time
from collections.abc import Iterator

from trainwreck_agent.cgroup import memory_path
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
_FRONT = struct.Struct("=16xII12xI4xQ")  # of the two of them what is looked at
_EXIT = struct.Struct("=iiIIii")  # pid, tgid, exit_code, exit_signal, parent pid, parent tgid
_ENDED = struct.Struct("=iiI")  # pid, tgid, exit_code
_EXEC = struct.Struct("=ii")
_WHAT_AT = _HEADERS.size
_BODY_AT = _HEADERS.size + _EVENT.size
MESSAGE_MAX_BYTES = 256
BATCH_MAX = 10_000
LOOKS_MAX_PER_BATCH = 50
WAKES_PER_TICK_MAX = 20
"""A host that starts a hundred programs a second would wake the recorder a hundred times."""
BUFFER_BYTES = 8 << 20
"""Of kernel memory at most: ten thousand events, should nobody read for a while."""
SO_RCVBUFFORCE = 33
LATE_MAX_US = 60_000_000
"""An event that seems older has its time from a clock that is not ours."""

Event = tuple[int, int, bytes]
"""What (PROC_EVENT_*), its time (CLOCK_MONOTONIC, ns), and the bytes behind its header."""


def events_of(*, well: bool, execs: bool) -> array.array[int]:
    """A classic BPF program: lets whole processes through that ended, ``well`` or badly.

    ``execs``: those too that called exec. BPF loads big-endian words; the kernel wrote the event in
    the machine's order.
    """
    instructions = [
        (0x20, 0, 0, _WHAT_AT),  # ld  [what]
        (0x15, 3 if execs else 0, 0, socket.htonl(PROC_EVENT_EXEC)),  # jeq exec, process
        (0x15, 0, 7, socket.htonl(PROC_EVENT_EXIT)),  # jeq exit, go on, drop
        (0x20, 0, 0, _BODY_AT + 8),  # ld  [exit_code]
        (0x15, *((0, 5) if well else (5, 0)), 0),  # jeq 0
        (0x20, 0, 0, _BODY_AT),  # process: ld  [pid]
        (0x07, 0, 0, 0),  # tax
        (0x20, 0, 0, _BODY_AT + 4),  # ld  [tgid]
        (0x1D, 0, 1, 0),  # jeq x, accept, drop: a thread's end is nobody's end
        (0x06, 0, 0, 0xFFFFFFFF),  # ret everything
        (0x06, 0, 0, 0),  # ret nothing
    ]
    return array.array("B", b"".join(struct.pack("=HBBI", *i) for i in instructions))


def parse(data: bytes) -> Event | None:
    """The event in one message; None for anything else."""
    if len(data) < _BODY_AT:
        return None
    index, value, what, time_ns = _FRONT.unpack_from(data)
    if index != CN_IDX_PROC or value != CN_VAL_PROC:
        return None
    return what, time_ns, data[_BODY_AT:]


class ProcessExits:
    """Listens to the connector. Needs CAP_NET_ADMIN in the first network namespace."""

    name = "process_exits"

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        if not table.host.live:
            raise Unavailable("process exits: a recorded machine has none")
        self._job = bool(table.training)
        """Whether a job runs, so that programs that begin wake the recorder."""
        self._waking, self._waiting = _listen_twice()
        self._choose(execs_wake=self._job)
        self._own = os.getpid()
        self._wakes = 0
        self.lost = 0

    def fileno(self) -> int:
        """For poll()."""
        return self._waking.fileno()

    @property
    def pollable(self) -> bool:
        """Whether the next event should wake the recorder; in a storm it waits for the tick."""
        return self._wakes < WAKES_PER_TICK_MAX

    def read(self) -> list[Row]:
        """The ends since the last call; never blocks."""
        self._wakes += 1
        rows: list[Row] = []
        events = self._receive(self._waking, rows)
        # After the other: whatever ended before an event of that one is then there too.
        if ended := self._receive(self._waiting, rows):
            events = sorted(events + ended, key=_time_ns)
        begun: dict[int, None] = {}
        for what, time_ns, body in events:
            if what == PROC_EVENT_EXIT and len(body) >= _ENDED.size:
                rows.extend(self._exit(body, time_ns, begun))
            elif what == PROC_EVENT_EXEC and len(body) >= _EXEC.size:
                pid, tgid = _EXEC.unpack_from(body)
                if pid == tgid:
                    begun[tgid] = None
        self._begin(list(begun))
        if self._job != bool(self._table.training):
            self._job = not self._job
            self._choose(execs_wake=self._job)
        return rows

    def _receive(self, source: socket.socket, rows: list[Row]) -> list[Event]:
        events: list[Event] = []
        for _ in range(BATCH_MAX):
            try:
                event = parse(source.recv(MESSAGE_MAX_BYTES))
            except BlockingIOError:
                break
            except OSError as error:  # ENOBUFS: the kernel threw events away
                self.lost += 1
                rows.append(
                    _lost(f"events of the process connector were lost: {error.strerror}", self.lost)
                )
                continue
            if event is not None:
                events.append(event)
        return events

    def _begin(self, pids: list[int]) -> None:
        """Look at processes that are another program now; at those too many, with the next scan."""
        for pid in pids[:LOOKS_MAX_PER_BATCH]:
            self._table.begin(pid)
        for pid in pids[LOOKS_MAX_PER_BATCH:]:
            self._table.forget(pid)

    def _exit(self, body: bytes, time_ns: int, begun: dict[int, None]) -> Iterator[Row]:
        pid, tgid, status = _ENDED.unpack_from(body)
        if pid != tgid:  # a thread
            return
        if tgid in begun:  # what was known of it is of the program before
            del begun[tgid]
            self._table.forget(tgid)
        arguments = self._table.begun.get(tgid, b"")
        known = self._table.forget(tgid)
        if known is None and status == 0:
            return
        parent = _EXIT.unpack_from(body)[5] if len(body) >= _EXIT.size else 0
        if known is None:
            if parent == self._own:
                return
            known = self._stranger(tgid, parent, arguments)
        elif known.role == "other" and (status == 0 or parent == self._own):
            return
        yield exit_row(self._table, known, "connector", status, _wall_us(time_ns))

    def _stranger(self, pid: int, parent: int, arguments: bytes) -> Process:
        """A process that lived too shortly to be scanned; its name is still in its zombie."""
        host = self._table.host
        stat = parse_stat(host.read(f"/proc/{pid}/stat", record=True) or b"")
        group = host.read(f"/proc/{pid}/cgroup", record=True) or b""
        stat = stat or Stat("", "Z", parent, 0, 0, 0, 0, 0, 0, 0)
        process = Process(pid, stat, NOBODY, arguments, memory_path(group))
        above = self._table.known.get(stat.parent)
        if above is not None and above.role != "other":
            process.role = "child"
        return process

    def check(self, now_monotonic: float) -> list[Row]:
        """Nothing to supervise: the kernel pushes. A new tick begins."""
        self._wakes = 0
        return []

    def _choose(self, *, execs_wake: bool) -> None:
        """Have execs from one of the sockets; from both for a moment, so that none is missed."""
        programs = [
            (self._waking, events_of(well=False, execs=execs_wake)),
            (self._waiting, events_of(well=True, execs=not execs_wake)),
        ]
        for sock, program in programs if execs_wake else reversed(programs):
            attach(sock, program)

    def stop(self) -> None:
        """Close the sockets."""
        self._waking.close()
        self._waiting.close()


def _time_ns(event: Event) -> int:
    return event[1]


def _wall_us(time_ns: int) -> int:
    """The time (µs since 1970 UTC) of a moment of CLOCK_MONOTONIC that is just over."""
    now_us, ago_us = time.time_ns() // 1000, (time.monotonic_ns() - time_ns) // 1000
    return now_us - ago_us if 0 <= ago_us <= LATE_MAX_US else now_us


def _lost(detail: str, count: int) -> Row:
    return Row(COLLECTOR_HEALTH, ("process_exits", "lost", detail, None, None, count, None, None))


def attach(sock: socket.socket, program: array.array[int]) -> None:
    """Let only what passes the program into the socket, from now on."""
    address, size = program.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", size // 8, address))


def _listen_twice() -> tuple[socket.socket, socket.socket]:
    first = _listen()
    try:
        return first, _listen()
    except Unavailable:
        first.close()
        raise


def _listen() -> socket.socket:
    """A socket that gets nothing until it has a filter of its own."""
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
        attach(sock, array.array("B", struct.pack("=HBBI", 0x06, 0, 0, 0)))  # ret nothing
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
