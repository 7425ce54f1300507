"""Deletes the oldest segments, by age and by bytes, but none around a pinned incident.

A span goes as a whole: by age when its newest row is too old, by bytes oldest first until what is
left fits. Its marker goes now, and its rows with it; its files go with the next ``seal.clean``,
when no query reads them any more. A file ``incidents/ID.pin`` pins what was recorded around the
incident of that name.
"""

from __future__ import annotations

import logging

import duckdb

from trainwreck_agent import seal, views
from trainwreck_agent.layout import Layout, Span

log = logging.getLogger("trainwreck.seal")

BEFORE_US = 3_600_000_000
AFTER_US = 600_000_000
"""What is kept around a pinned incident: an hour before it, ten minutes after it."""
DAY_US = 86_400_000_000


def retain(layout: Layout, retain_days: float, max_bytes: int, now_us: int) -> list[Span]:
    """Delete spans that are too old or too many; those that went. 0: no such limit."""
    spans = [span for span in seal.in_force(layout.spans()) if span.settled]
    limit_us = now_us - int(retain_days * DAY_US) if retain_days else None
    sizes = {span: seal.size_bytes(layout, span) for span in spans}
    left_bytes = sum(sizes.values()) + _unsealed_bytes(layout)
    gone = []
    windows = pinned(layout)
    for span in spans:
        too_many = max_bytes and left_bytes > max_bytes
        if not too_many and limit_us is None:
            break
        first_us, last_us = times(layout, span)
        if not too_many and limit_us is not None and last_us >= limit_us:
            continue
        if any(start <= last_us and first_us <= end for start, end in windows):
            continue
        for name in span.markers:
            (layout.sealed / name).unlink(missing_ok=True)
        left_bytes -= sizes[span]
        gone.append(span)
    layout.sync_folder(layout.sealed)
    return gone


def times(layout: Layout, span: Span) -> tuple[int, int]:
    """Time of a span's oldest and newest row, µs since 1970; that of its sealing if it has none.

    A row can be older than its span (a kernel line of hours ago) and is then what pins it. None is
    newer than the sealing, unless the clock was wrong.
    """
    files = [views.quote(str(path)) for path in seal.segments(layout, span)]
    if not files:
        return span.active_us, span.active_us
    every = " UNION ALL ".join(f"SELECT ts FROM read_parquet({file})" for file in files)
    found = duckdb.connect(":memory:", config={"threads": 1}).execute(
        f"SELECT epoch_us(min(ts)), epoch_us(max(ts)) FROM ({every})"
    )
    ((first_us, last_us),) = found.fetchall()
    if first_us is None:
        return span.active_us, span.active_us
    return first_us, min(last_us, span.active_us)


def pinned(layout: Layout) -> list[tuple[int, int]]:
    """Start and end (µs since 1970) of what is kept around each pinned incident.

    Everything, where a pin stands for an incident whose time cannot be read.
    """
    return [_window(layout, pin.stem) for pin in sorted(layout.incidents.glob("*.pin"))]


def _window(layout: Layout, name: str) -> tuple[int, int]:
    """The line of an incident is ``incident<TAB>ts_us<TAB>id<TAB>ended_us<TAB>…``."""
    path = layout.incidents / f"{name}.tsv"
    try:
        cells = path.read_text("utf-8", "replace").split("\t")
        start_us = int(cells[1])
        end_us = int(cells[3]) if cells[3] else start_us
    except (OSError, ValueError, IndexError):
        log.error("%s: the time of a pinned incident is not there; nothing is deleted", path)
        return 0, 1 << 62
    return start_us - BEFORE_US, max(start_us, end_us) + AFTER_US


def _unsealed_bytes(layout: Layout) -> int:
    done = max((span.last for span in layout.spans()), default=0)
    return sum(layout.journal_path(n).stat().st_size for n in layout.journals() if n > done)
