"""``trainwreck tui``."""

from __future__ import annotations

from pathlib import Path

import click

from trainwreck_tui.commands import options


@click.command()
@options.data_directories
@options.paths
def tui(data: tuple[Path, ...] = (), paths: tuple[Path, ...] = ()) -> None:
    """Open the app: incidents, the verdict with its evidence, the telemetry around it.

    PATH: training logs, kernel logs or folders of them, read together with the data.
    """
    from trainwreck_agent.layout import Layout, default_data_directory

    if not data and (not paths or (default_data_directory() / "meta.json").exists()):
        data = (default_data_directory(),)
    for directory in data:
        Layout(directory).meta()
    from trainwreck_tui.app import TrainwreckApp

    TrainwreckApp(data=data, paths=paths).run()
