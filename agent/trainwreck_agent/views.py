"""The SQL of the views: sealed segments and the live journal as one table, consistent at a moment.

When a reader looks twice, at the segments and at the journals, a seal may happen in between. So a
span becomes visible at a time written in its marker's name, some seconds after all its files are
in place, and both halves of a view compare that time with ``now()``, which is fixed for a query:
no row is missed and none is seen twice. Superseded files are deleted a minute later.
"""

from __future__ import annotations

from pathlib import Path

from trainwreck_agent.schema import Column, Kind, Table, tables

_LINES = (
    "read_csv({glob}, columns={{'line': 'VARCHAR'}}, delim='\\x1f', quote='', escape='',"
    " header=false, auto_detect=false, ignore_errors=true, strict_mode=false,"
    " max_line_size=4194304{more})"
)


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def cell(column: Column, position: int) -> str:
    """The expression that reads a column out of the split line ``f``."""
    raw = f"f[{position}]"
    if column.type == "VARCHAR":
        plain = f"nullif({raw}, '')"
        decoded = (
            f"replace(replace(replace(replace(replace({raw}, '\\\\', chr(1)), '\\t', chr(9)),"
            f" '\\n', chr(10)), '\\z', ''), chr(1), '\\')"
        )
        return f"CASE WHEN contains({raw}, '\\') THEN {decoded} ELSE {plain} END"
    if column.type == "TIMESTAMPTZ":
        return f"to_timestamp(TRY_CAST({raw} AS BIGINT) / 1e6)"
    return f"TRY_CAST({raw} AS {column.type})"


def lines(glob: str, *, filename: bool = False) -> str:
    """The table function that gives the lines of journal files."""
    return _LINES.format(glob=quote(glob), more=", filename=true" if filename else "")


def rows(table: Table, source: str, *, host: str | None = None, where: str = "true") -> str:
    """SELECT that turns the lines of ``source`` (column ``line``) into the rows of ``table``.

    Lines of other tables, torn ones and ones with a wrong number of fields are left out. ``host``
    adds that column, ``where`` chooses among the lines.
    """
    count = len(table.columns) + 3
    named = "" if host is None else f", {quote(host)} AS host"
    cells = "".join(f", {cell(c, i)} AS {c.name}" for i, c in enumerate(table.columns, 3))
    return (
        f"SELECT to_timestamp(TRY_CAST(f[2] AS BIGINT) / 1e6) AS ts{named}{cells} FROM"
        f" (SELECT string_split(line, chr(9)) AS f FROM {source}"
        f" WHERE starts_with(line, {quote(table.name)} || chr(9)) AND suffix(line, chr(9) || '$')"
        f" AND {where})"
        f" WHERE len(f) = {count} AND TRY_CAST(f[2] AS BIGINT) IS NOT NULL"
    )


def _spans(root: Path) -> str:
    """SELECT of the spans in force now: ``first``, ``last``, ``segment``."""
    name = "parse_filename(file)"
    return (
        f"SELECT first, last, segment FROM (SELECT TRY_CAST({name}[1:10] AS BIGINT) AS first,"
        f" TRY_CAST({name}[12:21] AS BIGINT) AS last, TRY_CAST({name}[23:38] AS BIGINT) AS segment,"
        " suffix(file, '.settled') AS settled"
        f" FROM glob({quote(str(root / 'sealed' / '*-*.*'))})) s"
        " WHERE last IS NOT NULL AND (segment <= epoch_us(now()) OR settled)"
    )


def select(table: Table, root: Path, host: str, *, sealed: bool = True, live: bool = True) -> str:
    """SELECT of all rows of a table in a data directory: ``ts``, ``host``, then its columns.

    ``sealed``, ``live``: whether there are segments and journals; DuckDB refuses a glob that finds
    nothing.
    """
    if table.name == "incident":
        return rows(table, lines(str(root / "incidents" / "*.tsv")), host=host)
    names = ", ".join(column.name for column in table.columns)
    spans = _spans(root)
    valid = (
        f"SELECT a.segment FROM ({spans}) a ANTI JOIN ({spans}) b"
        " ON b.first <= a.first AND a.last <= b.last AND b.segment > a.segment"
    )
    # Both halves are as flat as can be: planning takes a third of a short query over a wide table.
    in_segments = (
        f"SELECT ts, {quote(host)} AS host, {names} FROM"
        f" read_parquet({quote(str(root / 'segments' / table.name / '[0-9]*.parquet'))})"
        # Inside coalesce() it is a mark join: a few spans hashed, all rows probed. A plain IN may
        # be turned round, into a table of all rows; a list is searched for each row.
        f" WHERE coalesce(segment IN ({valid}), false)"
    )
    source = lines(str(root / "journal" / "[0-9]*.tsv"), filename=True)
    newer = (
        "TRY_CAST(parse_filename(filename, true) AS BIGINT) >"
        f" (SELECT coalesce(max(last), 0) FROM ({spans}))"
    )
    in_journals = rows(table, source, host=host, where=newer)
    return " UNION ALL ".join([in_segments] * sealed + [in_journals] * live)


def create_view(table: Table, selects: list[str]) -> list[str]:
    """Statements that make the view of a table, with a comment on it and on every column."""
    body = " UNION ALL ".join(selects)
    made = [
        f"CREATE OR REPLACE VIEW {table.name} AS {body}",
        f"COMMENT ON VIEW {table.name} IS {quote(table.help)}",
        f"COMMENT ON COLUMN {table.name}.ts IS 'Time of the row, UTC, µs.'",
        f"COMMENT ON COLUMN {table.name}.host IS 'Name of the machine that recorded it.'",
    ]
    made += [
        f"COMMENT ON COLUMN {table.name}.{c.name} IS {quote(f'{c.kind}. {c.help}')}"
        for c in table.columns
    ]
    return made


def fingerprint() -> str:
    """What the declarations and the views' SQL come down to: changes when they do."""
    import hashlib

    made = "".join(
        statement
        for table in tables().values()
        for statement in create_view(table, [select(table, Path("/"), "")])
    )
    return hashlib.sha256(made.encode()).hexdigest()[:16]


def prepared_for(root: Path) -> str:
    """What ``state/prepared`` says in a directory whose database file is as it must be."""
    return f"{fingerprint()} {root}\n"


def create_rate_view(table: Table) -> list[str]:
    """Statements for ``<table>_per_s``: counters as rates, NULL across a reset and for the first.

    Labels and gauges come along as they are. Empty for a table without counters.
    """
    if not table.counters:
        return []
    # Two collectors may write rows of one table, each its own counters (cpu: times; frequency and
    # throttling): a rate is between rows of the same kind, which the first counter tells apart.
    keys = ", ".join(("host", *table.labels, f"{table.counters[0]} IS NULL"))
    # No nullif() over a window: DuckDB 1.4 cannot read one in a view that 2.0 has written.
    seconds = "(epoch(ts) - lag(epoch(ts)) OVER w)"
    columns = []
    for column in table.columns:
        if column.kind is Kind.COUNTER:
            delta = f"({column.name} - lag({column.name}) OVER w)"
            columns.append(
                f"CASE WHEN {delta} >= 0 AND {seconds} > 0 THEN {delta} / {seconds} END"
                f" AS {column.name}_per_s"
            )
        else:
            columns.append(column.name)
    name = f"{table.name}_per_s"
    help = f"Rates of the counters of {table.name}; NULL across a reset and for the first row."
    return [
        f"CREATE OR REPLACE VIEW {name} AS SELECT ts, host, {', '.join(columns)}"
        f" FROM {table.name} WINDOW w AS (PARTITION BY {keys} ORDER BY ts)",
        f"COMMENT ON VIEW {name} IS {quote(help)}",
    ]
