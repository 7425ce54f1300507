"""``trainwreck stacks``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

WAIT_S = 160.0


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, readable=False), metavar="DIR",
    help="Have the recorder of this directory take them: they are on record then.",
)  # fmt: skip
@click.option("--native", is_flag=True, help="C and C++ frames too; stops each process a moment.")
@click.option("--reason", default="on request", metavar="TEXT", help="Why; kept with the stacks.")
def stacks(data: Path | None, native: bool, reason: str) -> None:
    """Take the stacks of the training processes on this machine, and print them.

    Reading another user's processes needs root.
    """
    if data is None:
        from trainwreck_agent import stacks as taking

        taking.write(sys.stdout, reason, native=native, lines=False)
        return
    _through_the_recorder(data, native, reason)


def _through_the_recorder(data: Path, native: bool, reason: str) -> None:
    from trainwreck_agent import stack_taker
    from trainwreck_agent.layout import Layout

    layout = Layout(data)
    if layout.locked_by() is None:
        raise click.ClickException(
            f"{data}: no recorder runs there; leave --data out to print the stacks only"
        )
    began_us = time.time_ns() // 1000
    try:
        path = Path(stack_taker.request(layout, stack_taker.Order(reason, native)))
    except OSError as error:
        raise click.ClickException(f"{layout.state}: {error.strerror}; run as its owner") from error
    until_s = time.monotonic() + WAIT_S
    while path.exists():
        if time.monotonic() > until_s or layout.locked_by() is None:
            path.unlink(missing_ok=True)
            raise click.ClickException(
                f"{data}: the recorder did not answer; see trainwreck doctor"
            )
        time.sleep(0.1)
    _print(data, began_us, reason)


def _print(data: Path, began_us: int, reason: str) -> None:
    from trainwreck_agent import stacks as taking
    from trainwreck_agent import store

    connection = store.connect([data])
    found = connection.execute(
        "SELECT pid, name, rank, tool, text FROM stack WHERE epoch_us(ts) >= ? AND reason = ?"
        " ORDER BY rank, pid, tool DESC",
        [began_us, reason],
    ).fetchall()
    for pid, name, rank, tool, text in found:
        click.echo(f"{taking.title(pid, name, rank, tool)}\n{text}\n")
    if not found:
        told = connection.execute(
            "SELECT detail FROM collector_health WHERE collector = 'stacks' AND epoch_us(ts) >= ?",
            [began_us],
        ).fetchall()
        why = "; ".join(detail for (detail,) in told if detail) or "no training process runs here"
        raise click.ClickException(f"no stack was taken: {why}")
