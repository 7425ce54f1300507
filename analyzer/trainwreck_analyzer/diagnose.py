"""Reads what it is given and says what broke: the investigator's front door."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from trainwreck_analyzer import artefacts, detectors, incidents, logs, source, tell
from trainwreck_analyzer.catalogue import Catalogue, built_in
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.verdict import Diagnosis, Incident, Input, Run, Verdict
from trainwreck_analyzer.weigh import Weighed, supports, weigh

if TYPE_CHECKING:
    import duckdb

_FILE_ORDER = 1 << 32
"""Facts of one file come before those of the next in reading order."""
BEFORE = timedelta(minutes=10)
ASKED_FROM = 0.1
"""Hypotheses at least so probable would have been worth deciding."""
AFTER = timedelta(minutes=5)
"""Telemetry this long before and after an incident is asked about."""


@dataclass(slots=True)
class Case:
    """Everything that was read, before it is judged."""

    facts: list[Fact] = field(default_factory=list)
    run: Run = field(default_factory=Run)
    have: set[str] = field(default_factory=set)
    """Which sorts of input there are: kernel, telemetry, ranks, scheduler."""
    unmeasured: list[tuple[str, str]] = field(default_factory=list)
    """What the recorder says it could not record: the collector, and why."""


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
    case = _case(readings, catalogue)
    case.facts += gathered.facts
    if data:
        _add_telemetry(case, data)
    inputs = (*gathered.inputs, *(r.input for r in readings))
    if inputs and not case.facts:
        _refuse_what_is_no_log(inputs)
    return Diagnosis(inputs, judge(case, catalogue))


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
    for number, path in enumerate(files):
        start = done

        def report(bytes_read: int, start: int = start) -> None:
            if progress:
                progress(start + bytes_read, total)

        readings.append(
            logs.read(path, catalogue, base_order=number * _FILE_ORDER, progress=report)
        )
        done = start + source.size_bytes(path)
    if progress:
        progress(total, total)
    return readings


def _case(readings: Sequence[Reading], catalogue: Catalogue) -> Case:
    case = Case()
    for number, reading in enumerate(readings):
        facts = incidents.cleaned(reading, catalogue)
        found = detectors.find(reading.steps, facts, reading.input.path)
        facts += [replace(f, order=f.order % _FILE_ORDER + number * _FILE_ORDER) for f in found]
        case.facts += facts
        if reading.input.kind == "kernel_log" or any(f.evidence == "kernel" for f in facts):
            case.have.add("kernel")
    training = [r for r in readings if r.input.kind == "training_log"]
    if len(training) > 1:
        case.have.add("ranks")
    steps = [s.step for r in readings for s in r.steps if s.step is not None]
    case.run = Run(
        next((r.job for r in training if r.job), None),
        next((r.framework for r in training if r.framework), None),
        next((r.world_size for r in training if r.world_size), None),
        max(steps, default=None),
    )
    return case


def _add_telemetry(case: Case, data: Sequence[Path]) -> None:
    """Adds what the recorder knows around the facts, or over all its data without any."""
    from trainwreck_agent import store

    from trainwreck_analyzer import telemetry

    try:
        connection = store.connect(data)
    except store.StoreError as error:
        raise Unreadable("cannot use the data", str(data[0]), str(error)) from error
    with connection:
        times = [f.time for f in case.facts if f.time is not None]
        first, last = _recorded(connection)
        window = telemetry.Window(
            min(times) - BEFORE if times else first,
            max(times) + AFTER if times else last,
            telemetry.pids_in(case.facts),
        )
        case.facts += telemetry.gather(connection, window)
        case.unmeasured += telemetry.not_measured(connection, window)
    case.have |= {"telemetry", "kernel"}


def _recorded(connection: duckdb.DuckDBPyConnection) -> tuple[datetime, datetime]:
    """First and last tick. The kernel's ring buffer holds older lines, which nobody recorded."""
    found = connection.execute("SELECT min(ts), max(ts) FROM memory").fetchall()[0]
    now = datetime.now(UTC)
    return (found[0] or now, (found[1] or now) + timedelta(seconds=1))


def judge(case: Case, catalogue: Catalogue) -> tuple[Incident, ...]:
    """The incidents that the facts make; pure."""
    found = [_incident(g, case, catalogue) for g in incidents.apart(case.facts, catalogue)]
    return tuple(_merged([i for i in found if i is not None]))


def _incident(facts: Sequence[Fact], case: Case, catalogue: Catalogue) -> Incident | None:
    weighed = weigh(facts, catalogue)
    top = weighed.hypotheses[0]
    symptoms = [s for s in supports(facts, catalogue) if s.signature.role == "symptom"]
    where = tell.component(weighed.leading, facts, top.cause)
    start, end = _bounds(facts, weighed, catalogue)
    asked = [h.cause for h in weighed.hypotheses if h is top or h.confidence >= ASKED_FROM]
    return Incident(
        _identity(facts, top.cause),
        start,
        end,
        case.run,
        Verdict(
            top.cause,
            top.domain,
            top.confidence,
            tell.summary(top.cause, weighed.leading, where, len(symptoms)),
            where,
        ),
        weighed.hypotheses,
        tell.victims(weighed, symptoms, top.cause),
        tell.not_measured(asked, case.have, case.unmeasured),
        tell.actions(top.cause, weighed.leading, symptoms),
    )


def _bounds(
    facts: Sequence[Fact], weighed: Weighed, catalogue: Catalogue
) -> tuple[datetime | None, datetime | None]:
    times = sorted(
        f.time for f in facts if f.time is not None and incidents.initiates(f, catalogue)
    )
    if not times:
        times = sorted(f.time for f in facts if f.time is not None)
    return (times[0], times[-1]) if times else (None, None)


def _identity(facts: Sequence[Fact], cause: str) -> str:
    """The same facts give the same name."""
    head = facts[0]
    text = f"{head.source}:{head.line}:{head.time}:{cause}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _merged(found: Sequence[Incident]) -> list[Incident]:
    """Repeats of one cause on one component folded into one incident."""
    kept: list[Incident] = []
    for incident in found:
        same = next(
            (
                k
                for k in kept
                if k.verdict.cause == incident.verdict.cause != "unknown"
                and k.verdict.component == incident.verdict.component
                and k.verdict.domain == "hardware"
            ),
            None,
        )
        if same is None:
            kept.append(incident)
        else:
            kept[kept.index(same)] = replace(same, end=incident.end)
    return kept
