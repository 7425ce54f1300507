"""``trainwreck``: the command line. Sub-commands are imported when they are called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

COMMANDS = {
    "demo": "See a real training job really die here, and the verdict that says why.",
    "record": "Record this machine until stopped; what the service runs.",
    "service": "Install, remove or show the recorder's systemd service.",
    "doctor": "What is recorded here, what is not and why, what was lost.",
    "stacks": "Take the stacks of the training processes here, now.",
    "tui": "Open the app; what `trainwreck` alone does.",
    "diagnose": "Say what broke, from training logs, kernel logs and recorded data.",
    "incidents": "List the incidents that were kept; pin or unpin what was recorded around them.",
    "sql": "Ask the recorded data with SQL.",
    "export": "Write an incident to one file: database, report or JSON.",
    "signatures": "List what is recognised; check a signature of your own.",
}
"""In the order of ``--help``: one line each, so that help imports nothing."""

EPILOG = """\b
Typical use:
  trainwreck demo                              what it is, in a minute
  sudo trainwreck record --log train.log       on every training host
  trainwreck diagnose logs/ dmesg.txt          after the crash, from files alone
  trainwreck tui --data /var/lib/trainwreck    with the telemetry before it
\b
Completion:  eval "$(_TRAINWRECK_COMPLETE=bash_source trainwreck)"   (or zsh_source, fish_source)
Exit codes:  0 done, 2 wrong usage or unreadable input, 3 interrupted."""


class LateGroup(click.Group):
    """A group whose commands live in ``commands/NAME.py`` and are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = "trainwreck_tui.demo.command" if cmd_name == "demo" else None
        loaded = importlib.import_module(module or f"trainwreck_tui.commands.{cmd_name}")
        command = getattr(loaded, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; for a log or a misspelt name a hint at the right one.

        Raises:
            click.UsageError: There is no such command.
        """
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        import difflib
        from pathlib import Path

        near = difflib.get_close_matches(name, COMMANDS, 1, 0.6)
        told = f"did you mean `trainwreck {near[0]}`?" if near else "`trainwreck --help` lists them"
        if Path(name).exists():
            told = f"to read it: trainwreck diagnose {name}"
        raise click.UsageError(f"no such command: {name}; {told}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LateGroup, invoke_without_command=True, epilog=EPILOG)
@click.version_option(package_name="trainwreck", prog_name="trainwreck")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """The black box for training servers, and the investigator that opens it."""
    if ctx.invoked_subcommand is None:
        from trainwreck_tui.commands.tui import tui

        ctx.invoke(tui)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: one line for what cannot be done, never a traceback for it."""
    try:
        code: Any = cli.main(args=arguments, prog_name="trainwreck", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(3)
    except KeyboardInterrupt:
        sys.stderr.write("trainwreck: interrupted\n")
        sys.exit(3)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader has enough: `trainwreck sql … | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if type(error).__name__ not in ("DataDirectoryError", "Unreadable", "SignatureError"):
            raise
        sys.stderr.write(f"trainwreck: {error}\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
