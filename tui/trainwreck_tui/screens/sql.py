"""A query over the recorded data, its rows, and what the columns mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import duckdb
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, Static

from trainwreck_tui import units
from trainwreck_tui.screen import BaseScreen

ROWS_MAX = 1000
FIRST_QUERY = "SELECT ts, name, rank, exit_code, signal FROM process_exit ORDER BY ts DESC LIMIT 50"
VIEWS = "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY 1"


def only_reads(query: str) -> str:
    """The query, if it is one that reads.

    Queries come from kept diagnoses too, and those from other machines: nothing of them may write.

    Raises:
        duckdb.Error: It is none, several, or one that could change something.
    """
    statements = duckdb.extract_statements(query)
    allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in allowed:
        raise duckdb.Error("one SELECT at a time; `trainwreck sql` takes everything else")
    return query


def cell_text(cell: object) -> str:
    """A cell as people read it: times in UTC to the millisecond, ``–`` for NULL."""
    if cell is None:
        return units.UNKNOWN
    if isinstance(cell, datetime):
        shown = cell.astimezone(UTC) if cell.tzinfo is not None else cell
        return shown.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return str(cell)


class SqlScreen(BaseScreen):
    """The query box."""

    HELP = """\
# SQL
Enter runs the query; DuckDB's dialect. `SELECT view_name, comment FROM duckdb_views() WHERE NOT
internal` lists the views (`v` in the table), `SELECT column_name, comment FROM duckdb_columns()
WHERE table_name = 'gpu'` tells what the columns mean. `/` goes to the box, for a query of your own,
`tab` goes between box and rows.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "edit", "Query", key_display="/"),
        Binding("v", "views", "Views"),
    ]

    def __init__(self, query: str | None) -> None:
        super().__init__()
        self._query = query or FIRST_QUERY

    def compose(self) -> ComposeResult:
        """Box, note, table."""
        yield Input(self._query, id="query")
        yield Static(id="moment")
        yield DataTable(id="rows", zebra_stripes=True, cursor_type="row")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Run the query that was handed over."""
        self.query_one(Input).cursor_position = 0  # the beginning is what tells one from another
        self.query_one(DataTable).focus()
        self._run(self._query)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run what was typed, and go to its rows."""
        self._run(event.value)
        self.query_one(DataTable).focus()

    def action_edit(self) -> None:
        """Go to the box; the query in it goes with the first key."""
        box = self.query_one(Input)
        box.focus()
        box.action_select_all()

    def action_views(self) -> None:
        """List the views."""
        self.query_one(Input).value = VIEWS
        self._run(VIEWS)

    @work(thread=True, exclusive=True)
    def _run(self, query: str) -> None:
        try:
            connection = self.trainwreck.connect()
            if connection is None:
                raise duckdb.Error("there is no data directory to ask; open one with --data")
            cursor = connection.execute(only_reads(query))
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchmany(ROWS_MAX + 1)
        except duckdb.Error as error:
            self.app.call_from_thread(self._fail, str(error))
            return
        self.app.call_from_thread(self._show, names, rows)

    def _fail(self, message: str) -> None:
        self.query_one("#moment", Static).update(message, layout=True)
        self.query_one(DataTable).clear(columns=True)

    def _show(self, names: list[str], rows: list[tuple[object, ...]]) -> None:
        table: DataTable[str] = self.query_one(DataTable)
        table.clear(columns=True)
        table.add_columns(*names)
        for row in rows[:ROWS_MAX]:
            table.add_row(*map(cell_text, row))
        note = units.count(min(len(rows), ROWS_MAX), "row")
        more = ", more are there; add a LIMIT or WHERE" if len(rows) > ROWS_MAX else ""
        self.query_one("#moment", Static).update(f"{note}{more}; times are UTC")
