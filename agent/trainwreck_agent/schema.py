"""What a table is, and which tables there are: the contract between the recorder and its readers.

A table is declared once, as data. From that one declaration come the journal's line, the Parquet
segment, the view with its comments in ``trainwreck.duckdb``, and ``docs/schema.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

SCHEMA_VERSION = 1
"""Of the data directory. A directory of another version is refused, never migrated."""


class Kind(StrEnum):
    """How a column's value behaves in time."""

    LABEL = "label"
    """Names what the row is about; together with ``ts`` the labels identify a row."""
    GAUGE = "gauge"
    """A level, true at ``ts``."""
    COUNTER = "counter"
    """Only grows until it is reset; stored as read. ``<table>_per_s`` makes rates of it."""
    TEXT = "text"
    """Free text."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name carries its unit."""

    name: str
    type: str
    """A DuckDB type: BIGINT, DOUBLE, VARCHAR, BOOLEAN or TIMESTAMPTZ (in the journal: µs UTC)."""
    kind: Kind
    help: str
    """Meaning, unit, and what NULL says."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the store. ``ts`` and ``host`` come first in every one and are not listed."""

    name: str
    help: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"table {self.name}: a column is declared twice")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns, in order."""
        return tuple(c.name for c in self.columns if c.kind is Kind.LABEL)

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of the counter columns, in order."""
        return tuple(c.name for c in self.columns if c.kind is Kind.COUNTER)


def label(name: str, help: str, type: str = "VARCHAR") -> Column:
    """A column that names the row's subject."""
    return Column(name, type, Kind.LABEL, help)


def gauge(name: str, help: str, type: str = "BIGINT") -> Column:
    """A column that holds a level."""
    return Column(name, type, Kind.GAUGE, help)


def counter(name: str, help: str) -> Column:
    """A column that holds a count since boot, driver load or device reset."""
    return Column(name, "BIGINT", Kind.COUNTER, help)


def text(name: str, help: str) -> Column:
    """A column of free text."""
    return Column(name, "VARCHAR", Kind.TEXT, help)


def flag(name: str, help: str) -> Column:
    """A column that is true or false."""
    return Column(name, "BOOLEAN", Kind.GAUGE, help)


def tables() -> dict[str, Table]:
    """Every table of the contract by name, in the order of ``docs/schema.md``."""
    from trainwreck_agent.tables import devices, events, gpu, process, system

    found: dict[str, Table] = {}
    for table in _declared(system, devices, gpu, process, events):
        if table.name in found:
            raise ValueError(f"table {table.name} is declared twice")
        found[table.name] = table
    return found


def _declared(*modules: object) -> Iterator[Table]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Table):
                yield value
