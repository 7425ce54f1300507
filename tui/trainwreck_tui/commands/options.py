"""Options that several commands have, and what they mean where they are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT = "$TRAINWRECK_DATA, /var/lib/trainwreck for root, else the user's state folder"

data_directories = click.option(
    "--data",
    "data",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    metavar="DIR",
    help=f"Data directory of the recorder; several for several hosts. Default: {DEFAULT}.",
)

paths = click.argument(
    "paths", nargs=-1, type=click.Path(path_type=Path, readable=False), metavar="[PATH]..."
)


def data_or_default(data: tuple[Path, ...]) -> tuple[Path, ...]:
    """The directories named, or the default one."""
    from trainwreck_agent.layout import default_data_directory

    return data or (default_data_directory(),)


def unasked() -> str | None:
    """A hint where there is a recording here, and none was named; None: there is none."""
    from trainwreck_agent.layout import default_data_directory

    where = default_data_directory()
    if not (where / "meta.json").exists():
        return None
    return f"not asked: what is recorded in {where}; --data {where} joins it"


Command = Callable[..., Any]
