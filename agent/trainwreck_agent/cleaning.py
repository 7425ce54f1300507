"""Takes away what a newer segment replaced, so that no reader ever misses a file or a row.

A file is emptied first, when no query that saw its span can still be running, and deleted later.
``python -m trainwreck_agent.cleaning DIR`` does so in a process that loads no database.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from trainwreck_agent.layout import DataDirectoryError, Layout, Span

GRACE_S = 60
"""From when a span is visible to the emptying of what it replaced: as long may a query take."""
SWEEP_EVERY_S = 3600
"""What is emptied still costs a query its opening, so it does not stay long."""
SWEEP_AT_LAST_S = 6 * 3600
"""Readers of ours are waited for, but not for ever."""


def clean(layout: Layout, now_us: int) -> int:
    """Empty what a visible span replaced more than ``GRACE_S`` ago; the number of files emptied.

    Files without a marker that are older than the grace are leavings of a killed sealer. A file is
    emptied first and deleted an hour later, many at once: a reader that listed it and opens it a
    moment later finds no rows in it, but finds it.
    """
    before = now_us - GRACE_S * 1_000_000
    spans = settle(layout, before)
    old = [s for s in spans if any(o.covers(s) and o.settled for o in spans)]
    sealed_through = max((s.last for s in spans if s.settled), default=0)
    doomed = [layout.journal_path(n) for n in layout.journals() if 0 < n <= sealed_through]
    for span in old:
        doomed += segments(layout, span)
    known = {s.active_us for s in spans} | {0}
    for path in layout.segments.glob("*/[0-9]*.parquet"):
        segment = path.name.split(".")[1]
        if segment.isdigit() and int(segment) not in known and int(segment) < before:
            doomed.append(path)
    full = [path for path in doomed if not _is_empty(path)]
    for path in full:
        _empty(layout, path)
    for name in (name for span in old for name in span.markers):
        (layout.sealed / name).unlink(missing_ok=True)
    for path in layout.segments.glob("*/.*"):
        if path.stat().st_mtime * 1e6 < before:
            path.unlink(missing_ok=True)
    _sweep(layout, [path for path in doomed if path not in full], now_us)
    return len(full)


def _empty_segment(path: Path) -> Path:
    return next(path.parent.glob("0000000000-0000000000.*.parquet"))


def _is_empty(path: Path) -> bool:
    if path.suffix == ".tsv":
        return path.stat().st_size == 0
    return path.stat().st_ino == _empty_segment(path).stat().st_ino


def _empty(layout: Layout, path: Path) -> None:
    """Leave a file without rows in the place of one that nobody needs any more.

    Another file, not the same one cut short: who has opened it reads it to its old end.
    """
    beside = layout.state / f"empty.{os.getpid()}"
    beside.unlink(missing_ok=True)
    if path.suffix == ".tsv":
        beside.touch(mode=0o640)
    else:
        beside.hardlink_to(_empty_segment(path))
    beside.replace(path)


def _sweep(layout: Layout, empty: list[Path], now_us: int) -> None:
    """Delete the emptied files, now and then, when no reader of ours is about to open one."""
    stamp = layout.state / "swept"
    if not stamp.exists():
        stamp.touch()
    age_s = now_us / 1e6 - stamp.stat().st_mtime
    if age_s < SWEEP_EVERY_S:
        return
    from trainwreck_agent import store

    with (layout.state / store.READING).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if age_s < SWEEP_AT_LAST_S:
                return
        for path in empty:
            path.unlink(missing_ok=True)
    stamp.touch()


def settle(layout: Layout, before: int) -> list[Span]:
    """Give spans that became visible before that time a marker that no clock hides.

    The first marker goes a grace later: who lists the folder meanwhile finds one of the two.
    """
    for span in layout.spans():
        first, settled = (layout.sealed / name for name in span.markers)
        if not span.settled and span.active_us < before:
            settled.touch(mode=0o640)
        elif span.settled and settled.stat().st_mtime * 1e6 < before:
            first.unlink(missing_ok=True)
    layout.sync_folder(layout.sealed)
    return layout.spans()


def segments(layout: Layout, span: Span) -> list[Path]:
    """The Parquet files of a span."""
    return list(layout.segments.glob(f"*/{span.segment}.parquet"))


def size_bytes(layout: Layout, span: Span) -> int:
    """Bytes in them."""
    return sum(path.stat().st_size for path in segments(layout, span))


def alone(layout: Layout, *, wait: bool) -> bool:
    """Become the one sealer of a directory until the process ends; False: there is another."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(layout.state / "sealer.lock", flags, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        return False
    return True


def main(arguments: list[str]) -> int:
    """Clean the directory that is named; the exit code."""
    os.umask(0o027)
    layout = Layout(arguments[0])
    try:
        layout.meta()
        if alone(layout, wait=False):
            clean(layout, time.time_ns() // 1000)
    except (OSError, DataDirectoryError) as error:
        sys.stderr.write(f"<3>trainwreck.cleaning: {layout.root}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
