"""Follows growing files by polling: through rotation, through being cut, and across restarts.

Polling sees what another machine writes on a shared file system too. A file is known by its inode
and by the bytes before the position; its name only says where to look. When it is renamed, it is
read to its end under its old name before the one that takes its place. When it is cut after a copy
was made (copytruncate), the copy is read on from where the original was.

A log that is written is kept open, so that its end can be read though it was renamed, packed and
deleted between two looks. One that has been still for long is let go: what is kept open cannot be
unmounted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwreck_agent.layout import Layout
from trainwreck_agent.log_file import (
    Descriptor,
    Folder,
    Key,
    equal_end,
    first_data,
    inodes,
    named_after,
    opened,
    regular,
    tail_crc,
)
from trainwreck_agent.log_position import Position, load

READ_MAX_BYTES = 1 << 20
LINE_MAX_BYTES = 1 << 16
MOVED_FOR_S = 60.0
"""A file that was renamed is read until nothing came for so long: its writer may have it open."""
HELD_MAX = 128
"""So many logs are kept open, those that were written last."""
HELD_FOR_S = 600.0
"""So long after something was read last."""
TOLD_EVERY_BYTES = 1 << 20


@dataclass(slots=True)
class Followed:
    """One file, wherever it lies now, and how far it was read."""

    name: str
    """The path it was first seen at; it stays the name of its lines."""
    path: str
    key: Key
    """Device and inode."""
    offset: int = 0
    line: int = 0
    tail_crc: int = 0
    fresh: bool = False
    """Read to its end before: what comes now was written since."""
    seen: tuple[int, int] | None = None
    """Size and time of change when there was nothing more to read."""
    copy_of: Key | None = None
    """Has been nothing but a copy of that file so far."""
    moved_s: float | None = None
    """Since when it is not where it was (CLOCK_MONOTONIC, s)."""
    told_offset: int = 0
    held: Descriptor | None = None
    """Kept open since something was read of it."""
    read_s: float = 0.0
    """When that was (CLOCK_MONOTONIC, s)."""

    @property
    def position(self) -> Position:
        """Where reading goes on after a restart."""
        return Position(self.name, *self.key, self.offset, self.line, self.tail_crc)

    def continues(self, fd: int, size: int) -> bool:
        """Whether an open file has before the position what was read there."""
        if size < self.offset:
            return False
        return tail_crc(fd, self.offset) == self.tail_crc

    def to_tell(self, rows_count: int) -> bool:
        """Whether the position is to be remembered after so many rows."""
        moved_bytes = self.offset - self.told_offset
        cut = self.told_offset < 0 or self.copy_of is not None
        if not moved_bytes or not (rows_count or cut or moved_bytes >= TOLD_EVERY_BYTES):
            return False
        self.told_offset = self.offset
        return True

    def restart(self, offset: int = 0) -> None:
        """Read it from there as a new file."""
        self.offset, self.line, self.tail_crc = offset, 0, 0
        self.copy_of, self.told_offset = None, -1


class FollowedLogs:
    """Some files, and all files in some folders."""

    def __init__(self, paths: Sequence[str], layout: Layout | None = None) -> None:
        self.paths = [Path(path) for path in paths]
        self.files: dict[Key, Followed] = {}
        self._layout = layout
        self._folders: dict[str, Folder] = {}
        self._held: dict[Key, Followed] = {}
        """Those kept open, the one read longest ago first."""

    def poll(self) -> Iterator[tuple[Followed, list[bytes]]]:
        """Yield files with what came since the last call: lines, each with its end.

        What ends in a carriage return is part of a line, of which more will come.
        """
        here = dict(self._find())
        if here:
            self._load()
        for key in [key for key, file in self._held.items() if self.files.get(key) is not file]:
            self._held.pop(key).held = None  # given up, or known under another number now
        for key, path in here.items():
            if file := self.files.get(key):
                file.path, file.moved_s = path, None
        for file in self._moved(here):
            yield from self._read(file)
        for key in [key for key in here if key in self.files]:
            yield from self._read(self.files[key])
        for key, path in here.items():
            if key not in self.files:
                self.files[key] = self._new(key, path)
                yield from self._read(self.files[key])

    def _find(self) -> Iterator[tuple[Key, str]]:
        for path in self.paths:
            if path.is_dir():
                folder = self._folders.setdefault(str(path), Folder(str(path)))
                yield from folder.files()
            elif found := regular(str(path)):
                yield found

    def _load(self) -> None:
        """Take over what an earlier process remembered of these files."""
        if self._layout is None:
            return
        for position in load(self._layout):
            if any(Path(position.path).is_relative_to(path) for path in self.paths):
                key = (position.device, position.inode)
                self.files[key] = Followed(
                    position.path, position.path, key, position.offset, position.line,
                    position.tail_crc, told_offset=position.offset,
                )  # fmt: skip
        self._layout = None

    def _moved(self, here: dict[Key, str]) -> list[Followed]:
        """Files that are not where they were, and can still be found beside that place."""
        now_s = time.monotonic()
        gone = [file for key, file in self.files.items() if key not in here]
        beside = {folder: inodes(folder) for folder in {os.path.dirname(f.path) for f in gone}}
        found = []
        for file in gone:
            file.moved_s = now_s if file.moved_s is None else file.moved_s
            path = beside[os.path.dirname(file.path)].get(file.key)
            if path is not None:
                file.path = path
            if path is not None or file.held is not None:
                found.append(file)
            if now_s - file.moved_s > MOVED_FOR_S:
                del self.files[file.key]
        return found

    def _new(self, key: Key, path: str) -> Followed:
        """A file that is seen for the first time, unless it was known before."""
        fd = opened(path)
        try:
            size = os.fstat(fd).st_size if fd >= 0 else 0
            for known in list(self.files.values()):
                # The device number of a network file system may be another one after a boot.
                if known.key[1] == key[1] and known.name == path and known.continues(fd, size):
                    del self.files[known.key]
                    known.key, known.moved_s = key, None
                    return known
            for known in self.files.values():
                if size and named_after(path, known.path) and equal_end(fd, size, known.path):
                    return Followed(path, path, key, copy_of=known.key)
            return Followed(path, path, key)
        finally:
            if fd >= 0:
                os.close(fd)

    def _read(self, file: Followed) -> Iterator[tuple[Followed, list[bytes]]]:
        descriptor = file.held or Descriptor(opened(file.path))
        fd = descriptor.fd
        try:
            now = os.fstat(fd)
        except OSError:  # not there, or of a network file system that lost it
            file.held = None
            return
        if (now.st_dev, now.st_ino) != file.key:
            file.held = None
            return
        if (now.st_size, now.st_mtime_ns) == file.seen:
            if time.monotonic() - file.read_s > HELD_FOR_S:
                file.held = None
            return
        self._hold(file, descriptor)
        if file.copy_of is not None and self._is_copy(file, fd, now):
            yield file, []
            return
        if not file.continues(fd, now.st_size):
            yield from self._copy(file)
            file.restart(first_data(fd))
        yield file, self._lines(file, fd, now)

    def _hold(self, file: Followed, descriptor: Descriptor) -> None:
        file.held, file.read_s = descriptor, time.monotonic()
        self._held.pop(file.key, None)
        self._held[file.key] = file
        while len(self._held) > HELD_MAX:
            self._held.pop(next(iter(self._held))).held = None

    @staticmethod
    def _lines(file: Followed, fd: int, now: os.stat_result) -> list[bytes]:
        data = os.pread(fd, READ_MAX_BYTES, file.offset)
        # A progress bar ends none of its lines: what a carriage return ends is read as well.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
        lines = data[:end].splitlines(keepends=True)
        # What is no line yet is read again, but not without end.
        file.offset += len(data) if len(data) - end > LINE_MAX_BYTES else end
        file.tail_crc = tail_crc(fd, file.offset)
        file.fresh = file.fresh or file.seen is not None
        at_end = len(data) < READ_MAX_BYTES
        file.seen = (now.st_size, now.st_mtime_ns) if at_end else None
        if lines and file.moved_s is not None:
            file.moved_s = time.monotonic()
        return lines

    def _is_copy(self, file: Followed, fd: int, now: os.stat_result) -> bool:
        """Whether it still has nothing but what another file has; then it is read to its end."""
        original = self.files.get(file.copy_of) if file.copy_of else None
        if original is None:
            file.copy_of = None
            return False
        if not equal_end(fd, now.st_size, original.path):
            file.restart()
            return False
        file.offset, file.seen = now.st_size, (now.st_size, now.st_mtime_ns)
        file.tail_crc = tail_crc(fd, file.offset)
        return True

    def _copy(self, file: Followed) -> Iterator[tuple[Followed, list[bytes]]]:
        """The rest of a file that was cut, out of the copy that was made of it."""
        for key, path in inodes(os.path.dirname(file.path)).items() if file.offset else ():
            if key == file.key or not named_after(path, file.path):
                continue
            fd = opened(path)
            if fd < 0:
                continue
            try:
                found = file.continues(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)
            if found:
                self.files[key] = Followed(
                    file.name, path, key, file.offset, file.line, file.tail_crc, file.fresh
                )
                yield from self._read(self.files[key])
                return
