"""``python -m trainwreck_agent.describe``: the page ``docs/schema.md``, made from the tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from trainwreck_agent.schema import SCHEMA_VERSION, tables


def page() -> str:
    """The whole page, Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"# Views of the data directory (schema version {SCHEMA_VERSION})"
    yield ""
    yield "Made by `make schema` from `agent/trainwreck_agent/tables/`; the same texts are the"
    yield "comments in `trainwreck.duckdb`. Every view begins with `ts TIMESTAMPTZ` (µs, UTC) and"
    yield "`host VARCHAR`. NULL means: not known, or not told by this machine. Counters are as"
    yield "read; `<view>_per_s` makes rates of them, NULL across a reset."
    for table in tables().values():
        yield ""
        yield f"## {table.name}"
        yield table.help
        yield ""
        yield "| column | type | kind | meaning |"
        yield "| --- | --- | --- | --- |"
        for column in table.columns:
            help = column.help.replace("|", "\\|")
            yield f"| {column.name} | {column.type} | {column.kind} | {help} |"


if __name__ == "__main__":
    sys.stdout.write(page())
