"""One object of ``journalctl -o json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from trainwreck_analyzer.kernel.parts import LINE_LIMIT, Split, inner

_LIMIT = 65536


def journal_entry(line: str) -> Split | None:
    """The entry taken apart; None where the line is something else."""
    line = line[:_LIMIT]
    if '"MESSAGE"' not in line and '"__REALTIME_TIMESTAMP"' not in line:
        return None
    try:
        entry = json.loads(line.strip())
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        # Bytes that are no UTF-8 come as a list of numbers.
        codes = [code for code in message if isinstance(code, int) and 0 <= code < 256]
        message = bytes(codes).decode("utf-8", "replace")
    if not isinstance(message, str):
        return None
    parts = inner(message[:LINE_LIMIT])
    mono_us = _whole(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", entry.get("__MONOTONIC_TIMESTAMP")))
    real_us = _whole(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry.get("__REALTIME_TIMESTAMP")))
    priority = _whole(entry.get("PRIORITY"))
    return Split(
        text=parts.text,
        time=_epoch(real_us),
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


def _epoch(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
