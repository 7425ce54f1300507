"""Reads this machine, or a recorded one, below a root folder.

Files that are read every tick stay open: one ``pread`` on a kept descriptor costs 2-10 µs, an
open-read-close three times that.
"""

from __future__ import annotations

import os

_CHUNK_BYTES = 65536


class Unavailable(Exception):
    """A source is not there, and why. Recorded once in ``collector_health``, never retried fast.

    ``status`` is ``absent`` (no such hardware or kernel feature) or ``denied`` (no permission).
    """

    def __init__(self, detail: str, status: str = "absent", retry_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.retry_s = retry_s
        """When to look again; None: as late as for hardware."""


class OpenFile:
    """A kernel file kept open and read from its start each time."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """The whole content now.

        Raises:
            OSError: The file went away (ENODEV, ESRCH) or its driver failed (EIO).
        """
        data = os.pread(self.fd, _CHUNK_BYTES, 0)
        # A list is handed out in pieces that end where a record ends, however short that makes
        # them: only an empty read is the end.
        while more := os.pread(self.fd, _CHUNK_BYTES, len(data)):
            data += more
        return data

    def read_record(self) -> bytes:
        """The content of a file that the kernel makes in one piece: half the time of ``read``.

        Such are ``/proc/PID/stat`` and ``/proc/loadavg``, and the files of sysfs and cgroups.

        Raises:
            OSError: As ``read``.
        """
        return os.pread(self.fd, _CHUNK_BYTES, 0)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root on, as pathlib has it, which would cost the recorder a megabyte."""
    parts = os.path.join(os.getcwd(), os.fspath(path)).split("/")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


class Host:
    """The machine below ``root``: ``/`` is the real one, another folder a recording of one."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = absolute(root).rstrip("/")

    @property
    def live(self) -> bool:
        """Whether this is the running machine, so that system calls speak of it too."""
        return not self.root

    def path(self, path: str) -> str:
        """Where ``path`` (absolute, as on the real machine) lies below the root."""
        return self.root + path

    def exists(self, path: str) -> bool:
        """Whether the path is there."""
        return os.path.exists(self.path(path))

    def open(self, path: str) -> OpenFile:
        """The file, kept open.

        Raises:
            Unavailable: It is not there, or may not be read by this user.
        """
        try:
            return OpenFile(self.path(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unavailable(f"{path}: not on this machine") from error
        except PermissionError as error:
            raise Unavailable(f"{path}: permission denied; run as root", "denied") from error
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error

    def read(self, path: str, *, record: bool = False) -> bytes | None:
        """Content of a file read now and then; None where it cannot be read.

        ``record``: the kernel makes it in one piece, as ``read_record`` of an open file says.
        """
        try:
            fd = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            parts = []
            while data := os.read(fd, _CHUNK_BYTES):
                parts.append(data)
                if record and len(data) < _CHUNK_BYTES:
                    break
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(fd)

    def text(self, path: str) -> str | None:
        """Stripped content of a small text file; None where it cannot be read."""
        data = self.read(path)
        return None if data is None else data.decode("utf-8", "replace").strip()

    def number(self, path: str) -> int | None:
        """The integer in a small file; None where it is missing, unreadable or no integer."""
        data = self.read(path)
        try:
            return None if data is None else int(data.strip().split(b" ", 1)[0], 0)
        except (ValueError, IndexError):
            return None

    def list(self, path: str) -> list[str]:
        """Sorted names in a folder; empty where it is missing or unreadable."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []
