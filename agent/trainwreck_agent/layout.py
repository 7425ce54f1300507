"""Where things lie in a data directory.

::

    trainwreck.duckdb          views over everything below; replaced as a whole, never written to
    meta.json                  schema version and host
    lock                       held by the recorder that writes here; names its pid
    journal/NNNNNNNNNN.tsv     the last minutes, a line a row
    segments/TABLE/A-B.parquet journals A to B, sealed
    sealed/A-B.ACTIVE_US       makes those segments visible (and journals A to B not) from then on;
                               .settled beside it: from now on, whatever the clock does
    incidents/ID.json, .tsv    diagnoses that were made with this data
    incidents/ID.pin           retention keeps what was recorded around that incident
    state/                     the recorder's own notes, among them how far followed logs were read
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import stat
from dataclasses import dataclass, field

from trainwreck_agent.host import absolute
from trainwreck_agent.schema import SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

DATABASE = "trainwreck.duckdb"
_WHOSE = "read it as root or its owner, or have its group"
_MARKER = re.compile(r"([0-9]{10})-([0-9]{10})\.([0-9]{16})(\.settled)?", re.ASCII)
_FOLDERS = ("journal", "segments", "sealed", "incidents", "state")
_JOURNAL = re.compile(r"([0-9]{10})\.tsv", re.ASCII)


class DataDirectoryError(Exception):
    """A data directory that cannot be used: what, where, and what to do, in one line."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Journals ``first`` to ``last``, sealed together, visible from ``active_us`` on."""

    first: int
    last: int
    active_us: int
    settled: bool = field(default=False, compare=False)

    @property
    def stem(self) -> str:
        """The journals in it."""
        return f"{self.first:010d}-{self.last:010d}"

    @property
    def markers(self) -> tuple[str, str]:
        """Names of the files in ``sealed/`` that stand for it: until it is settled, and then."""
        return self.segment, f"{self.segment}.settled"

    @property
    def segment(self) -> str:
        """Name of the span's Parquet files, without the extension."""
        return f"{self.stem}.{self.active_us:016d}"

    def covers(self, other: Span) -> bool:
        """Whether every journal of ``other`` is in this span, and this one is the newer."""
        return (
            self != other
            and self.first <= other.first
            and other.last <= self.last
            and self.active_us > other.active_us
        )


class Layout:
    """The paths of one data directory.

    The recorder asks for them as ``file``: it does without pathlib, which costs a megabyte.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = absolute(root)
        self._lock_fd: int | None = None

    def file(self, *names: str) -> str:
        """The path of something in the directory, as text."""
        return "/".join((self._root.rstrip("/"), *names)) or "/"

    def _path(self, *names: str) -> Path:
        from pathlib import Path

        return Path(self._root, *names)

    @property
    def root(self) -> Path:
        """The directory itself."""
        return self._path()

    @property
    def journal(self) -> Path:
        """Folder of the last minutes."""
        return self._path("journal")

    @property
    def segments(self) -> Path:
        """Folder of what is sealed, a folder a table."""
        return self._path("segments")

    @property
    def sealed(self) -> Path:
        """Folder of the markers."""
        return self._path("sealed")

    @property
    def incidents(self) -> Path:
        """Folder of the diagnoses."""
        return self._path("incidents")

    @property
    def state(self) -> Path:
        """Folder of the recorder's notes."""
        return self._path("state")

    @property
    def database(self) -> Path:
        """The file of the views."""
        return self._path(DATABASE)

    @property
    def prepared(self) -> Path:
        """The note for which views the directory was prepared."""
        return self._path("state", "prepared")

    def create(self) -> None:
        """Make the directory and its folders, readable by owner and group only.

        Raises:
            DataDirectoryError: It cannot be written, or is of another version.
        """
        os.umask(0o027)
        try:
            os.makedirs(self._root, 0o750, exist_ok=True)
            self._refuse_foreign(self._root)
            for name in _FOLDERS:
                os.makedirs(self.file(name), 0o750, exist_ok=True)
                self._refuse_foreign(self.file(name))
            if not os.path.exists(self.file("meta.json")):
                meta = {"schema_version": SCHEMA_VERSION, "host": socket.gethostname()}
                self.replace(self.file("meta.json"), json.dumps(meta) + "\n")
        except OSError as error:
            raise self.not_writable(error) from error
        self.meta()

    def _refuse_foreign(self, folder: str) -> None:
        """Refuse a folder in which another user could lead what is written to any place.

        Raises:
            DataDirectoryError: It belongs to another user, or leads out of the directory.
        """
        is_root = folder == self._root
        found = os.stat(folder) if is_root else os.lstat(folder)
        if not is_root and stat.S_ISLNK(found.st_mode):
            raise DataDirectoryError(
                f"{folder}: a link; in a data directory there are none, remove it"
            )
        if found.st_uid not in (0, os.geteuid()) and found.st_uid != _owner_of_new(folder):
            raise DataDirectoryError(
                f"{folder}: belongs to user {found.st_uid}, who could lead what is written there to"
                f" any place; chown it to user {os.geteuid()}, or choose another one with --data"
            )
        if found.st_mode & 0o002 and found.st_uid == os.geteuid():
            os.chmod(folder, stat.S_IMODE(found.st_mode) & ~0o002)

    def not_writable(self, error: OSError) -> DataDirectoryError:
        """What to tell where the directory cannot be written."""
        return DataDirectoryError(
            f"{self._root}: cannot write the data directory ({error.strerror});"
            " choose another one with --data"
        )

    def meta(self) -> dict[str, Any]:
        """What ``meta.json`` says, checked.

        Raises:
            DataDirectoryError: Not a data directory, or one of another version.
        """
        path = self.file("meta.json")
        try:
            with open(path) as file:
                meta = json.load(file)
            version = int(meta["schema_version"])
            str(meta["host"])
        except FileNotFoundError as error:
            if not os.path.isdir(self._root):
                raise DataDirectoryError(
                    f"{self._root}: nothing is recorded there (no such folder); `trainwreck record`"
                    " records, `trainwreck diagnose LOG` reads logs alone, `trainwreck demo` shows"
                    " both"
                ) from error
            raise DataDirectoryError(
                f"{self._root}: not a data directory of trainwreck (no meta.json);"
                " record into it with `trainwreck record --data`, or name another one"
            ) from error
        except OSError as error:
            raise DataDirectoryError(f"{path}: {error.strerror}; {_WHOSE}") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DataDirectoryError(
                f"{path}: damaged ({error}); restore it, or move the directory away"
            ) from error
        if version != SCHEMA_VERSION:
            raise DataDirectoryError(
                f"{self._root}: written by schema version {version}, this is version"
                f" {SCHEMA_VERSION}; read it with the trainwreck that wrote it, record elsewhere"
            )
        return dict(meta)

    def lock(self) -> None:
        """Become the one recorder of this directory until the process ends.

        Raises:
            DataDirectoryError: Another one holds it; its pid is named.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self.file("lock"), flags, 0o640)
        except OSError as error:
            raise self.not_writable(error) from error
        if self._lock_fd is not None:
            if os.path.samestat(os.fstat(fd), os.fstat(self._lock_fd)):
                os.close(fd)
                return  # it is ours already
            os.close(self._lock_fd)
            self._lock_fd = None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DataDirectoryError(
                f"{self._root}: the recorder with pid {holder} writes here already;"
                " stop it, or choose another directory with --data"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def locked_by(self) -> int | None:
        """Pid of the recorder that writes here now; None: nobody."""
        try:
            fd = os.open(self.file("lock"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(os.pread(fd, 32, 0).strip() or b"0") or None
        finally:
            os.close(fd)
        return None

    def journal_path(self, number: int) -> Path:
        """Path of a journal."""
        return self._path("journal", f"{number:010d}.tsv")

    def journal_file(self, number: int) -> str:
        """The same as text."""
        return self.file("journal", f"{number:010d}.tsv")

    def journals(self) -> list[int]:
        """Numbers of the journals that are there, oldest first."""
        names = map(_JOURNAL.fullmatch, os.listdir(self.file("journal")))
        return sorted(int(name[1]) for name in names if name)

    def spans(self) -> list[Span]:
        """The sealed spans, in order; superseded ones too."""
        found: dict[Span, Span] = {}
        for name in os.listdir(self.file("sealed")):
            if match := _MARKER.fullmatch(name):
                span = Span(int(match[1]), int(match[2]), int(match[3]), match[4] is not None)
                if span.settled or span not in found:
                    found[span] = span
        return sorted(found.values())

    def next_number(self) -> int:
        """The first journal number that was never used."""
        used = [0, *self.journals(), *(span.last for span in self.spans())]
        return max(used) + 1

    def segment_path(self, table: str, span: Span) -> Path:
        """Path of a sealed segment."""
        return self.segments / table / f"{span.segment}.parquet"

    @staticmethod
    def sync_folder(folder: str | os.PathLike[str]) -> None:
        """Make names created or removed in a folder survive a power cut."""
        _sync(folder, os.O_DIRECTORY)

    @staticmethod
    def sync_file(path: str | os.PathLike[str]) -> None:
        """Make what a file holds survive a power cut; XFS keeps a name without it."""
        _sync(path)

    @staticmethod
    def replace(path: str | os.PathLike[str], content: str) -> None:
        """Put a small file in place as a whole."""
        folder, name = os.path.split(os.fspath(path))
        beside = os.path.join(folder, f".{name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # of a killed process that had this pid
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(beside, flags, 0o666), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


def _owner_of_new(folder: str) -> int:
    """Whose a new file there is: a server of files may give root's to somebody else."""
    path = os.path.join(folder, f".owner.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        return os.fstat(fd).st_uid
    finally:
        os.close(fd)
        os.unlink(path)


def default_data() -> str:
    """``TRAINWRECK_DATA``, else ``/var/lib/trainwreck`` for root, else the user's state folder.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if chosen := os.environ.get("TRAINWRECK_DATA"):
        return chosen
    if os.geteuid() == 0:
        return "/var/lib/trainwreck"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "trainwreck")


def default_data_directory() -> Path:
    """The same as a path."""
    from pathlib import Path

    return Path(default_data())


def _sync(path: str | os.PathLike[str], flags: int = 0) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
