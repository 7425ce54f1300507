"""The rows of a window, read once: a table in memory for each view, under the view's name.

A view over segments and journal takes ten to twenty milliseconds to plan, however few its rows; a
table in memory takes one. The queries are the same, so each can be asked of the views again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import duckdb

from trainwreck_analyzer.telemetry.recording import STATES, literal
from trainwreck_analyzer.telemetry.window import Window

LONGEST = timedelta(hours=6)
"""A longer window is not copied: its rows may be more than the memory holds."""


@contextmanager
def in_memory(
    connection: duckdb.DuckDBPyConnection, window: Window, reads: Mapping[str, set[str]]
) -> Iterator[frozenset[str]]:
    """The views that have no row in the window; inside, all that are named are tables in memory.

    Args:
        connection: Holds the views.
        window: From when to when; of ``STATES`` all rows before its end.
        reads: Columns by view, ``ts`` and ``host`` apart.
    """
    if window.end - window.start > LONGEST:
        yield frozenset()
        return
    made: list[str] = []
    empty: set[str] = set()
    try:
        for view, columns in reads.items():
            since = "" if view in STATES else f"ts >= {literal(window.start)} AND "
            names = ", ".join(("ts", "host", *sorted(columns)))
            found = connection.execute(
                f"CREATE TEMP TABLE {view} AS SELECT {names} FROM {view}"
                f" WHERE {since}ts <= {literal(window.end)}"
            ).fetchall()
            made.append(view)
            if not found[0][0]:
                empty.add(view)
        yield frozenset(empty)
    finally:
        for view in made:
            connection.execute(f"DROP TABLE temp.{view}")
