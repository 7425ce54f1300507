"""Options that several commands have, and what they mean where they are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

data_directories = click.option(
    "--data",
    "data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Data directory of the recorder; several for several hosts."
    " Default: $TRAINWRECK_DATA, /var/lib/trainwreck for root, else the user's state folder.",
)

paths = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")


def data_or_default(data: tuple[Path, ...]) -> tuple[Path, ...]:
    """The directories named, or the default one."""
    from trainwreck_agent.layout import default_data_directory

    return data or (default_data_directory(),)


Command = Callable[..., Any]
