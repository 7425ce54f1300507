"""What can be asked of a log file without following it: who it is, and what it resembles."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from trainwreck_agent.log_position import TAIL_BYTES, crc

Key = tuple[int, int]
"""Device and inode."""
_ROTATED = re.compile(r"[._~-]")


class Descriptor:
    """An open file, for as long as somebody has this."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def regular(path: Path) -> tuple[Key, str] | None:
    """What a regular file is known by, and its path; None: it is none, or not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return ((found.st_dev, found.st_ino), str(path)) if stat.S_ISREG(found.st_mode) else None


def opened(path: str) -> int:
    """A descriptor; -1 where the file cannot be opened now."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1


def tail_crc(fd: int, offset: int) -> int:
    """Checksum of the bytes of an open file before a position."""
    length = min(offset, TAIL_BYTES)
    return crc(os.pread(fd, length, offset - length))


def inodes(folder: str) -> dict[Key, str]:
    """The regular files of a folder, newest first."""
    try:
        with os.scandir(folder or ".") as entries:
            files = [e for e in entries if e.is_file(follow_symlinks=False)]
            states = [(e.stat(follow_symlinks=False), os.path.join(folder, e.name)) for e in files]
    except OSError:
        return {}
    states.sort(key=lambda state: -state[0].st_mtime_ns)
    return {(found.st_dev, found.st_ino): path for found, path in states}


def named_after(path: str, original: str) -> bool:
    """Whether one is named like a rotated version of the other: train.log.1, train.log-20260101."""
    return path.startswith(original) and bool(_ROTATED.match(path, len(original)))


def equal_end(fd: int, size: int, original: str) -> bool:
    """Whether a file ends with what another one has at that place."""
    other = opened(original)
    if other < 0:
        return False
    try:
        length = min(size, TAIL_BYTES)
        mine = os.pread(fd, length, size - length)
        return bool(mine) and mine == os.pread(other, length, size - length)
    finally:
        os.close(other)


def first_data(fd: int) -> int:
    """Where a file begins that is written on behind a hole, as one that was cut may be."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:
        return 0
