"""``trainwreck signatures``."""

from __future__ import annotations

import difflib
from pathlib import Path

import click


@click.group(invoke_without_command=True)
@click.option("--cause", metavar="CODE", help="Only signatures of this cause.")
@click.pass_context
def signatures(ctx: click.Context, cause: str | None) -> None:
    """List what is recognised: cause, id and title, a line each.

    A signature is one TOML file with its own examples and look-alikes, which are its tests; see
    the folder that `trainwreck signatures where` prints.
    """
    if ctx.invoked_subcommand is not None:
        return
    from trainwreck_analyzer.signature import load

    found = sorted(load().items(), key=lambda item: (item[1].cause, item[0]))
    codes = list(dict.fromkeys(signature.cause for _, signature in found))
    if cause is not None and cause not in codes:
        near = difflib.get_close_matches(cause, codes, 3, 0.4) or codes
        raise click.UsageError(f"--cause {cause}: no signature has it; there are {', '.join(near)}")
    for name, signature in found:
        if cause is None or signature.cause == cause:
            click.echo(f"{signature.cause:26} {name:34} {signature.title}")


@signatures.command()
def where() -> None:
    """Print the folder of the built-in signatures."""
    from trainwreck_analyzer.signature import BUILT_IN

    click.echo(BUILT_IN)


@signatures.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check FILE: its fields, its own examples and look-alikes, and collisions with the others.

    Exit code 2 if something is wrong with it; a pattern that is slow is only told.
    """
    from trainwreck_analyzer import signature

    one = signature.load_file(file)
    problems = signature.check(one, signature.load())
    for problem in problems:
        click.echo(f"{file}: {problem}", err=True)
    for advice in signature.slow(one):
        click.echo(f"{file}: {advice}", err=True)
    if problems:
        raise SystemExit(2)
    click.echo(f"{file}: matches its examples and none of the others'", err=True)
