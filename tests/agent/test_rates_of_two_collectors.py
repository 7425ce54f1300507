"""Core times and core frequencies are rows of one table, from two collectors at two paces."""

from __future__ import annotations

import duckdb
from trainwreck_agent.tables.system import CPU
from trainwreck_agent.views import create_rate_view


def test_rates_of_a_core_skip_the_other_collectors_rows() -> None:
    connection = duckdb.connect()
    columns = ", ".join(f"{column.name} {column.type}" for column in CPU.columns)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TABLE cpu (ts TIMESTAMPTZ, host VARCHAR, {columns})")
    connection.execute(
        "INSERT INTO cpu (ts, host, core, user_ticks, core_throttle_count) VALUES"
        " ('2026-01-01 00:00:00', 'a', '0', 100, NULL), ('2026-01-01 00:00:03', 'a', '0', NULL, 7),"
        " ('2026-01-01 00:00:10', 'a', '0', 600, NULL), ('2026-01-01 00:00:13', 'a', '0', NULL, 27)"
    )
    for statement in create_rate_view(CPU):
        connection.execute(statement)
    rates = connection.execute(
        "SELECT user_ticks_per_s, core_throttle_count_per_s FROM cpu_per_s ORDER BY ts"
    ).fetchall()
    assert rates == [(None, None), (None, None), (50.0, None), (None, 2.0)]
