"""Keeps diagnoses in the data directory they were made with, finds them again, and exports them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from trainwreck_agent import pins
from trainwreck_agent.collector import Row
from trainwreck_agent.journal import encode
from trainwreck_agent.layout import Layout
from trainwreck_agent.schema import tables

from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.render.json import from_json, to_json
from trainwreck_analyzer.verdict import Diagnosis, Incident

BEFORE = timedelta(minutes=10)
AFTER = timedelta(minutes=5)
"""The window around an incident: what is exported with it."""


def keep(diagnosis: Diagnosis, data: Sequence[Path]) -> list[Path]:
    """Write every incident beside the data, where that may be written; the directories it was.

    The ``incident`` view and the app's list read it there. The same incident replaces itself. One
    that is new and has a time is pinned: retention leaves what was recorded around it.
    """
    written: list[Path] = []
    for directory in data:
        layout = Layout(directory)
        if not os.access(layout.incidents, os.W_OK):
            continue
        written.append(directory)
        for incident in diagnosis.incidents:
            path = layout.incidents / f"{incident.id}.json"
            known = path.exists()
            single = replace(diagnosis, incidents=(incident,))
            layout.replace(path, to_json(single) + "\n")
            layout.replace(path.with_suffix(".tsv"), encode(_row(incident, path), 0))
            if not known and incident.start is not None:
                pins.pin(layout, incident.id)
    return written


def _row(incident: Incident, document: Path) -> Row:
    verdict = incident.verdict
    return Row(
        tables()["incident"],
        (
            incident.id, _us(incident.end), verdict.cause, verdict.domain, verdict.confidence,
            verdict.summary, incident.run.job, verdict.component.rank, str(document),
        ),
        _us(incident.start),
    )  # fmt: skip


def _us(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1_000_000)


def kept(data: Sequence[Path]) -> tuple[Incident, ...]:
    """The incidents kept with the data; what cannot be read any more is left out."""
    found: list[Incident] = []
    for directory in data:
        for path in sorted(Layout(directory).incidents.glob("*.json")):
            try:
                found += from_json(path.read_text()).incidents
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Kept:
    """An incident that is kept, and whether retention leaves what was recorded around it."""

    incident: Incident
    directory: Path
    pinned: bool


def listed(data: Sequence[Path]) -> list[Kept]:
    """Every kept incident of every directory, in order of time, those without one first."""
    found = [
        Kept(incident, directory, incident.id in pins.names(Layout(directory)))
        for directory in data
        for incident in kept([directory])
    ]
    return sorted(found, key=lambda kept: (_us(kept.incident.start) or 0, kept.incident.id))


def set_pin(data: Sequence[Path], name: str, pinned: bool) -> list[Path]:
    """Pin or unpin a kept incident wherever it is kept; the directories.

    Raises:
        Unreadable: There is none of that name, or a directory cannot be written.
    """
    find(data, name)
    there = [d for d in data if (Layout(d).incidents / f"{name}.json").exists()]
    for directory in there:
        try:
            (pins.pin if pinned else pins.unpin)(Layout(directory), name)
        except OSError as error:
            raise Unreadable("cannot be written", str(directory), str(error.strerror)) from error
    return there


def find(data: Sequence[Path], name: str) -> Diagnosis:
    """The kept diagnosis of the incident called ``name``; 'last' is the newest kept.

    Raises:
        Unreadable: There is none of that name; those that are there are listed.
    """
    files = [path for directory in data for path in Layout(directory).incidents.glob("*.json")]
    wanted = [path for path in files if path.stem == name]
    if name == "last" and files:
        wanted = [max(files, key=lambda path: path.stat().st_mtime)]
    if not wanted:
        there = ", ".join(sorted(path.stem for path in files)) or "none yet"
        raise Unreadable(
            f"no incident {name!r}",
            ", ".join(map(str, data)),
            f"kept are: {there}; `trainwreck diagnose --data DIR` finds and keeps them",
        )
    return from_json(wanted[0].read_text())


def export_database(diagnosis: Diagnosis, data: Sequence[Path], to: Path) -> None:
    """One self-contained DuckDB file: every table's rows around the incident, and the verdict.

    Raises:
        Unreadable: The incident has no time, so no window.
    """
    from trainwreck_agent import store
    from trainwreck_agent.views import quote

    incident = diagnosis.incidents[0]
    start, end = incident.start, incident.end or incident.start
    if start is None or end is None:
        raise Unreadable(
            f"incident {incident.id} has no time", str(to), "export it as .json or .html"
        )
    connection = store.connect(data, described=False)
    to.unlink(missing_ok=True)
    connection.execute(
        f"ATTACH {quote(str(to))} AS made (STORAGE_VERSION '{store.STORAGE_VERSION}')"
    )
    window = f"ts BETWEEN TIMESTAMPTZ '{start - BEFORE}' AND TIMESTAMPTZ '{end + AFTER}'"
    for table in tables().values():
        condition = "true" if table.name in ("host", "incident") else window
        name = f"made.{table.name}"
        connection.execute(f"CREATE TABLE {name} AS FROM {table.name} WHERE {condition}")
        connection.execute(f"COMMENT ON TABLE {name} IS {quote(table.help)}")
        for column in table.columns:
            connection.execute(f"COMMENT ON COLUMN {name}.{column.name} IS {quote(column.help)}")
    connection.execute("CREATE TABLE made.diagnosis (document JSON)")
    connection.execute("INSERT INTO made.diagnosis VALUES (?)", [to_json(diagnosis)])
    connection.close()
