"""Turns finished journals into Parquet segments: a short-lived, niced child of the recorder.

``python -m trainwreck_agent.seal DIR --through N`` seals every journal up to N that is not sealed
yet, merges small segments into large ones, and deletes what is older or larger than allowed.
Killed at any point it leaves the directory readable: nothing counts before its marker is there.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb

from trainwreck_agent import cleaning, log_position, retention, store, views
from trainwreck_agent.layout import DataDirectoryError, Layout, Span
from trainwreck_agent.schema import Kind, Table, tables
from trainwreck_agent.sealer import PINNED_CODE

log = logging.getLogger("trainwreck.seal")

ACTIVE_AFTER_S = 30
"""From the choice of a span's id to the moment it becomes visible: the time to write its files."""
LONGER = (1, 4, 16, 64)
"""So many times that, where it was not enough: on a busy machine this niced process gets little."""
JOURNALS_PER_LONGER = 16
"""So many quarter hours merged are given the first of these times; more of them, a longer one."""
MERGE_COUNT = 8
MERGE_JOURNALS_MAX = 256
"""Segments grow to this many journals (64 hours of quarters): each file is a query's opening. Not
more, since of one that retention cuts an eighth may stay too long."""
MEMORY_LIMIT = "128MB"
ROW_GROUP_ROWS = (34_816, 122_880)
"""Fewest and most. They bound the memory of writing a wide table, and let a reader skip hours it
does not want; but each is a hundredth of a millisecond of every query."""
ROW_GROUP_CELLS = 3_600_000
OOM_SCORE_ADJUSTMENT = 500
"""Rather this process than the recorder or a rank: what it leaves undone is done next time."""
TEXT_CELLS = 24
"""Numbers that a free text counts for; a label counts for four."""


def seal(layout: Layout, through: int) -> Span | None:
    """Seal the unsealed journals up to number ``through`` together; None: there was nothing.

    Raises:
        OSError, duckdb.Error: Nothing was sealed; the journals are as they were.
    """
    done = max((span.last for span in layout.spans()), default=0)
    numbers = [n for n in layout.journals() if done < n <= through]
    if not numbers:
        return None
    return _in_time(layout, lambda active_us: _seal(layout, numbers, active_us))


def _seal(layout: Layout, numbers: list[int], active_us: int) -> Span:
    span = Span(numbers[0], numbers[-1], active_us)
    connection = _database(layout)
    files = ", ".join(views.quote(str(layout.journal_path(n))) for n in numbers)
    source = views.lines("?").replace(views.quote("?"), f"[{files}]")
    connection.execute(f"CREATE TEMP TABLE lines AS SELECT line FROM {source}")
    found = connection.execute("SELECT DISTINCT split_part(line, chr(9), 1) FROM lines").fetchall()
    names = {str(name) for (name,) in found}
    for table in tables().values():
        if table.name in names:
            order = ", ".join((*table.labels, "ts"))
            _write(
                connection, layout, table, span, f"{views.rows(table, 'lines')} ORDER BY {order}"
            )
    connection.close()
    log_position.carry_over(layout, numbers)
    return _publish(layout, span)


def merge(layout: Layout, max_bytes: int = 0, retain_days: float = 0) -> Span | None:
    """Make one segment of the oldest run of small ones; None: there are not enough of them.

    None too where it would be more than an eighth of what may be kept: retention deletes segments.
    """
    run = _run_to_merge(in_force(layout.spans()))
    if not run or (
        max_bytes and sum(cleaning.size_bytes(layout, part) for part in run) > max_bytes // 8
    ):
        return None
    age_us = run[-1].active_us - run[0].active_us
    if retain_days and age_us > retain_days * retention.DAY_US / 8:
        return None
    journals = run[-1].last - run[0].first + 1
    return _in_time(layout, lambda active_us: _merge(layout, run, active_us), journals)


def _merge(layout: Layout, run: list[Span], active_us: int) -> Span:
    span = Span(run[0].first, run[-1].last, active_us)
    connection = _database(layout)
    for table in tables().values():
        paths = [layout.segment_path(table.name, part) for part in run]
        there = ", ".join(views.quote(str(path)) for path in paths if path.exists())
        if there:
            query = f"SELECT * EXCLUDE (segment) FROM read_parquet([{there}])"
            _write(connection, layout, table, span, query)
    connection.close()
    return _publish(layout, span)


def cut(layout: Layout, span: Span, kept: str) -> Span:
    """Replace a segment by one with only the rows for which an SQL condition holds."""
    journals = span.last - span.first + 1
    return _in_time(layout, lambda active_us: _cut(layout, span, kept, active_us), journals)


def _cut(layout: Layout, span: Span, kept: str, active_us: int) -> Span:
    made = Span(span.first, span.last, active_us)
    connection = _database(layout)
    for table in tables().values():
        path = layout.segment_path(table.name, span)
        if path.exists():
            rows = f"FROM read_parquet({views.quote(str(path))}) WHERE {kept}"
            _write(connection, layout, table, made, f"SELECT * EXCLUDE (segment) {rows}")
    connection.close()
    return _publish(layout, made)


def in_force(spans: Iterable[Span]) -> list[Span]:
    """The spans that no newer one covers, in order."""
    every = list(spans)
    return sorted(s for s in every if not any(other.covers(s) for other in every))


def _run_to_merge(spans: list[Span]) -> list[Span]:
    """The oldest ``MERGE_COUNT`` neighbours of one size class, small enough to be merged."""
    for size in (1, MERGE_COUNT, MERGE_COUNT**2):
        below = min(size * MERGE_COUNT, MERGE_JOURNALS_MAX)
        run: list[Span] = []
        for span in spans:
            journals = span.last - span.first + 1
            fits = size <= journals < below and replaceable(span)
            run = [*run, span] if fits else []
            total = run[-1].last - run[0].first + 1 if run else 0
            if len(run) == MERGE_COUNT or total >= MERGE_JOURNALS_MAX:
                return run if len(run) > 1 else []
    return []


def drop_future(layout: Layout) -> list[Span]:
    """Take back spans that wait for a time no clock of today would give: it was set back since.

    Nobody saw them, and their journals are still there to be sealed again.
    """
    gone = []
    for span in layout.spans():
        if (
            not span.settled
            and span.active_us > time.time_ns() // 1000 + LONGER[-1] * ACTIVE_AFTER_S * 1_000_000
        ):
            (layout.sealed / span.segment).unlink(missing_ok=True)
            for path in cleaning.segments(layout, span):
                path.unlink(missing_ok=True)
            gone.append(span)
    return gone


def _in_time(layout: Layout, make: Callable[[int], Span], journals: int = 1) -> Span:
    """What ``make`` makes of the time when its span becomes visible; with more time if need be.

    Raises:
        TimeoutError: It was not done within the longest time either.
    """
    least = min(journals / JOURNALS_PER_LONGER, LONGER[-1])
    for longer in (n for n in LONGER if n >= least):
        try:
            return make(_active_us(layout, longer))
        except TimeoutError as error:
            if longer == LONGER[-1]:
                raise
            log.warning("%s: %s; tried again with more time", layout.root, error)
    raise AssertionError("LONGER is empty")


def _active_us(layout: Layout, longer: int) -> int:
    """When a span chosen now becomes visible; the same time as no other one."""
    taken = {span.active_us for span in layout.spans()}
    active_us = time.time_ns() // 1000 + longer * ACTIVE_AFTER_S * 1_000_000
    while active_us in taken:
        active_us += 1
    return active_us


def replaceable(span: Span) -> bool:
    """Whether a span made now would be the newer one: not if this one is from a wrong clock."""
    return span.active_us <= time.time_ns() // 1000 + ACTIVE_AFTER_S * 1_000_000


def _database(layout: Layout) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY_LIMIT,
            # One thread reads the files one after the other: their order is kept without a buffer.
            "preserve_insertion_order": False,
            "temp_directory": str(layout.state / "spill"),
        },
    )


def row_group_rows(table: Table) -> int:
    """Rows of a row group, by how many cells a row has."""
    texts = [c.kind for c in table.columns if c.type == "VARCHAR"]
    cells = len(table.columns) + sum(4 if k is Kind.LABEL else TEXT_CELLS for k in texts)
    fewest, most = ROW_GROUP_ROWS
    return max(fewest, min(most, ROW_GROUP_CELLS // cells // 2048 * 2048))


def _write(
    connection: duckdb.DuckDBPyConnection, layout: Layout, table: Table, span: Span, query: str
) -> None:
    path = layout.segment_path(table.name, span)
    beside = layout.state / f"sealing.{table.name}.parquet"  # no glob of a view finds it there
    connection.execute(
        f"COPY (SELECT *, {span.active_us}::BIGINT AS segment FROM ({query}))"
        f" TO {views.quote(str(beside))}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group_rows(table)})"
    )
    beside.chmod(0o640)
    layout.sync_file(beside)
    beside.replace(path)


def _publish(layout: Layout, span: Span) -> Span:
    """Write the marker; a span that is too late for its own time is taken back."""
    if time.time_ns() // 1000 > span.active_us - 2_000_000:
        for path in cleaning.segments(layout, span):
            path.unlink(missing_ok=True)
        raise TimeoutError(f"sealing {span.stem} took too long")
    for folder in layout.segments.iterdir():
        layout.sync_folder(folder)
    (layout.sealed / span.segment).touch(mode=0o640)
    layout.sync_folder(layout.sealed)
    return span


def main(arguments: list[str] | None = None) -> int:
    """Seal, merge, retain, clean; the exit code."""
    parser = argparse.ArgumentParser(prog="trainwreck_agent.seal", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--through", type=int, default=0, help="newest journal to seal; 0: none")
    parser.add_argument("--retain-days", type=float, default=0, help="0: keep for ever")
    parser.add_argument("--max-bytes", type=int, default=0, help="0: no limit")
    parser.add_argument("--prepare", action="store_true", help="write the database file and stop")
    options = parser.parse_args(arguments)
    os.umask(0o027)
    layout = Layout(options.directory)
    now_us = time.time_ns() // 1000
    limits = (options.retain_days, options.max_bytes)
    steps: list[Callable[[], object]] = [
        lambda: drop_future(layout),
        lambda: seal(layout, options.through),
        lambda: merge(layout, options.max_bytes, options.retain_days),
        lambda: cleaning.clean(layout, now_us),
        lambda: retention.retain(layout, *limits, now_us),
    ]
    if options.prepare:
        steps = [] if store.is_prepared(layout) else [lambda: store.prepare(layout)]
    try:
        layout.meta()
        if not cleaning.alone(layout, wait=options.prepare):
            return 0  # the sealer of a killed recorder is still at it
    except (OSError, DataDirectoryError) as error:
        log.error("%s", error)
        return 1
    failed = _run(layout, steps)
    return failed or PINNED_CODE * bool(retention.excess_bytes(layout, options.max_bytes))


def be_killed_first() -> None:
    """Where memory ends; the recorder's own protection from that was inherited."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUSTMENT))


def _run(layout: Layout, steps: Iterable[Callable[[], object]]) -> int:
    failed = 0
    for step in steps:  # one that fails must not keep the next from making room
        try:
            step()
        except (OSError, duckdb.Error) as error:
            failed = 1
            log.error("%s: %s", layout.root, str(error).splitlines()[0])
    return failed


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="<3>%(name)s: %(message)s")
    be_killed_first()
    sys.exit(main())
