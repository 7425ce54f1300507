"""``trainwreck record``."""

from __future__ import annotations

import os
import sys

import click

from trainwreck_tui.commands import options as common


@click.command()
@click.option(
    "--data",
    metavar="DIR",
    help=f"Where to record to; made if it is not there.  [default: {common.DEFAULT}]",
)
@click.option("--interval", metavar="1s", help="Time between ticks: 500ms, 1s, 5s.  [default: 1s]")
@click.option("--duration", metavar="60s", help="Stop after this long.  [default: until stopped]")
@click.option("--host-root", metavar="/", help="Read proc/ and sys/ below another folder.")
@click.option(
    "--log", multiple=True, metavar="PATH", help="Training log, or folder of logs, to follow."
)
@click.option("--kmsg", metavar="PATH", help="Kernel log to follow.  [default: /dev/kmsg]")
@click.option("--nvml-library", metavar="PATH", help="Another libnvidia-ml.so.1 than the system's.")
@click.option(
    "--gpu-burst-hz", metavar="0",
    help="Read power, clock and temperature of GPUs so often (up to 10) into memory; written when"
    " a GPU throttles, fails or is lost.  [default: 0, off]",
)  # fmt: skip
@click.option("--retain-days", metavar="30", help="Delete what is older.  [default: 30; 0: never]")
@click.option("--max-bytes", metavar="8G", help="Keep at most this much.  [default: 8G; 0: all]")
def record(**options: str | tuple[str, ...] | None) -> None:
    """Record this machine until stopped (Ctrl-C or SIGTERM).

    Without root it records what it may; `trainwreck doctor` says what root would add. The command
    replaces itself with the agent alone, so that the recorder carries nothing of this program.
    """
    command = [sys.executable, "-m", "trainwreck_agent", "record"]
    for name, value in options.items():
        for single in value if isinstance(value, tuple) else (value,):
            if single is not None:
                command += ["--" + name.replace("_", "-"), single]
    if sys.stderr.isatty():
        where = options["data"] or "the default data directory"
        click.echo(f"trainwreck: recording to {where}; Ctrl-C stops", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)
