r"""What a kernel that died could still save: records of the pstore.

Source: Documentation/ABI/testing/pstore of the kernel and systemd-pstore.service(8)

``/sys/fs/pstore/dmesg-efi-176400000001001``, or, moved there by systemd at boot,
``/var/lib/systemd/pstore/1764000000/dmesg-efi-…``::

    Panic#1 Part1
    <0>[  412.113042] Kernel panic - not syncing: Fatal hardware error!
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import note
from trainwreck_agent.tables.devices import PANIC_LOG
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

KERNEL = "/sys/fs/pstore"
ARCHIVE = "/var/lib/systemd/pstore"
RECORDS_MAX = 64
"""Records read at most, the newest ones."""
RECORD_BYTES_MAX = 1 << 20
_DEPTH_MAX = 3

_NAME = re.compile(r"(dmesg|console|pmsg|mce)-([a-z_]{1,30}?)(?:-([0-9]{1,20}))?(?:\.txt)?\Z")
_REASON = re.compile(r"([A-Za-z][A-Za-z -]{0,30})#[0-9]{1,6}(?: Part([0-9]{1,6}))?\Z")
_LINE = re.compile(
    r"(?:<([0-9]{1,4})>)?(?:\[ {0,9}([0-9]{1,10})\.([0-9]{6})\])?(?:\[ {0,9}[TC][0-9]{1,10}\])? ?"
)


class Pstore(Collector):
    """Reads ``/sys/fs/pstore`` and ``/var/lib/systemd/pstore``: every record once."""

    name = "pstore"
    every_s = 300.0
    tables = (PANIC_LOG, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._seen: set[tuple[str, int]] = set()
        if not (host.exists(KERNEL) or host.exists(ARCHIVE)):
            raise Unavailable(f"{KERNEL}: kernel without pstore; {ARCHIVE}: nothing was saved")
        try:
            os.listdir(host.path(KERNEL if host.exists(KERNEL) else ARCHIVE))
        except OSError as error:
            raise Unavailable(f"{KERNEL}: {error.strerror}; run as root", "denied") from error

    def collect(self) -> Iterator[Row]:
        """Yield one row a line of each record that is new since the last call."""
        for path, changed_ns in records(self.host):
            if (path, changed_ns) in self._seen:
                continue
            self._seen.add((path, changed_ns))
            name = path.rsplit("/", 1)[1]
            if name.endswith(".enc.z"):
                yield note(
                    self.name, name, "error", f"{path}: compressed, and this kernel cannot undo it"
                )
                continue
            match = _NAME.match(name)
            data = self.host.read(path)
            if match is None or data is None:
                yield note(self.name, name, "error", f"{path}: cannot be read as a record")
                continue
            for values in parse(data[:RECORD_BYTES_MAX], match[2]):
                yield Row(PANIC_LOG, (path, *values), changed_ns // 1000)


def records(host: Host) -> list[tuple[str, int]]:
    """Path and time of change (ns) of the newest records, in the order of their paths."""
    found = [*_walk(host, KERNEL, 1), *_walk(host, ARCHIVE, _DEPTH_MAX)]
    newest = sorted(found, key=lambda record: record[1], reverse=True)[:RECORDS_MAX]
    return sorted(newest)


def _walk(host: Host, folder: str, depth: int) -> Iterator[tuple[str, int]]:
    for name in host.list(folder):
        path = f"{folder}/{name}"
        if os.path.isdir(host.path(path)):
            if depth > 1 and not os.path.islink(host.path(path)):
                yield from _walk(host, path, depth - 1)
        elif _NAME.match(name.removesuffix(".enc.z")):
            try:
                yield path, os.stat(host.path(path)).st_mtime_ns
            except OSError:  # removed meanwhile: systemd-pstore moves them
                continue


def parse(data: bytes, backend: str) -> Iterator[tuple[Value, ...]]:
    """Yield line number, backend, reason, part, priority, time (µs) and text of each line."""
    reason: str | None = None
    part: int | None = None
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        line = line.replace("\0", "").rstrip()
        if number == 1 and (head := _REASON.match(line)):
            reason, part = head[1], int(head[2]) if head[2] else None
            continue
        if not line:
            continue
        match = _LINE.match(line)
        priority = monotonic_us = None
        if match is not None:
            priority = None if match[1] is None else int(match[1]) & 7
            if match[2] is not None:
                monotonic_us = int(match[2]) * 1_000_000 + int(match[3])
            if match[1] is not None or match[2] is not None:
                line = line[match.end() :]
        yield number, backend, reason, part, priority, monotonic_us, line
