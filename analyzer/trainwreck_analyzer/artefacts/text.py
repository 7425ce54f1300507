"""Lines of a file, compressed or not, that may be cut off or hold garbage."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from trainwreck_analyzer.errors import unreadable

_LINE_BYTES = 1 << 20
"""A longer line is handed on in pieces."""


def lines_of(path: Path) -> Iterator[str]:
    """The lines without their endings; what follows damage of a compressed file is left out.

    Raises:
        Unreadable: The file cannot be opened.
    """
    with open_bytes(path) as file:
        while True:
            try:
                raw = file.readline(_LINE_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                return
            if not raw:
                return
            yield raw.decode("utf-8", "replace").rstrip("\r\n")


def head(path: Path, size_bytes: int = 65536) -> bytes:
    """The first bytes, unpacked; empty where there is nothing to read."""
    with open_bytes(path) as file:
        try:
            return file.read(size_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""


def open_bytes(path: Path) -> BinaryIO:
    """The file for reading, unpacked if it begins as gzip does.

    Raises:
        Unreadable: It cannot be opened.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")
    except OSError as error:
        raise unreadable(str(path), error) from error
