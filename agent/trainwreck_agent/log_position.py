"""How far each followed log was read, so that a restart neither repeats nor skips its lines.

A position is a line of the journal, written with the rows it stands behind: both are on disk, or
neither. It is in no view; before a journal is emptied the sealer carries its positions over into
``state/training_log.positions``, which has the same lines.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainwreck_agent.collector import Row
from trainwreck_agent.journal import END_MARK, encode, unescape
from trainwreck_agent.layout import Layout
from trainwreck_agent.schema import Table, gauge, label

TAIL_BYTES = 256
KEPT_MAX = 4096

_TABLE = Table(
    "training_log_position",
    "How far a followed log was read.",
    (
        label("path", "Name under which its rows are recorded."),
        label("device", "st_dev.", "BIGINT"),
        label("inode", "st_ino.", "BIGINT"),
        gauge("offset", "Where its first line begins that was not read yet, bytes."),
        gauge("line", "Lines before that."),
        gauge("tail_crc", f"CRC-32 of the last {TAIL_BYTES} bytes before that, or of all."),
    ),
)
_MARK = f"{_TABLE.name}\t".encode()


@dataclass(frozen=True, slots=True)
class Position:
    """How far one file was read; the checksum tells whether it is the same file still."""

    path: str
    device: int
    inode: int
    offset: int
    line: int
    tail_crc: int

    def row(self) -> Row:
        """The row that remembers it."""
        values = (self.path, self.device, self.inode, self.offset, self.line, self.tail_crc)
        return Row(_TABLE, values)


def crc(tail: bytes) -> int:
    """Checksum of the bytes before a position."""
    return zlib.crc32(tail[-TAIL_BYTES:])


def parse(line: bytes) -> Position | None:
    """The position in a line of a journal; None for any other line, and a torn one."""
    if not line.startswith(_MARK) or not line.endswith(f"\t{END_MARK}\n".encode()):
        return None
    cells = line.decode("utf-8", "replace").split("\t")
    if len(cells) != len(_TABLE.columns) + 3:
        return None
    numbers = cells[3:-1]
    if not all(n.isascii() and n.isdigit() and len(n) <= 20 for n in numbers):
        return None
    return Position(unescape(cells[2]), *map(int, numbers))


def load(layout: Layout) -> list[Position]:
    """Every file's last position that is on disk, the one told last at the end."""
    journals = (layout.journal_path(number) for number in layout.journals())
    return _last([_kept(layout), *journals])


def carry_over(layout: Layout, numbers: Iterable[int]) -> None:
    """Save the positions in some journals from the end of these journals."""
    kept = _kept(layout)
    before = _last([kept])
    after = _last([kept, *(layout.journal_path(number) for number in numbers)])[-KEPT_MAX:]
    if after != before:
        layout.replace(kept, "".join(encode(position.row(), 0) for position in after))


def _kept(layout: Layout) -> Path:
    return layout.state / "training_log.positions"


def _last(files: Iterable[Path]) -> list[Position]:
    found: dict[tuple[str, int, int], Position] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                positions = [position for line in file if (position := parse(line))]
        except OSError:
            continue
        for position in positions:
            key = (position.path, position.device, position.inode)
            found.pop(key, None)  # so that the newest stands last
            found[key] = position
    return list(found.values())
