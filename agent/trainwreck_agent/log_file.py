"""What can be asked of a log file without following it: who it is, and what it resembles."""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator

from trainwreck_agent.log_position import TAIL_BYTES, crc

Key = tuple[int, int]
"""Device and inode."""
FILES_MAX = 1024
LOOK_SHARE = 0.01
"""Share of a processor's time that looking for new files in a folder may take."""
_ROTATED = re.compile(r"[._~-]")
_NO_LOG = frozenset(
    [
        *(
            ".gz",
            ".xz",
            ".zst",
            ".bz2",
            ".zip",
            ".tar",
        ),  # what rotation makes of a log that was read
        *(".bin", ".ckpt", ".distcp", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth"),
        *(".safetensors", ".arrow", ".parquet", ".idx", ".wandb", ".png", ".jpg", ".pyc", ".so"),
    ]
)
"""Ends of names of what lies beside logs."""


class Descriptor:
    """An open file, for as long as somebody has this."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Folder:
    """The files of a folder that may be logs, those that lie deep last.

    A folder of many files is not looked through each time: the files that are known are.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: list[str] = []
        self._again_s = 0.0

    def files(self) -> Iterator[tuple[Key, str]]:
        """What each is known by, and its path."""
        if time.monotonic() >= self._again_s:
            begun_s = time.thread_time()
            self._known = list(_walk(self._path))
            took_s = time.thread_time() - begun_s
            self._again_s = time.monotonic() + took_s / LOOK_SHARE
        # A link would lead out of the folder, or name a file of it twice.
        states = (regular(path, through_links=False) for path in self._known)
        yield from filter(None, states)


def _walk(folder: str) -> Iterator[str]:
    todo, count = deque([folder]), 0
    while todo and count < FILES_MAX:
        try:
            with os.scandir(todo.popleft()) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        todo += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            if os.path.splitext(entry.name)[1] in _NO_LOG or count >= FILES_MAX:
                continue
            count += 1
            yield entry.path


def regular(path: str, *, through_links: bool = True) -> tuple[Key, str] | None:
    """What a regular file is known by, and its path; None: it is none, or not there."""
    try:
        found = os.stat(path, follow_symlinks=through_links)
    except OSError:
        return None
    return ((found.st_dev, found.st_ino), path) if stat.S_ISREG(found.st_mode) else None


def opened(path: str) -> int:
    """A descriptor of a regular file; -1 where there is none, or it cannot be opened now.

    It is looked at before it is opened: who may write to the folder may put a link to a device
    there meanwhile, and some devices need no more than to be opened, such as /dev/watchdog.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return -1
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    finally:
        os.close(place)


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
