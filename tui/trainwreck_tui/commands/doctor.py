"""``trainwreck doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from trainwreck_tui.commands import options


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, readable=False), metavar="DIR",
    help=f"Data directory.  [default: {options.DEFAULT}]",
)  # fmt: skip
@click.option("--host-root", default="/", metavar="/", help="Look at a recorded machine.")
@click.option(
    "--signals", "all_signals", is_flag=True, help="List every signal: recorded, absent, and why."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(data: Path | None, host_root: str, all_signals: bool, as_json: bool) -> None:
    """What is recorded here, what is not and exactly why, what it costs, what was lost."""
    from trainwreck_agent import checkup

    report = checkup.look(options.data_or_default((data,) if data else ())[0], host_root)
    if as_json:
        click.echo(checkup.to_json(report))
        return
    from trainwreck_tui.commands import doctor_text

    if all_signals:
        doctor_text.show_signals(report)
    else:
        doctor_text.show(report)
