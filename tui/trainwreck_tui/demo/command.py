"""``trainwreck demo``."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import click

FAULTS = ("host-oom", "nan", "hang", "segfault", "disk-full", "exception")


@click.command()
@click.option(
    "--fault",
    type=click.Choice(FAULTS),
    default="host-oom",
    show_default=True,
    help="What really goes wrong.",
)
@click.option(
    "--no-tui",
    is_flag=True,
    help="Print the verdict and do not open the app; so too where stdout is no terminal.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Record into this folder, not a temporary one.",
)
@click.option("--keep/--no-keep", default=True, help="Keep the temporary folder at the end.")
@click.option("--seed", type=click.IntRange(0), help="Draws rank and step of the fault.")
@click.option(
    "--workers", type=click.IntRange(2, 16), default=4, show_default=True, help="Ranks of the job."
)
def demo(
    fault: str, no_tui: bool, data: Path | None, keep: bool, seed: int | None, workers: int
) -> None:
    """Record this machine while a small training job really dies on it, and say why it died.

    Needs no GPU and no root. Everything that it starts or mounts is gone at the end.
    """
    from trainwreck_tui.demo import folders, run
    from trainwreck_tui.demo.faults import Fault
    from trainwreck_tui.demo.progress import Display

    drawn = secrets.randbelow(1 << 31) if seed is None else seed
    display = Display()
    try:
        with run.interruptible(), folders.folders(data, keep=keep) as where:
            display.say(f"Fault {fault}, seed {drawn}: this takes about half a minute")
            outcome = run.demonstrate(
                Fault(fault), where, workers=workers, seed=drawn, display=display
            )
            display.close()
            _show(outcome, no_tui=no_tui)
            if keep or data is not None:
                display.say(f"Look at it again: {where.command_to_look_again()}")
    except folders.DemoError as error:
        display.close()
        click.echo(f"trainwreck demo: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        display.close()
        click.echo("trainwreck demo: interrupted; everything it started is gone", err=True)
        sys.exit(3)
    finally:
        display.close()


def _show(outcome: object, *, no_tui: bool) -> None:
    from trainwreck_tui.demo.run import Outcome

    assert isinstance(outcome, Outcome)
    if no_tui or not sys.stdout.isatty():
        from trainwreck_analyzer.render.text import to_text

        click.echo(to_text(outcome.diagnosis))
        return
    from trainwreck_tui.app import TrainwreckApp

    where = outcome.folders
    TrainwreckApp(data=[where.data], paths=[where.log], diagnosis=outcome.diagnosis).run()
