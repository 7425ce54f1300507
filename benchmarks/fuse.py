"""A file system with one file, served by this program: it does what no real one does on request.

Linux, root. The protocol is spoken directly: a server is a loop over requests read from /dev/fuse.
Source: https://github.com/libfuse/libfuse/blob/master/include/fuse_kernel.h
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
from pathlib import Path

NAME = "disk"
ROOT, FILE = 1, 2
WRITE_MAX = 1 << 20
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 1, 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR = 18, 20, 25, 26, 27, 28, 29
_INTERRUPT, _DESTROY, _BATCH_FORGET = 36, 38, 42
_DIRECT_IO = 1
_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_IO = struct.Struct("<QQII")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")


class Files:
    """A folder with one file. A subclass is the file's content, and may take its time."""

    size = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / NAME
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = (
            f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={WRITE_MAX}"
        )
        subprocess.run(
            ["mount", "-i", "-t", "fuse", "-o", options, "trainwreck-test", str(folder)],
            check=True, pass_fds=[self._fd],
        )  # fmt: skip

    def fileno(self) -> int:
        """The descriptor that requests come from."""
        return self._fd

    def read(self, offset: int, size: int) -> bytes:
        """What stands there in the file."""
        return b""

    def write(self, offset: int, data: bytes) -> None:
        """Called for each write to the file."""

    def flush(self) -> None:
        """What was written must survive when this returns."""

    def statfs(self) -> bytes:
        """How full it is; not called for the file's own content."""
        return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1000, 500, 4096, 255, 4096, 0)

    def serve(self) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(self._fd, WRITE_MAX + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                continue  # ENOENT: the request was interrupted before it was read
            self.answer(request)

    def answer(self, request: bytes) -> None:
        """Answer one request."""
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT, _DESTROY):
            return
        try:
            body, error = self._do(opcode, node, request[_IN.size :]), 0
        except OSError as told:
            body, error = b"", -(told.errno or errno.EIO)
        try:
            os.write(self._fd, _OUT.pack(_OUT.size + len(body), error, unique) + body)
        except OSError as told:
            if told.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def _do(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == _INIT:
            major, minor, read_ahead, _ = struct.unpack_from("<4I", body)
            flags = 1 << 5 | 1 << 22  # writes larger than a page, up to max_pages
            limits = (16, 12, WRITE_MAX, 1, WRITE_MAX >> 12, 0)
            return struct.pack("<4I2H2I2H32x", major, min(minor, 31), read_ahead, flags, *limits)
        if opcode == _LOOKUP:
            if body.rstrip(b"\0") != NAME.encode():
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<4Q2I", FILE, 0, 60, 60, 0, 0) + self._attributes(FILE)
        if opcode in (_GETATTR, _SETATTR):
            return struct.pack("<Q2I", 60, 0, 0) + self._attributes(node)
        if opcode in (_OPEN, _OPENDIR):
            return struct.pack("<Q2I", 0, _DIRECT_IO if node == FILE else 0, 0)
        if opcode in (_READ, _WRITE):
            _, offset, size, _ = _IO.unpack_from(body)
            if opcode == _READ:
                return self.read(offset, size)
            self.write(offset, body[40 : 40 + size])
            return struct.pack("<2I", size, 0)
        if opcode == _STATFS:
            return self.statfs()
        if opcode in (_FSYNC, _FLUSH):
            if opcode == _FSYNC:
                self.flush()
            return b""
        if opcode in (_RELEASE, _RELEASEDIR, _READDIR):
            return b""
        raise OSError(errno.ENOSYS, "not served")

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFREG | 0o600 if node == FILE else stat.S_IFDIR | 0o755
        size = self.size if node == FILE else 0
        return _ATTR.pack(node, size, size >> 9, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def unmount(self) -> None:
        """Take the folder back, whoever still uses it; requests that wait fail."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        os.close(self._fd)
