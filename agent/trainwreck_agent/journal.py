r"""The live journal: one line a row, one write and one ``fdatasync`` a tick.

A line is ``table<TAB>ts_us<TAB>value…<TAB>$``. The closing ``$`` tells a whole line from a torn
one, so that every prefix of the file can be read. NULL is the empty field; in text a backslash is
``\\``, a tab ``\t``, a line feed ``\n``, any other control character ``?``, the empty text ``\z``.
DuckDB reads the file while it is written (``views.py``); no reader of our own is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from trainwreck_agent.collector import Row, Value
from trainwreck_agent.layout import Layout

END_MARK = "$"
_ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n"}
_ESCAPES |= {n: "?" for n in (*range(32), *range(127, 160)) if n not in _ESCAPES}
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"t": "\t", "n": "\n", "z": ""}


def escape(value: str) -> str:
    r"""Text as it stands in a field."""
    if value.isprintable() and "\\" not in value and value:
        return value
    clean = value.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")
    return clean or "\\z"


def unescape(text: str) -> str:
    """The text that was escaped; control characters stay ``?``."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: _PLAIN.get(found[1], found[1]), text)


def field(value: Value) -> str:
    """Any cell as it stands in a line."""
    if value is None:
        return ""
    if type(value) is str:
        return escape(value)
    if value is True:
        return "true"
    if value is False:
        return "false"
    return escape(str(value)) if isinstance(value, str) else repr(value)


def fields(values: Iterable[Value]) -> str:
    """Cells as they stand in a line. Nearly all are numbers and plain words: no call for those."""
    return "\t".join(
        [
            str(v)
            if type(v) is int
            else v
            if type(v) is str and v.isprintable() and "\\" not in v and v
            else field(v)
            for v in values
        ]
    )


def encode(row: Row, tick_us: int) -> str:
    """The line of a row, line feed included.

    Raises:
        ValueError: The row has not as many values as its table has columns.
    """
    table = row.table
    if len(row.values) != len(table.columns):
        raise ValueError(f"{table.name}: {len(row.values)} values for {len(table.columns)} columns")
    ts = tick_us if row.ts_us is None else row.ts_us
    return f"{table.name}\t{ts}\t{fields(row.values)}\t{END_MARK}\n"


def encode_all(rows: Sequence[Row | str], tick_us: int) -> tuple[list[str], list[str]]:
    """The lines of the rows (a line stays as it is), and what was wrong with the rows left out."""
    lines, wrong = [], []
    for row in rows:
        try:
            lines.append(row if isinstance(row, str) else encode(row, tick_us))
        except ValueError as error:
            wrong.append(str(error))
    return lines, wrong


class Journal:
    """Appends to the newest journal file of a data directory; never to an old one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.number = layout.next_number()
        self.size_bytes = 0
        self._torn = False
        self._path = ""
        self._fd = self._create()
        self._is_at = self._place()

    def _create(self) -> int:
        path = self._path = self._layout.journal_file(self.number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, 0o640)
        self._layout.sync_folder(self._layout.file("journal"))
        return fd

    def append(self, lines: list[str]) -> None:
        """Write the lines so that they survive a power cut once this returns.

        Raises:
            OSError: Nothing of the lines is in the file (ENOSPC, EIO, EROFS …); call again with
                them, or count them as lost.
        """
        data = "".join(lines).encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        try:
            self._write_all(data)
            os.fdatasync(self._fd)
        except OSError:
            self._take_back()
            raise
        self.size_bytes += len(data)
        self._torn = False

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _take_back(self) -> None:
        """Cut a half-written batch off; else leave the file; else the next batch ends its line."""
        try:
            os.ftruncate(self._fd, self.size_bytes)
        except OSError:
            self._torn = True
            self.rotate()
            self._torn = False

    def rotate(self) -> int:
        """Start the next file; the number of the one that is finished.

        Raises:
            OSError: The new file cannot be made; the old one stays in use.
        """
        finished, old = self.number, self._fd
        path = self._path
        self.number += 1
        try:
            self._fd = self._create()
        except OSError:
            self.number, self._path = finished, path
            raise
        self._is_at = self._place()
        self.size_bytes = 0
        os.close(old)
        return finished

    def in_place(self) -> bool:
        """Whether the file still lies where it was made."""
        try:
            named = os.stat(self._path)
        except OSError:
            return False
        return (named.st_ino, named.st_dev) == self._is_at

    def _place(self) -> tuple[int, int]:
        held = os.fstat(self._fd)
        return held.st_ino, held.st_dev

    def close(self) -> None:
        """Close the file; it stays as it is."""
        os.close(self._fd)
