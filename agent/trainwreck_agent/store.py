"""Opens data directories as a database. Not for the sampling process: DuckDB costs 40 MiB.

``trainwreck.duckdb`` holds views and their comments only; the rows stay in segments and journal.
It is written beside and renamed, so a reader who keeps it open for hours is harmless and harmed by
nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from trainwreck_agent import views
from trainwreck_agent.layout import DataDirectoryError, Layout, Span
from trainwreck_agent.schema import SCHEMA_VERSION, Table, tables

STORAGE_VERSION = "v1.4.0"
"""So that every DuckDB from 1.4 on reads the file; 2.0's own default is refused by 1.x."""

StoreError = DataDirectoryError
READING = "reading"
"""A file in ``state/`` that readers of ours hold a shared lock of: nothing is swept meanwhile."""
_held: dict[str, int] = {}
"""Descriptors of those locks by directory, until the process ends."""


def connect(directories: Sequence[Path], *, described: bool = True) -> duckdb.DuckDBPyConnection:
    """An in-memory database with all views over one or many data directories.

    Works on copies and on directories that have moved, and writes nothing. Without ``described``
    comments and views of rates may be missing: where they have to be made they take longer than
    all the rest.

    Raises:
        StoreError: A directory is none of ours, or of another version.
    """
    connection = duckdb.connect(":memory:", config={"threads": min(4, os.cpu_count() or 1)})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("LOAD parquet")
    # A month of a wide table has hundreds of row groups: to read their limits is half of a query.
    connection.execute("SET parquet_metadata_cache = true")
    layouts = [Layout(directory) for directory in directories]
    for layout in layouts:
        _hold(layout)
    if len(layouts) == 1 and _attach(connection, layouts[0]):
        return connection
    for table in tables().values():
        statements = _view_statements(table, layouts)
        for statement in statements if described else statements[:1]:
            connection.execute(statement)
    return connection


def _hold(layout: Layout) -> None:
    """Keep files from being deleted between their listing and their opening, where we may."""
    name = layout.file("state", READING)
    if name in _held:
        return
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        _held[name] = fd
    except OSError:
        os.close(fd)


def _attach(connection: duckdb.DuckDBPyConnection, layout: Layout) -> bool:
    """Use the directory's own database file, ten times faster than making its views again.

    False where there is none, or it was made for another place or by another version.
    """
    layout.meta()
    try:
        connection.execute(f"ATTACH {views.quote(str(layout.database))} AS data (READ_ONLY)")
        made = connection.execute("SELECT directory, fingerprint FROM data.meta").fetchall()
    except duckdb.Error:
        return False
    if made != [(str(layout.root), views.fingerprint())]:
        connection.execute("DETACH data")
        return False
    connection.execute("USE data")
    return True


def _view_statements(table: Table, layouts: Sequence[Layout]) -> list[str]:
    selects = []
    for layout in layouts:
        host = str(layout.meta()["host"])
        sealed, live = found(table, layout)
        if sealed or live:
            selects.append(views.select(table, layout.root, host, sealed=sealed, live=live))
    if not selects:
        selects = [empty(table)]
    return views.create_view(table, selects) + views.create_rate_view(table)


def found(table: Table, layout: Layout) -> tuple[bool, bool]:
    """Whether a table's view would find segments, and journals; incidents count as journals."""
    if table.name == "incident":
        return False, any(layout.incidents.glob("*.tsv"))
    segments = (layout.segments / table.name).glob("[0-9]*.parquet")
    return any(segments), any(layout.journal.glob("[0-9]*.tsv"))


def empty(table: Table) -> str:
    """SELECT with the table's columns and no row."""
    cells = "".join(f", NULL::{column.type} AS {column.name}" for column in table.columns)
    return f"SELECT NULL::TIMESTAMPTZ AS ts, NULL::VARCHAR AS host{cells} WHERE false"


def is_prepared(layout: Layout) -> bool:
    """Whether the directory has what the views of today need, at the place where it is now."""
    try:
        said = layout.prepared.read_text()
    except OSError:
        return False
    return (
        said == views.prepared_for(layout.root)
        and layout.database.exists()
        and all(_is_whole(_empty_segment(layout, table)) for table in tables().values())
    )


def _empty_segment(layout: Layout, table: Table) -> Path:
    return layout.segment_path(table.name, Span(0, 0, 0))


def _is_whole(path: Path) -> bool:
    """Whether it is there; without its content it would be from before a power cut."""
    return path.exists() and path.stat().st_size > 0


def prepare(layout: Layout) -> None:
    """Give a data directory what its views need: an empty segment a table, and the database file.

    Called once at the start of a recorder, and again wherever the directory has moved.
    """
    connection = duckdb.connect(":memory:")
    for table in tables().values():
        first = _empty_segment(layout, table)
        first.parent.mkdir(mode=0o750, exist_ok=True)
        if not _is_whole(first):
            beside = first.with_name(f".empty.{os.getpid()}")
            body = empty(table).replace(", NULL::VARCHAR AS host", "", 1)
            connection.execute(
                f"COPY (SELECT *, 0::BIGINT AS segment FROM ({body}))"
                f" TO {views.quote(str(beside))} (FORMAT parquet)"
            )
            layout.sync_file(beside)
            beside.replace(first)
    reading = layout.state / READING
    for nothing in (layout.journal_path(0), layout.incidents / "none.tsv", reading):
        if not nothing.exists():
            nothing.touch(mode=0o640)
    connection.close()
    write_database(layout)
    layout.replace(layout.prepared, views.prepared_for(layout.root))


def write_database(layout: Layout) -> None:
    """Put ``trainwreck.duckdb`` in place, with the paths of today."""
    host = str(layout.meta()["host"])
    beside = layout.root / f".{layout.database.name}.{os.getpid()}"
    beside.unlink(missing_ok=True)
    connection = duckdb.connect(":memory:")
    connection.execute(
        f"ATTACH {views.quote(str(beside))} AS made (STORAGE_VERSION '{STORAGE_VERSION}')"
    )
    connection.execute("USE made")
    for table in tables().values():
        made = views.create_view(table, [views.select(table, layout.root, host)])
        for statement in made + views.create_rate_view(table):
            connection.execute(statement)
    _write_catalogue(connection, layout, host)
    connection.execute("USE memory")
    connection.execute("DETACH made")
    connection.close()
    beside.chmod(0o640)
    beside.replace(layout.database)


def _write_catalogue(connection: duckdb.DuckDBPyConnection, layout: Layout, host: str) -> None:
    """The small tables: what every column means, and where this file belongs."""
    connection.execute(
        "CREATE TABLE metric (view_name VARCHAR, column_name VARCHAR, type VARCHAR, kind VARCHAR,"
        " help VARCHAR)"
    )
    listed = [
        (table.name, c.name, c.type, str(c.kind), c.help)
        for table in tables().values()
        for c in table.columns
    ]
    connection.executemany("INSERT INTO metric VALUES (?, ?, ?, ?, ?)", listed)
    connection.execute(
        "CREATE TABLE meta (schema_version INTEGER, host VARCHAR, directory VARCHAR,"
        " fingerprint VARCHAR)"
    )
    connection.execute(
        "INSERT INTO meta VALUES (?, ?, ?, ?)",
        [SCHEMA_VERSION, host, str(layout.root), views.fingerprint()],
    )
    connection.execute("COMMENT ON TABLE metric IS 'Every column of every view, and its meaning.'")
    connection.execute(
        "COMMENT ON TABLE meta IS 'The directory this file was made for; its views hold that path.'"
    )
