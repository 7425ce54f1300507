r"""Journal entries of which each field has a line of its own.

::

    __REALTIME_TIMESTAMP=1795507200123456         journalctl -o export: a blank line ends an entry
    _HOSTNAME=gpu07
    MESSAGE=text

    Tue 2026-11-24 08:00:00.123456 UTC [s=…]      journalctl -o verbose: a line like this begins one
        _HOSTNAME=gpu07
        MESSAGE=text

    {                                             journalctl -o json-pretty
            "_HOSTNAME" : "gpu07",
            "MESSAGE" : "text"
    }

A field whose value is no plain text is its name in ``export``, and on the next line eight bytes of
length and the value. Source: https://systemd.io/JOURNAL_EXPORT_FORMATS/
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from trainwreck_analyzer import source
from trainwreck_analyzer.kernel.journal_entry import of_fields
from trainwreck_analyzer.kernel.moment import ISO, iso_time
from trainwreck_analyzer.kernel.parts import LINE_LIMIT, Split

LONGEST_RECORD_LINES = 120
"""So far before and after a line its entry is looked for."""
_SAMPLE_BYTES = 20_000
_RECORD = re.compile(
    r'^[ \t]{0,8}"?_(?:_REALTIME_TIMESTAMP|TRANSPORT|BOOT_ID)(?:=|" : ")', re.ASCII | re.MULTILINE
)
_FIELD = re.compile(rb"[ \t]{0,8}([A-Z_][A-Z0-9_]{0,63})=(.*)", re.DOTALL)
_PRETTY = re.compile(rb'[ \t]{1,8}"([A-Z_][A-Z0-9_]{0,63})" : (.{1,4096}?),?[ \t]*', re.DOTALL)
_HEADER = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?=\d{4}-\d\d-\d\d )")
_BOUNDS = (b"", b"{", b"}", b"},", b"[", b"]")
_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_BINARY = re.compile(rb".{0,2}\x00{6}", re.DOTALL)
"""The length of a value below 64 KiB; the reader may have cut it at a byte that is a line end."""


def are_records(sample: str) -> bool:
    """Whether a text's beginning is of such entries."""
    return _RECORD.search(sample[:_SAMPLE_BYTES]) is not None


def journal_record(lines: Sequence[bytes], index: int) -> Split | None:
    """The entry around a line; without text where the line is not its message.

    None where the lines around hold no entry.
    """
    first, fields = index, dict[str, object]()
    while first > max(0, index - LONGEST_RECORD_LINES) and not _begins(lines, first):
        first -= 1
    header = lines[first] if _HEADER.match(lines[first]) else None
    message = _field(lines, index)
    for place in range(first, min(len(lines), index + LONGEST_RECORD_LINES)):
        if place > index and (lines[place].strip() in _BOUNDS or _HEADER.match(lines[place])):
            break
        named = _field(lines, place)
        if named is not None:
            fields.setdefault(*named)
    if not fields:
        return None
    if message is None or message[0] != "MESSAGE":
        fields["MESSAGE"] = ""
    dated = ISO.match(source.text(header[:200]), 4) if header is not None else None
    time = iso_time(dated, UTC) if dated else None
    parts = of_fields(fields, time=time)
    local = dated is not None and dated[8] is None and parts is not None and parts.time is time
    return replace(parts, zoned=False) if parts is not None and local else parts


def value(line: bytes) -> bytes:
    """A line of ``export`` without the length that stands before a binary value."""
    found = _BINARY.match(line)
    return line[found.end() :] if found else line


def _begins(lines: Sequence[bytes], index: int) -> bool:
    return lines[index - 1].strip() in _BOUNDS or _HEADER.match(lines[index]) is not None


def _field(lines: Sequence[bytes], index: int) -> tuple[str, object] | None:
    """Name and value of the field that ends on a line."""
    line = lines[index][: 2 * LINE_LIMIT]
    found = _FIELD.fullmatch(line)
    if found:
        return found[1].decode("ascii"), source.text(found[2])
    found = _PRETTY.fullmatch(line)
    if found:
        try:
            return found[1].decode("ascii"), json.loads(found[2])
        except (ValueError, RecursionError):
            return None
    named = index > 0 and _NAME.fullmatch(lines[index - 1])
    if named and value(line) is not line:
        return lines[index - 1].decode("ascii"), source.text(value(line))
    return None
