"""``trainwreck incidents``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainwreck_tui.commands import options


@click.group(invoke_without_command=True)
@options.data_directories
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else.")
@click.pass_context
def incidents(ctx: click.Context, data: tuple[Path, ...], as_json: bool) -> None:
    """List the incidents that were kept with the data.

    An incident is pinned when it is kept: what was recorded from an hour before it to ten minutes
    after it stays, however old it gets.

    \b
      trainwreck incidents
      trainwreck incidents unpin 9f2c61d0a3b4
    """  # noqa: D301 — \b is click's sign for a block kept as it is
    ctx.obj = data
    if ctx.invoked_subcommand is not None:
        return
    from trainwreck_agent.layout import Layout
    from trainwreck_analyzer import archive

    directories = options.data_or_default(data)
    for directory in directories:
        Layout(directory).meta()
    found = archive.listed(directories)
    if as_json:
        click.echo(json.dumps({"version": 1, "incidents": [_document(kept) for kept in found]}))
        return
    if not found:
        click.echo("none kept yet; `trainwreck diagnose --data DIR` finds and keeps them", err=True)
    for kept in found:
        start = f"{kept.incident.start:%Y-%m-%d %H:%M:%SZ}" if kept.incident.start else "no time"
        state = "pinned" if kept.pinned else "-"
        click.echo(f"{kept.incident.id}  {start:20}  {state:6}  {kept.incident.verdict.summary}")


def _document(kept: object) -> dict[str, object]:
    from trainwreck_analyzer.archive import Kept

    assert isinstance(kept, Kept)
    incident = kept.incident
    return {
        "id": incident.id,
        "data": str(kept.directory),
        "start": incident.start and incident.start.isoformat(),
        "end": incident.end and incident.end.isoformat(),
        "cause": incident.verdict.cause,
        "summary": incident.verdict.summary,
        "pinned": kept.pinned,
    }


@incidents.command()
@options.data_directories
@click.argument("incident")
@click.pass_obj
def pin(above: tuple[Path, ...], data: tuple[Path, ...], incident: str) -> None:
    """Keep what was recorded around INCIDENT, however old it gets."""
    _set(data or above, incident, pinned=True)


@incidents.command()
@options.data_directories
@click.argument("incident")
@click.pass_obj
def unpin(above: tuple[Path, ...], data: tuple[Path, ...], incident: str) -> None:
    """Let what was recorded around INCIDENT go when it is too old or too much."""
    _set(data or above, incident, pinned=False)


def _set(data: tuple[Path, ...], incident: str, *, pinned: bool) -> None:
    from trainwreck_agent.layout import Layout
    from trainwreck_analyzer import archive

    directories = options.data_or_default(data)
    for directory in directories:
        Layout(directory).meta()
    for directory in archive.set_pin(directories, incident, pinned):
        click.echo(f"{incident}: {'pinned' if pinned else 'not pinned'} in {directory}", err=True)
