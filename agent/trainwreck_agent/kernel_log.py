"""The kernel log, record by record, with its sequence numbers, so that a gap is seen and recorded.

Source: https://docs.kernel.org/ABI/testing/dev-kmsg

A record::

    6,339,5140900,-;NET: Registered protocol family 10
    30,340,5690716,-;udevd[80]: starting version 181
     SUBSYSTEM=usb
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass

from trainwreck_agent.collector import Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, KERNEL_EVENT

RECORD_MAX = 8192
BATCH_MAX = 2000
TEXT_MAX = 2000


@dataclass(frozen=True, slots=True)
class Record:
    """One record of ``/dev/kmsg``."""

    priority: int
    facility: int
    seq: int
    monotonic_us: int
    text: str


def parse(data: bytes) -> Record | None:
    """The record in ``data``; None for anything that is none."""
    head, found, body = data.partition(b";")
    f = head.split(b",")
    if not found or len(f) < 3 or not all(x.isdigit() and len(x) < 20 for x in f[:3]):
        return None
    level = int(f[0])
    text = body.split(b"\n", 1)[0].decode("utf-8", "replace")[:TEXT_MAX]
    return Record(level & 7, level >> 3, int(f[1]), int(f[2]), _unescape(text))


def _unescape(text: str) -> str:
    r"""The kernel writes unprintable bytes as ``\xNN``; kept as written but for the tab."""
    return text.replace("\\x09", "\t")


class KernelLog:
    """Follows ``/dev/kmsg``, or a file or pipe of such records for tests and recordings.

    ``cursor_path`` keeps (boot, sequence number), so that a restart neither repeats nor skips.
    """

    name = "kernel_log"

    def __init__(self, host: Host, path: str, boot_id: str, cursor_path: str) -> None:
        self.boot_id = boot_id
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise Unavailable(
                f"{path}: permission denied; run as root or set kernel.dmesg_restrict=0", "denied"
            ) from error
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error
        mode = os.fstat(self._fd).st_mode
        self.pollable = not stat.S_ISREG(mode)
        self._device = stat.S_ISCHR(mode)
        self._rest = b""
        self._next_seq = self._committed = 0
        self.lost = 0
        self._cursor = self._load_cursor(cursor_path)

    def fileno(self) -> int:
        """For poll(), where ``pollable``."""
        return self._fd

    def read(self) -> list[Row]:
        """The records since the last call; never blocks."""
        rows: list[Row] = []
        offset_us = (time.time_ns() - time.monotonic_ns()) // 1000
        for data in self._records():
            if data is None:
                rows.append(self._gap("the ring buffer was overrun before it was read"))
                continue
            record = parse(data)
            if record is None or record.seq < self._next_seq:
                continue
            if self._next_seq and record.seq > self._next_seq:
                self.lost += record.seq - self._next_seq
                rows.append(self._gap(f"records {self._next_seq} to {record.seq - 1} are missing"))
            self._next_seq = record.seq + 1
            values = (self.boot_id, record.seq, record.priority, record.facility,
                      record.monotonic_us, record.text)  # fmt: skip
            rows.append(Row(KERNEL_EVENT, values, record.monotonic_us + offset_us))
        return rows

    def commit(self) -> None:
        """Remember what was read; called once it is on disk."""
        if self._cursor < 0 or self._next_seq == self._committed:
            return
        try:
            os.pwrite(self._cursor, f"{self.boot_id:40} {self._next_seq:20}\n".encode(), 0)
        except OSError:
            return  # a full or read-only disk: tried again with the next records
        self._committed = self._next_seq

    def _records(self) -> list[bytes | None]:
        return self._device_records() if self._device else self._file_records()

    def _device_records(self) -> list[bytes | None]:
        found: list[bytes | None] = []
        for _ in range(BATCH_MAX):
            try:
                found.append(os.read(self._fd, RECORD_MAX))
            except BlockingIOError:
                break
            except BrokenPipeError:  # EPIPE: overrun; the next read gives the oldest there is
                found.append(None)
            except OSError:
                break
        return found

    def _file_records(self) -> list[bytes | None]:
        try:
            data = os.read(self._fd, 1 << 20)
        except OSError:
            return []
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        self._rest = self._rest[:RECORD_MAX]
        return [line for line in whole.split(b"\n") if newline and line[:1] != b" "]

    def _gap(self, detail: str) -> Row:
        values = (self.name, "gap", detail, None, None, self.lost, None, None)
        return Row(COLLECTOR_HEALTH, values)

    def _load_cursor(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError:
            return -1
        boot, _, seq = os.pread(fd, 128, 0).decode("ascii", "replace").strip().partition(" ")
        if boot == self.boot_id and seq.strip().isdigit():
            self._next_seq = int(seq)
        return fd

    def check(self, now_monotonic: float) -> list[Row]:
        """Nothing to supervise: the device never blocks."""
        return []

    def stop(self) -> None:
        """Close the log."""
        os.close(self._fd)
        if self._cursor >= 0:
            os.close(self._cursor)
            self._cursor = -1
