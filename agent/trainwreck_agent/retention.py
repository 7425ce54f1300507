"""Deletes what is too old or too much, oldest first, but nothing around a pinned incident.

A span goes as a whole where no row of it may stay; its marker goes now, and its rows with it; its
files go with the next ``cleaning.clean``, when no query reads them any more. Where a limit cuts a
span, it is written again without what must go, as soon as that is a good part of it: no row goes
before its time, and none stays longer than an eighth of a span beyond it. A clock that leaps ahead
costs a day of rows each time this runs, not everything.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress

import duckdb

from trainwreck_agent import cleaning, pins, seal, views
from trainwreck_agent.layout import Layout, Span

log = logging.getLogger("trainwreck.seal")

DAY_US = 86_400_000_000
CUT_SHARE = 8
"""A span is written again when an eighth of its rows must go: one of 64 hours, every eight."""
BYTES_SHARE = 4
"""By bytes, quarters of a span go, so that it is not written again every quarter of an hour."""


def retain(layout: Layout, retain_days: float, max_bytes: int, now_us: int) -> list[Span]:
    """Delete rows that are too old or too many; the spans that went. 0: no such limit."""
    spans = seal.in_force(layout.spans())
    limit_us = _limit_us(layout, retain_days, now_us) if retain_days else 0
    sizes = {span: cleaning.size_bytes(layout, span) for span in spans}
    left_bytes = sum(sizes.values()) + _unsealed_bytes(layout)
    windows = pins.windows(layout)
    gone = []
    for span in spans:
        excess_bytes = left_bytes - max_bytes if max_bytes else 0
        if not span.settled or (excess_bytes <= 0 and not limit_us):
            break  # not settled: written again just now; nothing newer goes before it
        sealed_us = min(after.active_us for after in spans if after.first >= span.first)
        first_us, last_us = times(layout, span, sealed_us)
        before_us = limit_us
        if excess_bytes > 0:
            before_us = max(limit_us, _cut_us(first_us, last_us, excess_bytes / sizes[span]))
        share = 0.0
        if before_us > first_us:
            share = doomed_share(layout, span, before_us, windows, sealed_us)
        if share == 1.0:
            for name in span.markers:
                (layout.sealed / name).unlink(missing_ok=True)
            gone.append(span)
        elif seal.replaceable(span) and (
            share >= 1 / CUT_SHARE or (excess_bytes > 0 and share > 0)
        ):
            seal.cut(layout, span, f"NOT ({_doomed(before_us, windows, sealed_us)})")
        else:
            continue
        left_bytes -= int(sizes[span] * share)
    layout.sync_folder(layout.sealed)
    return gone


def _limit_us(layout: Layout, retain_days: float, now_us: int) -> int:
    """The time before which rows go: at most a day later than when this was asked before."""
    limit_us = now_us - int(retain_days * DAY_US)
    path = layout.state / "retained"
    with suppress(OSError, ValueError):  # asked for the first time
        limit_us = min(limit_us, int(path.read_text()) + DAY_US)
    beside = layout.state / f"retained.{os.getpid()}"
    beside.write_text(str(limit_us))
    beside.replace(path)
    return limit_us


def excess_bytes(layout: Layout, max_bytes: int) -> int:
    """How much more is kept than allowed, because it is pinned; 0: nothing, or no limit."""
    if not max_bytes or not pins.names(layout):
        return 0
    spans = seal.in_force(layout.spans())
    kept = sum(cleaning.size_bytes(layout, span) for span in spans) + _unsealed_bytes(layout)
    return max(0, kept - max_bytes)


def _cut_us(first_us: int, last_us: int, share: float) -> int:
    """The time before which that share of a span lies, rounded up; beyond its end for all of it."""
    quarters = math.ceil(share * BYTES_SHARE)
    return first_us + (last_us - first_us) * quarters // BYTES_SHARE + (quarters >= BYTES_SHARE)


def _doomed(before_us: int, windows: list[tuple[int, int]], sealed_us: int) -> str:
    """SQL condition: a row is older than that and in none of the windows.

    None is newer than its sealing: where it says so, the clock was wrong.
    """
    outside = "".join(f" AND epoch_us(ts) NOT BETWEEN {a} AND {b}" for a, b in windows)
    return f"least(epoch_us(ts), {sealed_us}) < {before_us}{outside}"


def _every_ts(layout: Layout, span: Span) -> str | None:
    """SELECT of the times of all rows of a span; None: it has no files."""
    files = [views.quote(str(path)) for path in cleaning.segments(layout, span)]
    return " UNION ALL ".join(f"SELECT ts FROM read_parquet({f})" for f in files) or None


def doomed_share(
    layout: Layout, span: Span, before_us: int, windows: list[tuple[int, int]], sealed_us: int
) -> float:
    """Share of a span's rows that must go, 0 … 1; 1 too where it has none."""
    every = _every_ts(layout, span)
    if every is None:
        return float(sealed_us < before_us)
    condition = _doomed(before_us, windows, sealed_us)
    connection = duckdb.connect(":memory:", config={"threads": 1})
    ((count, doomed),) = connection.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {condition}) FROM ({every})"
    ).fetchall()
    return float(doomed / count) if count else float(sealed_us < before_us)


def times(layout: Layout, span: Span, sealed_us: int) -> tuple[int, int]:
    """Time of a span's oldest and newest row, µs since 1970; that of its sealing if it has none.

    A row can be older than its span (a kernel line of hours ago). None is newer than the sealing,
    unless the clock was wrong.
    """
    every = _every_ts(layout, span)
    if every is None:
        return sealed_us, sealed_us
    found = duckdb.connect(":memory:", config={"threads": 1}).execute(
        f"SELECT epoch_us(min(ts)), epoch_us(max(ts)) FROM ({every})"
    )
    ((first_us, last_us),) = found.fetchall()
    if first_us is None:
        return sealed_us, sealed_us
    return min(first_us, sealed_us), min(last_us, sealed_us)


def _unsealed_bytes(layout: Layout) -> int:
    done = max((span.last for span in layout.spans()), default=0)
    return sum(layout.journal_path(n).stat().st_size for n in layout.journals() if n > done)
