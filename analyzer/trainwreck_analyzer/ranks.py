"""Which rank, local rank or host a log line speaks for."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RANK = re.compile(
    r"(?:^|\s|\[)\[?[Rr]ank ?:?(?P<a>\d{1,6})\]"
    r"|^\[default(?P<b>\d{1,4})\]:"
    r"|^\s{0,3}(?P<c>\d{1,5}): "
    r"|\b(?:global_)?[Rr]ank[ =:]{1,2}(?P<d>\d{1,6})\b"
    r"|^\[(?P<e>\d{1,5})\]:? "
    r"|^\[\d{1,5},(?P<f>\d{1,6})\]<std(?:out|err)>",
    re.ASCII,
)
_AT_START = re.compile(
    r"\[default(?P<b>\d{1,4})\]:"
    r"|\s{0,3}(?P<c>\d{1,5}): "
    r"|\[(?P<e>\d{1,5})\]:? "
    r"|\[\d{1,5},(?P<f>\d{1,6})\]<std(?:out|err)>",
    re.ASCII,
)
"""The same for a line that names no rank by this word."""
_EXIT_CODE = re.compile(r"\s{1,8}exitcode {1,8}: ", re.ASCII)
_TABLE_RANK = re.compile(r"\s{1,8}rank {1,8}: (\d{1,6}) \(local_rank: ", re.ASCII)
_PROCESS = re.compile(r"[Rr]ank \d{1,6} (?:\(PID |with PID )(\d{1,10})\b", re.ASCII)
_FILE = re.compile(
    r"(?:rank|worker|task|attempt_\d+/)[-_.]?(?P<rank>\d{1,6})(?:\D|$)", re.IGNORECASE
)


def rank_span(line: str) -> tuple[int, int] | None:
    """Where the rank stands that a line names as its speaker; None where it names none."""
    head = line[:300]
    found = _RANK.search(head) if "ank" in head else _AT_START.match(head)
    return found.span(found.lastgroup or 0) if found else None


def rank(line: str) -> int | None:
    """The rank that a line names as its speaker; None where it names none."""
    span = rank_span(line)
    return int(line[slice(*span)]) if span else None


def rank_of_table(line: str, before: Iterable[str]) -> int | None:
    """The rank of an exit code in torchelastic's table of failures, from the lines above it.

    Source: torch/distributed/elastic/multiprocessing/errors/__init__.py
    """
    if not _EXIT_CODE.match(line):
        return None
    found = next((m for text in before if (m := _TABLE_RANK.match(text))), None)
    return int(found[1]) if found else None


def process_of_rank(line: str) -> str | None:
    """The process id that a launcher (Open MPI, Composer) gives with a rank."""
    found = _PROCESS.search(line) if "ank " in line else None
    return found[1] if found else None


def rank_of_file(name: str) -> int | None:
    """The rank that a file's name tells: ``rank3.log``, ``worker_12.out``, ``0/stderr.log``."""
    found = _FILE.search(name)
    if found:
        return int(found["rank"])
    parts = name.split("/")
    if len(parts) > 1 and parts[-1] in ("stderr.log", "stdout.log") and parts[-2].isdecimal():
        return int(parts[-2])
    return None
