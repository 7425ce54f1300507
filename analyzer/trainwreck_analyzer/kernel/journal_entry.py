"""One entry of the journal: an object of ``journalctl -o json``, ``json-sse`` and ``json-seq``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from trainwreck_analyzer.kernel.parts import LINE_LIMIT, Split, inner

_LIMIT = 65536
OPENINGS = ("{", "\x1e{", "data: {")
LITERALS = ('"MESSAGE":[', '"MESSAGE" : [', '"MESSAGE": [')
"""A message that is no UTF-8 comes as a list of numbers: no other text of it can be looked for."""


def journal_entry(line: str) -> Split | None:
    """The entry taken apart; None where the line is something else."""
    line = line[:_LIMIT]
    if '"MESSAGE"' not in line and '"__REALTIME_TIMESTAMP"' not in line:
        return None
    try:
        entry = json.loads(line[line.index("{") :].strip())
    except (ValueError, RecursionError):
        return None
    return of_fields(entry) if isinstance(entry, dict) else None


def message(line: str) -> str:
    """The message of an entry, for people; any other line as it is."""
    parts = journal_entry(line) if line.startswith(OPENINGS) else None
    return parts.text if parts is not None else line.removeprefix("MESSAGE=")


def of_fields(entry: Mapping[str, object], *, time: datetime | None = None) -> Split | None:
    """What the fields of an entry say; None where it has no message.

    ``time`` is that of an entry which has no field for it.
    """
    message = entry.get("MESSAGE", 0)
    if isinstance(message, list):
        # Bytes that are no UTF-8 come as a list of numbers.
        codes = [code for code in message if isinstance(code, int) and 0 <= code < 256]
        message = bytes(codes).decode("utf-8", "replace")
    if message is None:
        message = ""  # too long to be shown without --all: its time counts all the same
    if not isinstance(message, str):
        return None
    parts = inner(message[:LINE_LIMIT])
    mono_us = _whole(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", entry.get("__MONOTONIC_TIMESTAMP")))
    real_us = _whole(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry.get("__REALTIME_TIMESTAMP")))
    priority = _whole(entry.get("PRIORITY"))
    return Split(
        text=parts.text,
        time=moment_of(real_us) or time,
        monotonic_s=mono_us / 1e6 if mono_us is not None else parts.monotonic_s,
        host=_text(entry.get("_HOSTNAME")),
        program="kernel"
        if entry.get("_TRANSPORT") == "kernel"
        else _text(entry.get("SYSLOG_IDENTIFIER")),
        priority=priority if priority is not None and priority < 8 else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def moment_of(microseconds: int | str | None) -> datetime | None:
    """Microseconds since 1970 as a time; None where no calendar reaches it."""
    if microseconds is None:
        return None
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(microseconds))
    except OverflowError:
        return None
