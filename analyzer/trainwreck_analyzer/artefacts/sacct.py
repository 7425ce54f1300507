"""Reads what Slurm's accounting says of a job: ``sacct`` as a table or with ``--parsable``.

Source: https://slurm.schedmd.com/sacct.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from trainwreck_analyzer.artefacts.text import lines_of
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.verdict import Component

KINDS = {
    "OUT_OF_MEMORY": "slurm_out_of_memory",
    "TIMEOUT": "slurm_timeout",
    "DEADLINE": "slurm_timeout",
    "NODE_FAIL": "slurm_node_fail",
    "BOOT_FAIL": "slurm_node_fail",
    "PREEMPTED": "slurm_preempted",
    "REQUEUED": "slurm_preempted",
    "REVOKED": "slurm_preempted",
    "CANCELLED": "slurm_cancelled",
    "FAILED": "slurm_failed",
}
_SHORT = {
    "OUT_OF_ME": "OUT_OF_MEMORY", "NODE_FAI": "NODE_FAIL", "PREEMPTE": "PREEMPTED",
    "CANCELLE": "CANCELLED", "BOOT_FAI": "BOOT_FAIL",
}  # fmt: skip
"""How a table of fixed width cuts the states; a ``+`` follows."""
_DASHES = re.compile(r"[- ]{3,4000}$", re.ASCII)
_SIGNAL = re.compile(r"(\d{1,3}):(\d{1,3})$", re.ASCII)


def read(path: Path, zone: tzinfo = UTC) -> list[Fact]:
    """The facts of one file. Slurm prints local times without a zone: ``zone`` says which.

    Raises:
        Unreadable: It cannot be opened.
    """
    return list(facts(lines_of(path), str(path), zone))


def facts(lines: Iterable[str], source: str, zone: tzinfo = UTC) -> Iterator[Fact]:
    """One fact for each job or step that did not complete."""
    for number, raw, row in rows(lines):
        state = row.get("State", "").strip()
        word = state.split(" ", 1)[0]
        word = _SHORT.get(word.removesuffix("+"), word.removesuffix("+"))
        kind = KINDS.get(word)
        if kind is None:
            continue
        fields = {"job": row.get("JobID", ""), "state": state}
        for column in ("JobName", "NodeList", "ExitCode", "DerivedExitCode", "Reason", "Elapsed",
                       "Timelimit", "MaxRSS", "ReqMem"):  # fmt: skip
            if row.get(column):
                fields[column.lower()] = row[column]
        if (match := _SIGNAL.match(row.get("ExitCode", ""))) and match[2] != "0":
            fields["signal"] = match[2]
        yield Fact(
            kind=kind,
            text=raw,
            evidence="log",
            source=source,
            line=number,
            order=number,
            time=_time(row.get("End"), zone),
            component=Component(host=_one_host(row.get("NodeList"))),
            fields=fields,
            zoned=_names_zone(row.get("End", "")),
        )


def rows(lines: Iterable[str]) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Line number, line and cells by column, of a table or of parsable output."""
    header: list[str] = []
    spans: list[tuple[int, int]] = []
    before = ""
    for number, raw in enumerate(lines, 1):
        line = raw[:4000]
        if not header and "|" in line and "JobID" in line.split("|"):
            header = line.rstrip("|").split("|")
        elif not spans and "JobID" in before and line.startswith("---") and _DASHES.match(line):
            spans = [m.span() for m in re.finditer(r"-+", line)]
            header = [before[a:b].strip() for a, b in spans]
        elif spans:
            yield (
                number,
                raw,
                {name: line[a:b].strip() for name, (a, b) in zip(header, spans, strict=True)},
            )
        elif header:
            yield number, raw, dict(zip(header, line.split("|"), strict=False))
        before = line


def looks_like(text: str) -> bool:
    """Whether a text begins as sacct's output does."""
    for line in text.splitlines()[:3]:
        if "JobID" in line and ("State" in line or "ExitCode" in line):
            return True
    return False


def _time(text: str | None, zone: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _names_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return True


def _one_host(nodes: str | None) -> str | None:
    """The node, where it is one; a list names none of them."""
    return nodes if nodes and not re.search(r"[\[,]|None assigned", nodes) else None
