"""Facts that one query decides: counters that rose and levels that were bad, as ``rules.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
from trainwreck_agent.schema import tables

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, same

_WORD = re.compile(r"[a-z_0-9]+", re.ASCII)


class Counter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A counter that rose by ``at_least`` in the window."""

    kind: str
    view: str
    column: str
    text: str
    """``{delta}`` and the labels can be named."""
    by: list[str] = []
    """Labels that tell one thing from another, ``host`` apart."""
    at_least: int = 1
    where: str = "true"
    device: str = ""
    """The label that names the device."""
    signal: int = 0
    """Counts deaths by this signal: left out where the ends of the processes asked about were
    recorded and none was by it. The counter is the whole host's."""


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition that held in ``samples`` rows of the window."""

    kind: str
    view: str
    where: str
    text: str
    """``{value}``, ``{samples}`` and the labels can be named."""
    by: list[str] = []
    value: str = "count(*)"
    """An aggregate over the rows in which it held."""
    samples: int = 1
    device: str = ""


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    counter: list[Counter]
    level: list[Level]

    def every(self) -> list[Counter | Level]:
        """All of them, counters first."""
        return [*self.counter, *self.level]


@cache
def rules() -> Rules:
    """The built-in rules."""
    return msgspec.toml.decode(Path(__file__).with_name("rules.toml").read_bytes(), type=Rules)


@cache
def reads() -> dict[str, set[str]]:
    """Columns by view that the rules name."""
    found: dict[str, set[str]] = {}
    for rule in rules().every():
        known = {column.name for column in tables()[rule.view].columns}
        own = rule.column if isinstance(rule, Counter) else rule.value
        words = set(_WORD.findall(" ".join((own, rule.where, *rule.by))))
        found.setdefault(rule.view, set()).update(words & known)
    found["process"] |= {"job"}
    return found


def find(recording: Recording) -> Iterator[Fact]:
    """Yield a fact for every thing to which a rule applies."""
    for counter in rules().counter:
        if counter.view in recording.empty:
            continue
        during = _during(counter, recording)
        for row in recording.rows(counter_sql(counter, during)):
            signals = (counter.signal,) if counter.signal else ()
            if signals and not recording.may_be_ours(row["host"], None, signals, row["ts"]):
                continue
            yield _fact(counter, row, during, float(row["delta"]))
    for level in rules().level:
        if level.view in recording.empty:
            continue
        during = _during(level, recording)
        for row in recording.rows(level_sql(level, during)):
            value = None if row["value"] is None else float(row["value"])
            yield _fact(level, row, during, value)


def _during(rule: Counter | Level, recording: Recording) -> str:
    """The condition on the rows: of the window, and of the jobs asked about where it tells."""
    of_job = f" AND {recording.of_job}" if rule.view == "process" else ""
    return recording.during + of_job


def _fact(rule: Counter | Level, row: Row, during: str, value: float | None) -> Fact:
    those = " AND ".join([during, *(same(label, row[label]) for label in ("host", *rule.by))])
    sql = counter_sql(rule, those) if isinstance(rule, Counter) else level_sql(rule, those)
    told = {key: "unknown" if cell is None else cell for key, cell in row.items()}
    device = None if not rule.device or row[rule.device] is None else str(row[rule.device])
    return fact(rule.kind, rule.text.format(**told), row, sql, value=value, device=device)


def counter_sql(rule: Counter, during: str) -> str:
    """The query of a counter: each rise counts, a reset does not."""
    keys = ", ".join(("host", *rule.by))
    return (
        f"SELECT {keys}, min(ts) FILTER (WHERE rise > 0) AS ts,"
        " sum(rise) FILTER (WHERE rise > 0)::BIGINT AS delta"
        f" FROM (SELECT ts, {keys}, {rule.column} - lag({rule.column}) OVER"
        f" (PARTITION BY {keys} ORDER BY ts) AS rise FROM {rule.view}"
        f" WHERE {during} AND ({rule.where})) GROUP BY {keys}"
        f" HAVING sum(rise) FILTER (WHERE rise > 0) >= {rule.at_least} ORDER BY ts"
    )


def level_sql(rule: Level, during: str) -> str:
    """The query of a level."""
    keys = ", ".join(("host", *rule.by))
    return (
        f"SELECT {keys}, min(ts) AS ts, max(ts) AS last, count(*) AS samples,"
        f" {rule.value} AS value FROM {rule.view} WHERE {during} AND ({rule.where})"
        f" GROUP BY {keys} HAVING count(*) >= {rule.samples} ORDER BY ts"
    )
