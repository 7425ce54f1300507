"""``trainwreck service``: the recorder as a systemd service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

_root = click.option(
    "--root", default="/", type=click.Path(path_type=Path), metavar="DIR",
    help="Below another root folder (an image); systemd is not spoken to.",
)  # fmt: skip


@click.group()
def service() -> None:
    """Install, remove or show the recorder's systemd service."""


@service.command()
@_root
@click.option(
    "--data", default="/var/lib/trainwreck", show_default=True, type=click.Path(path_type=Path),
    metavar="DIR", help="Where it records to.",
)  # fmt: skip
@click.option("--log", multiple=True, metavar="PATH", help="Training log or folder to follow.")
def install(root: Path, data: Path, log: tuple[str, ...]) -> None:
    """Write the unit file, then enable and start it; one that runs is started anew."""
    from trainwreck_agent import service as unit

    try:
        options = [word for path in log for word in ("--log", str(Path(path).absolute()))]
        path = unit.install(root, data.absolute(), options)
    except unit.ServiceError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"wrote {path}", err=True)
    if root == Path("/"):
        _systemctl("daemon-reload")
        _systemctl("enable", unit.NAME)
        _systemctl("restart", unit.NAME)  # `start` would leave an old version running


@service.command()
@_root
def uninstall(root: Path) -> None:
    """Stop and remove the service; what was recorded stays."""
    from trainwreck_agent import service as unit

    if root == Path("/") and unit.unit_path(root).exists():
        _systemctl("disable", "--now", unit.NAME)
    try:
        path = unit.uninstall(root)
    except unit.ServiceError as error:
        raise click.UsageError(str(error)) from error
    if path is None:
        click.echo(f"{unit.unit_path(root)}: not installed", err=True)
        return
    click.echo(f"removed {path}; the recorded data stays", err=True)
    if root == Path("/"):
        _systemctl("daemon-reload")


@service.command()
@_root
def status(root: Path) -> None:
    """Say whether it is installed and whether it runs."""
    from trainwreck_agent import service as unit

    path = unit.unit_path(root)
    if not path.exists():
        click.echo("not installed; `sudo trainwreck service install` does it")
        return
    click.echo(f"installed: {path}")
    if root == Path("/"):
        done = subprocess.run(
            [_tool(), "is-active", unit.NAME], capture_output=True, text=True, check=False
        )
        click.echo(f"state: {done.stdout.strip() or done.stderr.strip()}")


def _tool() -> str:
    found = shutil.which("systemctl")
    if found is None:
        raise click.UsageError(
            "systemctl: not on this machine; run `trainwreck record` under your own supervisor"
        )
    return found


def _systemctl(*arguments: str) -> None:
    done = subprocess.run([_tool(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise click.UsageError(f"systemctl {' '.join(arguments)}: {told}")
