"""Everything that was read of one case, on one UTC line, before it is judged."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from trainwreck_analyzer import detectors, incidents, memory_growth, restarts
from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.clocks.align import Alignment, Recorder, Source, align
from trainwreck_analyzer.clocks.moved import later, moved
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.first_look import RankEnd
from trainwreck_analyzer.hosts import Named, RunHosts, of_run, placed, short, without_strangers
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.restarts import Restart
from trainwreck_analyzer.verdict import Input, Run

FILE_ORDER = 1 << 32
"""Facts of one file come before those of the next in reading order."""


@dataclass(slots=True)
class Case:
    """Everything that was read, before it is judged."""

    facts: list[Fact] = field(default_factory=list)
    run: Run = field(default_factory=Run)
    restarts: list[Restart] = field(default_factory=list)
    clocks: dict[str, Alignment] = field(default_factory=dict)
    """How the clock of each file was put on the line, by path."""
    finished: bool = False
    """Every training log says that its run ended well, and nothing else speaks against it."""
    have: set[str] = field(default_factory=set)
    """Which sorts of input there are: kernel, telemetry, ranks, scheduler."""
    hosts: RunHosts = field(default_factory=RunHosts)
    """The hosts of the run, where its logs name them all."""
    left_out: list[str] = field(default_factory=list)
    """What was left out, because it is of a host that the run was not on."""
    ends: list[RankEnd] = field(default_factory=list)
    """How far each rank came whose log was given."""
    unmeasured: list[tuple[str, str]] = field(default_factory=list)
    """What the recorder says it could not record: the collector, and why."""

    def leave_out_strangers(self, catalogue: Catalogue) -> None:
        """Keeps what can be of the run; says what is not."""
        self.facts, told = without_strangers(self.facts, self.hosts, catalogue)
        self.left_out += [one for one in told if one not in self.left_out]

    def inputs(self, readings: Sequence[Reading]) -> list[Input]:
        """What was read, with its first and last time on the line."""
        return [_on_the_line(reading, self.clocks.get(reading.input.path)) for reading in readings]


def case_of(
    readings: Sequence[Reading],
    artefacts: Sequence[Fact],
    catalogue: Catalogue,
    recorder: Recorder | None,
) -> Case:
    """The case that files make, before what the recorder knows is added."""
    case = Case()
    by_file = [_facts(reading, number, catalogue) for number, reading in enumerate(readings)]
    case.hosts = _hosts(readings, [f for facts in by_file for f in facts])
    case.facts = [f for facts in by_file for f in placed(facts, case.hosts.names)]
    case.leave_out_strangers(catalogue)
    told, by_file = by_file, _by_file(case.facts, readings)
    for reading, before, facts in zip(readings, told, by_file, strict=True):
        quiet = reading.input.kind == "kernel_log" and not before
        if quiet or any(f.evidence == "kernel" for f in facts):
            case.have.add("kernel")
    sources = [_source(r, facts) for r, facts in zip(readings, by_file, strict=True)]
    sources += _of_artefacts(artefacts)
    case.clocks = align(sources, recorder, lambda fact: incidents.initiates(fact, catalogue))
    every = [*(fact for facts in by_file for fact in facts), *artefacts]
    case.facts = [moved(fact, case.clocks.get(fact.source or "")) for fact in every]
    for reading in readings:
        case.restarts += _restarts(reading, case.clocks.get(reading.input.path))
    case.run = _run(readings)
    case.finished = _finished(readings, by_file, catalogue)
    case.ends = list(_ends(readings))
    if sum(r.input.kind == "training_log" for r in readings) > 1 or _all_speak(case):
        case.have.add("ranks")
    return case


def _facts(reading: Reading, number: int, catalogue: Catalogue) -> list[Fact]:
    facts = incidents.cleaned(reading, catalogue)
    path = reading.input.path
    found = [
        *detectors.find(reading.steps, facts, path),
        *memory_growth.find(reading.steps, facts, path),
    ]
    start, zoned = number * FILE_ORDER, reading.zoned is not False
    facts = _dated(facts, reading)
    return facts + [replace(f, order=f.order % FILE_ORDER + start, zoned=zoned) for f in found]


def _dated(facts: Sequence[Fact], reading: Reading) -> list[Fact]:
    """Facts without a time with that of the last dated fact or step above them, however far."""
    zoned = reading.zoned is not False
    known = [(s.line, s.time, zoned) for s in reading.steps if s.time is not None]
    known += [(f.line or 0, f.time, f.zoned) for f in facts if f.time is not None]
    if not known or all(f.time is not None for f in facts):
        return list(facts)
    known.sort(key=lambda place: place[0])
    dated = []
    for fact in facts:
        above = bisect_right(known, fact.line or 0, key=lambda place: place[0])
        if above and fact.time is None and fact.evidence == "log":
            _, time, its_zone = known[above - 1]
            fact = replace(fact, time=time, zoned=its_zone)
        dated.append(fact)
    return dated


def _source(reading: Reading, facts: Sequence[Fact]) -> Source:
    first, last = reading.bounds
    return Source(
        reading.input.path,
        facts,
        reading.steps,
        reading.input.kind == "training_log",
        first.time if first else None,
        last.time if last else None,
        reading.zoned,
        reading.stated_shift_s,
        reading.boot,
        reading.rank,
        _hosts_of(reading, facts),
    )


def _hosts_of(reading: Reading, facts: Sequence[Fact]) -> frozenset[str]:
    """Of a kernel log the host in its lines; of a training log what it names, or its folder."""
    if reading.input.kind == "training_log":
        return reading.hosts.hosts or frozenset({PurePath(reading.input.path).parent.name.lower()})
    kernel = [f.component.host for f in facts if f.evidence == "kernel"]
    return frozenset(short(host) for host in kernel if host)


def _of_artefacts(facts: Sequence[Fact]) -> list[Source]:
    paths = dict.fromkeys(fact.source for fact in facts if fact.source is not None)
    return [Source(path, [f for f in facts if f.source == path]) for path in paths]


def _restarts(reading: Reading, alignment: Alignment | None) -> list[Restart]:
    shift_s = alignment.shift_s if alignment and reading.zoned is False else 0.0
    return [
        replace(found, time=later(found.time, shift_s), going_time=later(found.going_time, shift_s))
        for found in restarts.find(reading)
    ]


def _finished(
    readings: Sequence[Reading], by_file: Sequence[Sequence[Fact]], catalogue: Catalogue
) -> bool:
    training = [
        facts
        for reading, facts in zip(readings, by_file, strict=True)
        if reading.input.kind == "training_log"
    ]
    wrong = any(incidents.initiates(fact, catalogue) for facts in by_file for fact in facts)
    well = all(any(fact.kind == "run_finished" for fact in facts) for facts in training)
    return bool(training) and well and not wrong


def _by_file(facts: Sequence[Fact], readings: Sequence[Reading]) -> list[list[Fact]]:
    """The facts of each reading; those of one path, given twice, are told apart by their order."""
    found: list[list[Fact]] = [[] for _ in readings]
    for fact in facts:
        found[fact.order // FILE_ORDER].append(fact)
    return found


def _ends(readings: Sequence[Reading]) -> Iterator[RankEnd]:
    last: dict[int, int | None] = {}
    for reading in readings:
        if reading.input.kind == "training_log" and reading.rank is not None:
            last.setdefault(reading.rank, None)
        for step in reading.steps:
            rank = reading.rank if step.rank is None else step.rank
            if rank is not None and step.step is not None:
                last[rank] = step.step
    yield from (RankEnd(rank, step) for rank, step in sorted(last.items()))


def _all_speak(case: Case) -> bool:
    """Whether one log holds the lines of every rank that the run has."""
    spoke = {end.rank for end in case.ends} | {f.component.rank for f in case.facts}
    return len(spoke - {None}) >= max(2, case.run.world_size or 2)


def _hosts(readings: Sequence[Reading], facts: Sequence[Fact]) -> RunHosts:
    """The run's hosts: those its logs name, or whose folders they lie in."""
    known = {short(f.component.host) for f in facts if f.component.host}
    logs = []
    for reading in readings:
        if reading.input.kind != "training_log":
            continue
        own, path = reading.hosts, reading.input.path
        if not own.hosts and (folder := PurePath(path).parent.name.lower()) in known:
            own = Named(frozenset({folder}))
        logs.append((path, reading.rank, own))
    return of_run(logs, next((r.world_size for r in readings if r.world_size), None))


def _run(readings: Sequence[Reading]) -> Run:
    training = [r for r in readings if r.input.kind == "training_log"]
    steps = [s.step for r in readings for s in r.steps if s.step is not None]
    return Run(
        next((r.job for r in training if r.job), None),
        next((r.framework for r in training if r.framework), None),
        next((r.world_size for r in training if r.world_size), None),
        max(steps, default=None),
    )


def _on_the_line(reading: Reading, alignment: Alignment | None) -> Input:
    first, last = (
        None if stamp is None
        else stamp.time if stamp.zoned or alignment is None
        else later(stamp.time, alignment.shift_s)
        for stamp in reading.bounds
    )  # fmt: skip
    return replace(reading.input, first_time=first, last_time=last)
