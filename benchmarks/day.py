"""A day of an 8-GPU host, simulated fast: bytes, files, memory, and how fast it answers.

``python -m benchmarks.day [--hours 24] [--days 30]`` writes rows of the real tables through the
real journal, seals and merges as the recorder would, and then asks from a second process, as a reader
would. ``--days`` repeats the sealed day so many times, with times of its own in the tables that are
asked for and hard links for the others, for queries over a month. ``--folder`` keeps the data there;
what was written by an earlier run is only asked.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from trainwreck_agent import cleaning, seal, store
from trainwreck_agent.collector import Row, Value
from trainwreck_agent.journal import Journal, encode
from trainwreck_agent.layout import Layout, Span
from trainwreck_agent.schema import Kind, Table, tables

GPUS = 8
JOURNAL_TICKS = 900
START_US = 1_760_000_000_000_000
SUBJECTS = {
    "gpu": [f"GPU-{i:08x}" for i in range(GPUS)],
    "cpu": ["all"],
    "memory": [""],
    "vmstat": [""],
    "pressure": ["cpu", "memory", "io"],
    "disk": ["nvme0n1", "nvme1n1"],
    "network": ["eth0", "ib0", "ib1", "lo"],
    "infiniband": [f"mlx5_{i}" for i in range(GPUS)],
    "process": [str(i) for i in range(GPUS)],
}
"""Rows a tick by table; together about 600 filled values."""

QUERIES = {
    "15-minute window, 8 GPUs": """SELECT uuid, avg(power_w), max(temperature_c),
        max(utilization_percent) FROM gpu
        WHERE ts BETWEEN $end - INTERVAL 15 MINUTE AND $end GROUP BY uuid""",
    "day of 1-minute series a GPU": """SELECT uuid, epoch_us(ts) // 60000000 AS minute,
        avg(power_w), max(temperature_c) FROM gpu
        WHERE ts BETWEEN $end - INTERVAL 1 DAY AND $end GROUP BY ALL""",
    "last tick of the host": "SELECT max(ts) FROM memory WHERE ts > $end - INTERVAL 1 MINUTE",
}


ASKED = ("gpu", "memory")


class Signal:
    """A value that behaves like telemetry: slow wandering, small noise, counters that grow."""

    def __init__(self, column: str, kind: Kind) -> None:
        self._random = random.Random(column)
        self._kind = kind
        self._value = self._random.randrange(100, 1_000_000)
        self._still = self._random.random() < 0.6  # most of what a host tells does not move

    def __next__(self) -> int:
        if not self._still:
            step = self._random.randrange(0, 50)
            self._value += step if self._kind is Kind.COUNTER else step - 25
        return self._value


def rows(chosen: dict[str, Table]) -> Iterator[list[Row]]:
    """Yield the rows of one tick after the other."""
    signals = {
        (name, subject, c.name): Signal(name + subject + c.name, c.kind)
        for name, table in chosen.items()
        for subject in SUBJECTS[name]
        for c in table.columns
    }
    while True:
        tick = []
        for name, table in chosen.items():
            for subject in SUBJECTS[name]:
                values: list[Value] = []
                for c in table.columns:
                    if c.type == "VARCHAR":
                        values.append(subject if c.kind is Kind.LABEL else "same")
                    elif c.type == "BOOLEAN":
                        values.append(True)
                    else:
                        values.append(next(signals[name, subject, c.name]))
                tick.append(Row(table, tuple(values)))
        yield tick


def write(layout: Layout, hours: float) -> tuple[int, float, int]:
    """Write the ticks; ``(ticks, values a tick, journal bytes)``."""
    chosen = {name: tables()[name] for name in SUBJECTS}
    journal = Journal(layout)
    source, bytes_written, values = rows(chosen), 0, 0
    ticks = int(hours * 3600)
    sync, os.fdatasync = os.fdatasync, lambda _fd: None  # a day in a minute: no waiting for disks
    try:
        for n in range(ticks):
            tick = next(source)
            lines = [encode(row, START_US + n * 1_000_000) for row in tick]
            journal.append(lines)
            bytes_written += sum(map(len, lines))
            values = sum(1 for row in tick for v in row.values if v is not None)
            if (n + 1) % JOURNAL_TICKS == 0:
                finished = journal.rotate()
                _child("--through", str(finished), layout=layout)
                if n + 1 == ticks - 3600:
                    settle(layout, swept=True)  # what was emptied in the last hour is still there
    finally:
        os.fdatasync = sync
    journal.close()
    return ticks, values, bytes_written


def _child(*options: str, layout: Layout) -> None:
    subprocess.run(
        [sys.executable, "-m", "trainwreck_agent.seal", str(layout.root), *options], check=True
    )


def settle(layout: Layout, *, swept: bool = False) -> None:
    """Let what waits for its time be emptied now; ``swept``: and be deleted."""
    for _ in range(1 + swept):
        if swept:
            (layout.state / "swept").touch()
            os.utime(layout.state / "swept", (0, 0))
        cleaning.clean(layout, time.time_ns() // 1000 + 3_600_000_000)


def multiply(layout: Layout, days: int) -> None:
    """More days: the first one's rows again, merged as they would be by then, times shifted."""
    import duckdb

    spans = seal.in_force(layout.spans())
    last = max(span.last for span in spans)
    together = max(1, seal.MERGE_JOURNALS_MAX // last)
    connection = duckdb.connect(config={"preserve_insertion_order": True})
    for day in range(1, days, together):
        ago = range(min(day + together, days) - 1, day - 1, -1)
        number = day * last
        copy = Span(number + 1, number + len(ago) * last, spans[-1].active_us + day, True)
        for name, table in tables().items():
            paths = [layout.segment_path(name, span) for span in spans]
            there = [str(path) for path in paths if path.exists()]
            if there and name in ASKED:
                shifted = " UNION ALL ".join(
                    f"SELECT * REPLACE (ts - INTERVAL {n} DAY AS ts, {copy.active_us} AS segment)"
                    f" FROM read_parquet({there})"
                    for n in ago
                )
                connection.execute(
                    f"COPY ({shifted}) TO '{layout.segment_path(name, copy)}' (FORMAT parquet,"
                    f" COMPRESSION zstd, ROW_GROUP_SIZE {seal.row_group_rows(table)})"
                )
            elif there:
                layout.segment_path(name, copy).hardlink_to(there[0])
        (layout.sealed / copy.segment).touch()


def ask(layout: Layout) -> None:
    """Print the time of each query, warm, in this process, and what it took of all processors."""
    begin = time.perf_counter()
    connection = store.connect([layout.root])
    print(f"  opening {1000 * (time.perf_counter() - begin):.0f} ms")
    ((end_us,),) = connection.execute("SELECT epoch_us(max(ts)) FROM memory").fetchall()
    for name, query in QUERIES.items():
        query = query.replace("$end", f"to_timestamp({end_us / 1e6})")
        times, busy = [], []
        for _ in range(9):
            begin, cpu = time.perf_counter(), time.process_time()
            connection.execute(query).fetchall()
            times.append(1000 * (time.perf_counter() - begin))
            busy.append(1000 * (time.process_time() - cpu))
        print(
            f"  {name:32} median {statistics.median(times[1:]):6.1f} ms  (first {times[0]:.0f})"
            f"  CPU {statistics.median(busy[1:]):6.1f} ms"
        )


def ask_apart(layout: Layout, what: str) -> None:
    """The same in a process of its own, as a reader's would be."""
    print(f"queries over {what}:", flush=True)
    command = [sys.executable, "-m", "benchmarks.day", "--ask", "--folder", str(layout.root)]
    subprocess.run(command, check=True)


def measure(layout: Layout, hours: float) -> None:
    """Write and seal so many hours; print what they take."""
    layout.create()
    store.prepare(layout)
    begin_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ticks, values, journal_bytes = write(layout, hours)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin_kib
    sealer_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sealing_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    settle(layout)
    files = [p for p in layout.segments.rglob("*.parquet") if "0000000000-" not in p.name]
    size = sum(p.stat().st_size for p in files)
    print(
        f"{ticks} ticks of {values} values: journal {journal_bytes / ticks:.0f} B a tick,"
        f" sealed {size / ticks:.0f} B a tick, {size / 1e6:.0f} MB,"
        f" {len(seal.in_force(layout.spans()))} spans, {len(files)} files"
    )
    print(
        f"sealing {1000 * sealing_s / ticks:.2f} ms CPU a tick,"
        f" peak {sealer_kib / 1024:.0f} MiB; the writing process grew {grown_kib / 1024:.1f} MiB"
    )
    ask_apart(layout, f"{hours:g} hours")


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--ask", action="store_true", help="only ask what is in the folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(options.folder or Path(name) / "data")
        if options.ask:
            ask(layout)
            return
        if layout.sealed.exists() and layout.spans():
            ask_apart(layout, f"what is in {layout.root}")
            return
        measure(layout, options.hours)
        if options.days > 1:
            multiply(layout, options.days)
            ask_apart(layout, f"{options.days} days")


if __name__ == "__main__":
    main()
