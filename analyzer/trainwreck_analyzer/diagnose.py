"""Reads what it is given and says what broke: the investigator's front door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from trainwreck_analyzer import artefacts, logs, looks, source
from trainwreck_analyzer.case import FILE_ORDER, Case, case_of
from trainwreck_analyzer.catalogue import Catalogue, built_in
from trainwreck_analyzer.clocks.recorded import Data
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.host_events import run_first
from trainwreck_analyzer.judge import judge
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.verdict import Diagnosis, Input

if TYPE_CHECKING:
    import duckdb

BEFORE = timedelta(minutes=10)
AFTER = timedelta(minutes=5)
"""Telemetry this long before and after an incident is asked about."""


def diagnose(
    paths: Sequence[Path],
    data: Sequence[Path] = (),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """What went wrong in the logs and data that are given; no incident where nothing did.

    Args:
        paths: Logs, or folders of them; ``-`` is standard input.
        data: Data directories of the recorder.
        progress: Called with bytes done and bytes in all.

    Raises:
        Unreadable: An input cannot be used.
    """
    catalogue = built_in()
    files = source.expand(paths)
    gathered = artefacts.gather(files)
    readings = _read(gathered.rest, catalogue, progress)
    with _recording(data) as connection:
        recorder = Data(connection) if connection is not None else None
        case = case_of(readings, gathered.facts, catalogue, recorder)
        if connection is not None:
            _add_telemetry(case, connection)
            case.leave_out_strangers(catalogue)
    inputs = (*gathered.inputs, *case.inputs(readings))
    if inputs and not case.facts:
        _refuse_what_is_no_log(inputs)
    return Diagnosis(inputs, run_first(judge(case, catalogue), inputs))


def _refuse_what_is_no_log(inputs: Sequence[Input]) -> None:
    """No incident must not be said of what nobody could have read.

    Raises:
        Unreadable: Every input is empty, or more garbage than text.
    """
    where = ", ".join(entry.path for entry in inputs[:3])
    if all(entry.lines == 0 for entry in inputs):
        raise Unreadable("nothing in it", where, "name the log that the run wrote")
    if all(entry.unparsed_lines * 2 > entry.lines or not entry.lines for entry in inputs):
        raise Unreadable("no text", where, "name a log file, not a binary one")


def _read(
    files: Sequence[Path], catalogue: Catalogue, progress: Callable[[int, int], None] | None
) -> list[Reading]:
    total = sum(source.size_bytes(f) for f in files)
    done, readings = 0, []
    shapes = looks.scanner(catalogue)
    for number, path in enumerate(files):
        start = done

        def report(bytes_read: int, start: int = start) -> None:
            if progress:
                progress(start + bytes_read, total)

        readings.append(
            logs.read(
                path,
                catalogue,
                base_order=number * FILE_ORDER,
                progress=report,
                shapes=shapes,
            )
        )
        done = start + source.size_bytes(path)
    if progress:
        progress(total, total)
    return readings


@contextmanager
def _recording(data: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The recorder's views; None where no data are given."""
    if not data:
        yield None
        return
    from trainwreck_agent import store

    try:
        connection = store.connect(data, described=False)
    except store.StoreError as error:
        raise Unreadable("cannot use the data", str(data[0]), str(error)) from error
    with connection:
        yield connection


def _add_telemetry(case: Case, connection: duckdb.DuckDBPyConnection) -> None:
    """Adds what the recorder knows around the facts, or over all its data without any."""
    from trainwreck_analyzer import telemetry

    times = [f.time for f in case.facts if f.time is not None]
    first, last = _recorded(connection)
    window = telemetry.Window(
        min(times) - BEFORE if times else first,
        max(times) + AFTER if times else last,
        telemetry.pids_in(case.facts),
        case.run.job,
        case.finished,
        max(times, default=None),
        telemetry.slowed_at(case.facts),
    )
    case.facts += telemetry.gather(connection, window)
    case.unmeasured += telemetry.not_measured(connection, window)
    case.have |= {"telemetry", "kernel"}


def _recorded(connection: duckdb.DuckDBPyConnection) -> tuple[datetime, datetime]:
    """First and last tick. The kernel's ring buffer holds older lines, which nobody recorded."""
    found = connection.execute("SELECT min(ts), max(ts) FROM memory").fetchall()[0]
    now = datetime.now(UTC)
    return (found[0] or now, (found[1] or now) + timedelta(seconds=1))
