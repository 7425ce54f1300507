"""``trainwreck export``."""

from __future__ import annotations

from pathlib import Path

import click

from trainwreck_tui.commands import options


@click.command()
@options.data_directories
@click.option(
    "--to", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Ends in .duckdb (the window's rows as native tables), .html (report), .json or .txt.",
)  # fmt: skip
@click.argument("incident")
def export(data: tuple[Path, ...], to: Path, incident: str) -> None:
    """Write INCIDENT (its id, or 'last') to one file that can be sent away.

    Ids are listed by `trainwreck incidents` and by `trainwreck sql "FROM incident"`.
    """
    from trainwreck_tui import report

    if to.suffix not in report.KINDS:
        raise click.UsageError(f"--to {to}: the name must end in {', '.join(report.KINDS)}")
    from trainwreck_analyzer import archive

    directories = options.data_or_default(data)
    diagnosis = archive.find(directories, incident)
    report.write(diagnosis, directories, to)
    click.echo(f"{to}: written, {to.stat().st_size:,} bytes", err=True)
