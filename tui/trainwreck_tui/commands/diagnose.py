"""``trainwreck diagnose``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainwreck_tui.commands import options

if TYPE_CHECKING:
    from trainwreck_analyzer.verdict import Diagnosis


@click.command()
@click.option(
    "--data", multiple=True, type=click.Path(path_type=Path, readable=False), metavar="DIR",
    help="Data directory of the recorder, joined to the logs; several for several hosts."
    f" Without PATH the default is {options.DEFAULT}.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else.")
@options.paths
def diagnose(data: tuple[Path, ...], paths: tuple[Path, ...], as_json: bool) -> None:
    """Say what broke, why we think so, what speaks against it, and what to do.

    PATH: training logs, kernel logs (dmesg, journalctl, syslog), flight-recorder dumps, or folders
    of them. With --data they are joined to the telemetry. Without PATH: the incidents in the data.

    \b
      trainwreck diagnose slurm-4711.out
      trainwreck diagnose --data /var/lib/trainwreck rank-logs/ dmesg.txt
      dmesg | trainwreck diagnose -
    """  # noqa: D301 — \b is click's sign for a block kept as it is
    from trainwreck_agent.layout import Layout

    if not paths:
        data = options.data_or_default(data)
    for directory in data:
        Layout(directory).meta()
    from trainwreck_analyzer.diagnose import diagnose as run

    with _Progress() as progress:
        diagnosis = run(paths, data, progress=progress)
    kept: list[Path] = []
    if data:
        from trainwreck_analyzer.archive import keep

        kept = keep(diagnosis, data)
    elif not as_json and (hint := options.unasked()):
        click.echo(f"trainwreck: {hint}", err=True)
    if as_json:
        from trainwreck_analyzer.render.json import to_json

        click.echo(to_json(diagnosis))
    else:
        from trainwreck_analyzer.render.text import to_text

        click.echo(to_text(diagnosis), nl=False)
        if data and diagnosis.incidents:
            _tell_kept(diagnosis, kept)


def _tell_kept(diagnosis: Diagnosis, kept: list[Path]) -> None:
    if not kept:
        click.echo("trainwreck: not kept with the data: the folder is not yours to write", err=True)
        return
    ids = ", ".join(incident.id for incident in diagnosis.incidents)
    where = ", ".join(map(str, kept))
    click.echo(f"trainwreck: kept in {where} as {ids}; see `trainwreck incidents`", err=True)


class _Progress:
    """A progress bar on stderr for long readings; silent where nobody looks."""

    SHOW_FROM_BYTES = 50_000_000

    def __init__(self) -> None:
        self._shown = False

    def __enter__(self) -> _Progress:
        return self

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if total_bytes < self.SHOW_FROM_BYTES or not sys.stderr.isatty():
            return
        self._shown = True
        share = min(done_bytes / total_bytes, 1.0)
        bar = "━" * int(share * 30)
        sys.stderr.write(f"\rreading {bar:30} {share:4.0%} of {total_bytes / 1e9:.1f} GB")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
