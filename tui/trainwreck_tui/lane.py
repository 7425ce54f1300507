"""A lane of the timeline: what is drawn, and the SQL that reads it.

Every query takes ``$host``, ``$start`` and ``$end`` and gives ``ts``, ``name`` (of the line in the
lane, '' where there is one only) and ``value`` (NULL: not known then). Only public views are named.
"""

from __future__ import annotations

from dataclasses import dataclass

SPAN = "host = $host AND ts BETWEEN $start AND $end"


def gauge(view: str, column: str, name: str = "''", where: str = "true") -> str:
    """A column as it was read."""
    return (
        f"SELECT ts, {name} AS name, {column}::DOUBLE AS value FROM {view}"
        f" WHERE {SPAN} AND {where} ORDER BY ts"
    )


def rate(
    view: str, column: str, keys: str, name: str, where: str = "true", scale: str = "1"
) -> str:
    """Counters as rates per second, times ``scale``; NULL across a reset.

    The span is cut before the window function runs, so that a store of days costs no more.
    """
    delta = f"({column}) - lag({column}) OVER w"
    return (
        f"SELECT ts, {name} AS name, CASE WHEN {delta} >= 0 THEN {scale} * ({delta})"
        " / nullif(epoch(ts) - lag(epoch(ts)) OVER w, 0) END AS value"
        f" FROM {view} WHERE {SPAN} AND {where}"
        f" WINDOW w AS (PARTITION BY {keys} ORDER BY ts) ORDER BY ts"
    )


@dataclass(frozen=True, slots=True)
class Lane:
    """One chart over time."""

    key: str
    title: str
    sql: str
    unit: str
    """As ``units.value`` takes it."""
    causes: frozenset[str] = frozenset()
    """Codes of causes, or domains, that it proves or disproves: then it comes first."""
    low: float | None = 0.0
    """The axis reaches down to this; None: to the smallest value."""
    high: float | None = None
    """The axis reaches up to this; None: to the largest value."""


def causes_of(*codes: str) -> frozenset[str]:
    """What a lane is looked at for."""
    return frozenset(codes)
