"""Sums vectors over all ranks: a ring over TCP, with a watchdog.

Reduce-scatter, then all-gather: each rank sends to the next one and receives from the one before.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from trainwreck_tui.demo.job.model import Array

_CONNECT_TIMEOUT_S = 30.0
_ADDRESS = struct.Struct("!II")


class RingError(RuntimeError):
    """A collective failed; the message names it, its sequence number and the neighbour."""


@dataclass(frozen=True, slots=True)
class Work:
    """The collective that is under way."""

    sequence: int
    operation: str
    elements: int
    started_s: float

    def __str__(self) -> str:
        return f"{self.operation} SeqNum={self.sequence}"


class Ring:
    """This rank's place in the ring.

    Raises:
        OSError: The other ranks cannot be reached.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        master: tuple[str, int],
        timeout_s: float,
        listener: socket.socket | None = None,
    ) -> None:
        self.rank, self.world_size, self._timeout_s = rank, world_size, timeout_s
        self.next_rank, self.previous_rank = (rank + 1) % world_size, (rank - 1) % world_size
        self._sequence = 0
        self._work: Work | None = None
        self._timed_out: str | None = None
        self._next, self._previous = _connect(rank, world_size, master, listener)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def all_reduce(self, vector: Array) -> None:
        """Put into ``vector`` its sum over all ranks, in the same order of addition on each.

        Raises:
            RingError: A neighbour is gone, or the watchdog gave up.
        """
        self._sequence += 1
        self._work = Work(self._sequence, "ALLREDUCE", vector.size, time.monotonic())
        size = self.world_size
        chunks = np.array_split(vector, size)
        for turn in range(size - 1):
            send, receive = (self.rank - turn) % size, (self.rank - turn - 1) % size
            got = self._exchange(chunks[send].tobytes(), chunks[receive].nbytes)
            chunks[receive] += np.frombuffer(got, np.float32)
        for turn in range(size - 1):
            send, receive = (self.rank + 1 - turn) % size, (self.rank - turn) % size
            got = self._exchange(chunks[send].tobytes(), chunks[receive].nbytes)
            chunks[receive][:] = np.frombuffer(got, np.float32)
        self._work = None

    def close(self) -> None:
        """Leave; the neighbours' collectives fail from now on."""
        self._next.close()
        self._previous.close()

    def _exchange(self, out: bytes, wanted_bytes: int) -> bytearray:
        """Send to the next and receive from the previous at once, so that no buffer can block."""
        got, rest = bytearray(), memoryview(out)
        with selectors.DefaultSelector() as selector:
            selector.register(self._next, selectors.EVENT_WRITE)
            selector.register(self._previous, selectors.EVENT_READ)
            while rest or len(got) < wanted_bytes:
                for key, _ in selector.select():
                    if key.fileobj is self._next:
                        rest = rest[self._send(rest) :]
                        if not rest:
                            selector.unregister(self._next)
                    else:
                        got += self._receive(wanted_bytes - len(got))
                        if len(got) == wanted_bytes:
                            selector.unregister(self._previous)
        return got

    def _send(self, data: memoryview) -> int:
        try:
            return self._next.send(data)
        except OSError as error:
            raise self._failed(f"send to rank {self.next_rank} failed: {error}") from error

    def _receive(self, wanted_bytes: int) -> bytes:
        try:
            data = self._previous.recv(wanted_bytes)
        except OSError as error:
            raise self._failed(f"recv from rank {self.previous_rank} failed: {error}") from error
        if not data:
            raise self._failed(
                f"recv from rank {self.previous_rank} failed: Connection closed by peer"
            )
        return data

    def _failed(self, what: str) -> RingError:
        return RingError(self._timed_out or f"[rank {self.rank}] {self._work}: {what}")

    def _watch(self) -> None:
        """End a collective that takes too long by closing its connections under it."""
        while True:
            time.sleep(0.2)
            work = self._work
            if work is None or time.monotonic() - work.started_s < self._timeout_s:
                continue
            ran_ms = (time.monotonic() - work.started_s) * 1e3
            self._timed_out = (
                f"[rank {self.rank}] Watchdog caught collective operation timeout:"
                f" WorkRing(SeqNum={work.sequence}, OpType={work.operation},"
                f" NumelIn={work.elements}, NumelOut={work.elements},"
                f" Timeout(ms)={self._timeout_s * 1e3:.0f}) ran for {ran_ms:.0f} milliseconds"
                f" before timing out; timed out waiting for rank {self.previous_rank}"
            )
            logging.getLogger("ring").error(self._timed_out)
            with suppress(OSError):  # the collective failed meanwhile and its sockets are closed
                self._previous.shutdown(socket.SHUT_RD)
            return


def _connect(
    rank: int, world_size: int, master: tuple[str, int], listener: socket.socket | None
) -> tuple[socket.socket, socket.socket]:
    """Connections to the next rank and from the previous one; rank 0 tells all where all are."""
    mine = socket.create_server(("127.0.0.1", 0))
    mine.settimeout(_CONNECT_TIMEOUT_S)
    port = mine.getsockname()[1]
    if rank:
        ports = _join(rank, world_size, master, port)
    else:
        ports = _host(world_size, listener or socket.create_server(master), port)
    following = socket.create_connection(
        ("127.0.0.1", ports[(rank + 1) % world_size]), _CONNECT_TIMEOUT_S
    )
    previous, _ = mine.accept()
    mine.close()
    for connection in (following, previous):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    following.setblocking(False)
    previous.setblocking(False)
    return following, previous


def _join(rank: int, world_size: int, master: tuple[str, int], port: int) -> list[int]:
    """The port of every rank, by rank, as rank 0 tells."""
    with _dial(master) as store:
        store.sendall(_ADDRESS.pack(rank, port))
        table = _read_exactly(store, 4 * world_size)
    return list(struct.unpack(f"!{world_size}I", table))


def _host(world_size: int, listener: socket.socket, port: int) -> list[int]:
    """The same, once every rank has joined and was told."""
    ports = [port] + [0] * (world_size - 1)
    with listener:
        listener.settimeout(_CONNECT_TIMEOUT_S)
        joined: list[socket.socket] = []
        while len(joined) < world_size - 1:
            peer, _ = listener.accept()
            peer.settimeout(_CONNECT_TIMEOUT_S)
            peer_rank, peer_port = _ADDRESS.unpack(_read_exactly(peer, _ADDRESS.size))
            ports[peer_rank] = peer_port
            joined.append(peer)
        for peer in joined:
            peer.sendall(struct.pack(f"!{world_size}I", *ports))
            peer.close()
    return ports


def _dial(master: tuple[str, int]) -> socket.socket:
    deadline_s = time.monotonic() + _CONNECT_TIMEOUT_S
    while True:
        try:
            return socket.create_connection(master, _CONNECT_TIMEOUT_S)
        except ConnectionRefusedError:  # rank 0 is not up yet
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def _read_exactly(connection: socket.socket, wanted_bytes: int) -> bytes:
    data = b""
    while len(data) < wanted_bytes:
        part = connection.recv(wanted_bytes - len(data))
        if not part:
            raise ConnectionError("the connection closed during the rendezvous")
        data += part
    return data
