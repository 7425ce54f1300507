"""A log file of any size, by line: an index of line starts, text on demand, lines by their time."""

from __future__ import annotations

import os
import tempfile
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from trainwreck_analyzer.clock import Clock

PACKED = (".gz", ".zst", ".xz", ".bz2")
BLOCK_BYTES = 1 << 20
LINE_MAX_BYTES = 4000
TIME_PROBES = 60
"""Lines looked at for a time before a place in the file is given up."""


class LogFile:
    """Lines of a file, numbered from 1. Reading it all once is needed for the index."""

    def __init__(self, path: Path) -> None:
        """Index the file.

        Raises:
            OSError: It cannot be read.
        """
        self.path = path
        self._file = _plain(path)
        self._starts = array("q", [0])
        self._index()
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        self._clock = Clock(reference)

    def _index(self) -> None:
        offset = 0
        while block := self._file.read(BLOCK_BYTES):
            at = block.find(b"\n")
            while at >= 0:
                self._starts.append(offset + at + 1)
                at = block.find(b"\n", at + 1)
            offset += len(block)
        if self._starts[-1] != offset:
            self._starts.append(offset)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def line(self, number: int) -> str:
        """Text of a line, shortened to ``LINE_MAX_BYTES``; '' beyond the end."""
        if not 1 <= number <= len(self):
            return ""
        start, end = self._starts[number - 1], self._starts[number]
        size = min(end - start, LINE_MAX_BYTES)
        raw = os.pread(self._file.fileno(), size, start)
        return raw.decode("utf-8", "replace").rstrip("\r\n")

    def time(self, number: int) -> datetime | None:
        """Time of a line, or of the nearest one behind it that has one."""
        for candidate in range(number, min(number + TIME_PROBES, len(self) + 1)):
            if (found := self._clock.time(self.line(candidate))) is not None:
                return found
        return None

    def at(self, time: datetime) -> int | None:
        """Number of the first line at or after a time; None where lines carry no time."""
        low, high, known = 1, len(self), False
        while low < high:
            middle = (low + high) // 2
            found = self.time(middle)
            known = known or found is not None
            if found is not None and found < time:
                low = middle + 1
            else:
                high = middle
        return low if known else None


def _plain(path: Path) -> BinaryIO:
    """The file unpacked and decoded to UTF-8, in a file without a name where that is needed."""
    head = path.open("rb").read(2)
    if path.suffix not in PACKED and head not in (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b"):
        return path.open("rb")
    from trainwreck_analyzer.source import blocks

    made: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
    for block, _ in blocks(path):
        made.write(block)
    made.flush()
    made.seek(0)
    return made
