"""What goes over the pipe: one message a line.

A child may die in the middle of a line, and whatever then comes is read from the next line feed
on; what does not parse is counted, never guessed at. Nothing that is read is executed (no pickle).
The rows of a tick, which are nearly all that is said, are text as the journal has it, with a record
separator (^^), which no cell can hold, between two; all else is a JSON array.

    =ts_us^^gpu<TAB>cells as in the journal, a tab between two^^…^^$
    ["devices", [[index, uuid, serial, pci, name], …]]
    ["end", "absent", "why the child ends"]
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainwreck_agent.collector import Value
from trainwreck_agent.journal import END_MARK, fields
from trainwreck_agent.schema import Table
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.gpu import (
    GPU,
    GPU_BURST,
    GPU_ECC,
    GPU_EVENT,
    GPU_INVENTORY,
    GPU_PROCESS,
    NVLINK,
)

TABS: dict[str, int] = {
    table.name: len(table.columns) - 1
    for table in (
        GPU,
        GPU_PROCESS,
        GPU_ECC,
        GPU_INVENTORY,
        GPU_EVENT,
        GPU_BURST,
        NVLINK,
        COLLECTOR_HEALTH,
    )
}
LINE_MAX_BYTES = 4 << 20
"""A line that is longer is no line of ours: it is dropped up to its line feed."""

_BETWEEN = "\x1e"
_INT64_MAX = (1 << 63) - 1
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode
_decode = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class Device:
    """Identity of a GPU, as the child found it."""

    index: int
    uuid: str | None
    serial: str | None
    pci: str | None
    name: str | None

    @property
    def title(self) -> str:
        """What a person needs to find it."""
        words = [word for word in (self.uuid, self.pci) if word]
        return f"GPU {self.index}" + (f" ({', '.join(words)})" if words else "")


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices that the driver shows now."""

    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The child ends by itself, and why."""

    status: str
    detail: str


Message = list[str] | Devices | End
"""Lines of the journal, or something about the session."""
Cells = tuple[Table, list[Value] | str]
"""A row, or one as it stands in the journal already."""


def rows(ts_us: int, cells: list[Cells]) -> bytes:
    """The line for rows read at ``ts_us`` (µs UTC)."""
    texts = [
        f"{table.name}\t{values if isinstance(values, str) else fields(values)}"
        for table, values in cells
    ]
    return _BETWEEN.join([f"={ts_us}", *texts, f"{END_MARK}\n"]).encode("utf-8", "replace")


def devices(found: list[Device]) -> bytes:
    """The line for the devices that are there now."""
    return _line(["devices", [[d.index, d.uuid, d.serial, d.pci, d.name] for d in found]])


def end(status: str, detail: str) -> bytes:
    """The line with which a child ends."""
    return _line(["end", status, detail])


def _line(message: list[object]) -> bytes:
    return _encode(message).encode("ascii") + b"\n"


class Decoder:
    """Takes bytes as they come and gives whole messages."""

    __slots__ = ("_lost_in_line", "_parts", "_size", "bad_lines")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._lost_in_line = False
        self.bad_lines = 0

    @property
    def torn(self) -> bool:
        """Whether a begun line waits for its end."""
        return bool(self._parts) or self._lost_in_line

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes."""
        *whole, last = data.split(b"\n")
        found: list[Message] = []
        for line in whole:
            self._append(line)
            if self._lost_in_line or (message := parse(b"".join(self._parts))) is None:
                self.bad_lines += 1
            else:
                found.append(message)
            self._parts, self._size, self._lost_in_line = [], 0, False
        self._append(last)
        return found

    def _append(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > LINE_MAX_BYTES:
            self._parts, self._lost_in_line = [], True
        elif part:
            self._parts.append(part)


def parse(line: bytes) -> Message | None:
    """The message in one line; None where it is none of ours."""
    try:
        if line[:1] == b"=":
            return _rows(line.decode("utf-8"))
        found = _decode(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    match found:
        case ["devices", list(items)]:
            return _devices(items)
        case ["end", str(status), str(detail)]:
            return End(status, detail)
    return None


def _rows(text: str) -> list[str] | None:
    head, *items = text.split(_BETWEEN)
    ts_us = head[1:]
    if not items or items.pop() != END_MARK or not ts_us.isdecimal() or not ts_us.isascii():
        return None
    if len(ts_us) > 19 or int(ts_us) > _INT64_MAX:
        return None
    found: list[str] = []
    for item in items:
        name, _, cells = item.partition("\t")
        if cells.count("\t") != TABS.get(name):
            return None
        found.append(f"{name}\t{ts_us}\t{cells}\t{END_MARK}\n")
    return found


def _devices(items: list[object]) -> Devices | None:
    found: list[Device] = []
    for item in items:
        match item:
            case [
                int(index),
                str() | None as uuid,
                str() | None as serial,
                str() | None as pci,
                str() | None as name,
            ]:
                found.append(Device(index, uuid, serial, pci, name))
            case _:
                return None
    return Devices(tuple(found))
