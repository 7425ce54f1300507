"""``trainwreck sql``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainwreck_tui.commands import options

if TYPE_CHECKING:
    import duckdb

FORMATS = ("table", "csv", "json", "parquet")
ROWS_SHOWN = 1000
HELP = """\
  .tables            the views
  .columns VIEW      its columns and what they mean
  .quit              leave (also Ctrl-D)
A query ends with a semicolon."""


@click.command()
@options.data_directories
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file.")
@click.argument("query", required=False)
def sql(data: tuple[Path, ...], form: str, to: Path | None, query: str | None) -> None:
    """Ask the recorded data. Without a query: an interactive prompt.

    Reads while the recorder writes; neither waits for the other.

    \b
      trainwreck sql "SELECT ts, power_w FROM gpu WHERE ts > now() - INTERVAL 5 MINUTE"
      trainwreck sql --format csv "FROM process_exit" > exits.csv
      trainwreck sql "SELECT * FROM duckdb_columns() WHERE table_name = 'gpu'"
    """  # noqa: D301 — \b is click's sign for a block kept as it is
    from trainwreck_agent import store

    connection = store.connect(options.data_or_default(data))
    if query is None:
        _prompt(connection)
        return
    import duckdb

    try:
        _answer(connection, query, form, to)
    except duckdb.Error as error:
        click.echo(f"trainwreck: {error}", err=True)
        raise SystemExit(2) from error


def _answer(connection: duckdb.DuckDBPyConnection, query: str, form: str, to: Path | None) -> None:
    query = query.strip().rstrip(";")
    if form == "parquet" and to is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: name a file with --to")
    if form == "table" and to is None:
        relation = connection.sql(query)
        if relation is not None:
            width = shutil.get_terminal_size((160, 40)).columns
            relation.show(max_width=max(width, 80), max_rows=ROWS_SHOWN)
        return
    kind = {"table": "csv", "json": "json, ARRAY true", "csv": "csv", "parquet": "parquet"}[form]
    if to is not None:
        _copy(connection, query, kind, to)
        return
    # Not TO '/dev/stdout': DuckDB would truncate the file that stdout may be appended to.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "answer"
        _copy(connection, query, kind, made)
        with made.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()


def _copy(connection: duckdb.DuckDBPyConnection, query: str, kind: str, to: Path) -> None:
    from trainwreck_agent.views import quote

    connection.execute(f"COPY ({query}) TO {quote(str(to))} (FORMAT {kind})")


def _prompt(connection: duckdb.DuckDBPyConnection) -> None:
    import readline  # noqa: F401 — gives input() history and editing

    import duckdb

    click.echo("trainwreck sql: .help helps", err=True)
    lines: list[str] = []
    while True:
        try:
            line = input("   ...> " if lines else "sql> ")
        except EOFError:
            click.echo(err=True)
            return
        if not lines and line.startswith("."):
            if line.strip() in (".quit", ".exit"):
                return
            _dot(connection, line.split())
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            try:
                _answer(connection, "\n".join(lines), "table", None)
            except duckdb.Error as error:
                click.echo(str(error), err=True)
            lines.clear()


def _dot(connection: duckdb.DuckDBPyConnection, words: list[str]) -> None:
    if words[0] == ".tables":
        connection.sql(
            "SELECT view_name AS view, comment FROM duckdb_views() WHERE NOT internal ORDER BY 1"
        ).show(max_rows=ROWS_SHOWN, max_width=160)
    elif words[0] == ".columns" and len(words) == 2:
        connection.sql(
            "SELECT column_name AS column, data_type AS type, comment FROM duckdb_columns()"
            " WHERE table_name = ?",
            params=[words[1]],
        ).show(max_rows=ROWS_SHOWN, max_width=160)
    else:
        click.echo(HELP, err=True)
