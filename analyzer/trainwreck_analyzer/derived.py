"""What takes a while to work out from shipped files, kept in the user's cache folder.

Nothing is lost where it cannot be kept. Only files of the user himself are trusted, in a folder
that nobody else can write: under ``sudo`` the home may be somebody else's.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_DIGEST_BYTES = 32
_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def place(name: str, key: bytes) -> Path | None:
    """Where what was worked out from ``key`` is kept; None: nowhere."""
    try:
        top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home directory
        return None
    return top / "trainwreck" / f"{name}-{hashlib.sha256(key).hexdigest()[:32]}.bin"


def kept(path: Path | None) -> bytes | None:
    """What was kept; None where there is nothing, or it is damaged or not the user's own."""
    if path is None:
        return None
    try:
        if not (_own(path.parent) and _own(path)):
            return None
        found = path.read_bytes()
    except OSError:
        return None
    digest, body = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
    return body if hashlib.sha256(body).digest() == digest else None


def keep(path: Path | None, body: bytes) -> None:
    """Keep it, in place of what was kept under that name for other keys."""
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(path.parent):
            return
        for old in path.parent.glob(f"{path.name.split('-')[0]}-*.bin"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=path.parent) as beside:
            made = Path(beside) / path.name
            made.write_bytes(hashlib.sha256(body).digest() + body)
            made.chmod(0o600)
            made.replace(path)


def files_key(paths: list[Path]) -> bytes:
    """What changes when one of some files does: names, sizes and times of change."""
    told = [f"{path}\t{(s := path.stat()).st_size}\t{s.st_mtime_ns}" for path in sorted(paths)]
    return "\n".join(told).encode("utf-8", "surrogateescape")


def _own(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & _FOR_OTHERS
