"""Which facts belong to one incident, and which are no incident at all."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate

from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.restarts import Restart
from trainwreck_analyzer.series import finite, got_over
from trainwreck_analyzer.signature import Signature
from trainwreck_analyzer.weigh import earlier

APART = timedelta(minutes=30)
"""Facts that are further apart than this belong to two incidents."""
_WHOLE_SECOND = timedelta(seconds=1)
"""torchelastic's table cuts its times to seconds: what it dates may be so much later."""
LOADING = timedelta(minutes=2)
"""An attempt that fails sooner without a step is the same trouble once more."""
_ANY_ZONE = timedelta(hours=14, minutes=30)
_WENT_ON_STEPS = 2
_SURVIVABLE = frozenset({"hardware", "architecture", "algorithm"})
"""Domains of what a run can live through; the others' lines claim that it died."""
_GENERIC = frozenset({"bare_exception", "python_traceback", "exception_told"})
_NOT_FINITE = "loss_not_finite"
_FRAMES = ("traceback_frames", "traceback_frames_rendezvous", "traceback_frames_checkpoint")
"""Says something only where nothing else does."""
SCHEDULER = frozenset({"preempted", "time_limit_reached", "job_cancelled"})
"""The scheduler's own words: a clean end after them is their consequence."""
_LOWEST_WEIGHT = 1.0
_FAINT = 2.5
"""A log's weaker hint of hardware, after which the run ended well, was none."""


def cleaned(reading: Reading, catalogue: Catalogue) -> list[Fact]:
    """The facts of a file without what is harmless, and with what the run survived marked."""
    by_line: dict[int, list[Fact]] = {}
    for fact in reading.facts:
        by_line.setdefault(fact.line or 0, []).append(fact)
    facts: list[Fact] = []
    for same in by_line.values():
        facts += _of_one_line(same, catalogue)
    if any(f.kind not in _FRAMES and _role(f, catalogue) != "noise" for f in facts):
        facts = [f for f in facts if f.kind not in _FRAMES]
    loud = [f.line or 0 for f in facts if _role(f, catalogue) != "noise"]
    progress = _Progress(reading, loud)
    return [_marked(fact, progress, catalogue) for fact in facts]


def _of_one_line(facts: list[Fact], catalogue: Catalogue) -> list[Fact]:
    """One line's facts: harmless text silences weak readings, special beats generic."""
    if len(facts) == 1:
        return facts
    noise = [f for f in facts if _role(f, catalogue) == "noise" and f.kind != "run_finished"]
    if noise:
        loud = [f for f in facts if _weight(f, catalogue) >= 4.0]
        return loud or noise[:1]
    special = [f for f in facts if f.kind.partition("/")[0] not in _GENERIC]
    if not special and any("run_went_on" in f.fields for f in facts):
        return [f for f in facts if f.kind != "bare_exception"]
    return special or facts


def _role(fact: Fact, catalogue: Catalogue) -> str:
    return next((s.role for s in catalogue.of_kind(fact.kind)), "")


def _weight(fact: Fact, catalogue: Catalogue) -> float:
    return max((s.weight for s in catalogue.of_kind(fact.kind)), default=0.0)


def _marked(fact: Fact, progress: _Progress, catalogue: Catalogue) -> Fact:
    if fact.evidence != "log" or fact.kind.startswith("series_") or fact.kind in SCHEDULER:
        return fact
    signatures = catalogue.of_kind(fact.kind)
    if fact.kind == _NOT_FINITE:
        healed = progress.healed(fact.line or 0)
        return replace(fact, fields=fact.fields | {"run_went_on": "yes"}) if healed else fact
    if not signatures:
        return fact
    if all(s.role == "cause" and _domain(s) in _SURVIVABLE for s in signatures):
        faint = all(_domain(s) == "hardware" and s.weight < _FAINT for s in signatures)
        if not (faint and progress.finished(fact.line or 0)):
            return fact
    if not progress.went_on(fact.line or 0):
        return fact
    return replace(fact, fields=fact.fields | {"run_went_on": "yes"})


def _domain(signature: Signature) -> str:
    from trainwreck_analyzer.causes import domain

    return domain(signature.cause)


class _Progress:
    """The steps of one log, by line."""

    def __init__(self, reading: Reading, loud: Sequence[int]) -> None:
        self._all = reading.steps
        known = [(s.line, s.step) for s in reading.steps if s.step is not None]
        self._lines = [line for line, _ in known]
        self._steps = [step for _, step in known]
        self._least_from = list(accumulate(reversed(self._steps), min))[::-1]
        ends = [f.line or 0 for f in reading.facts if f.kind == "run_finished"]
        self._finished = max(ends, default=-1)
        self._quiet_end = max(self._lines, default=0) > max(loud, default=0)
        """Whether the log ends in steps: nothing went wrong after the last of them."""
        self._furthest_from = list(accumulate(reversed(self._steps), max))[::-1]

    def healed(self, line: int) -> bool:
        """Whether a step whose loss or norm was no number was got over: later ones are whole."""
        if got_over(self._all, line):
            return True
        own = next((s for s in self._all if s.line == line), None)
        if own is None or not finite(own.loss) or own.loss == 0.0:
            return False
        later = [s for s in self._all if s.line > line]
        return any(finite(s.grad_norm) for s in later) and all(finite(s.loss) for s in later)

    def finished(self, line: int) -> bool:
        """Whether the run says after the line that it ended well."""
        return self._finished > line

    def went_on(self, line: int) -> bool:
        """Whether the log shows steps, each later than the last, after the line; or its end."""
        if self.finished(line):
            return True
        before, after = bisect_left(self._lines, line), bisect_right(self._lines, line)
        if before == 0 or len(self._steps) - after < _WENT_ON_STEPS:
            return False
        last = self._steps[before - 1]
        if self._least_from[after] > last or self._steps[after] > last:
            return True
        return self._quiet_end and self._furthest_from[after] > last


def initiates(fact: Fact, catalogue: Catalogue) -> bool:
    """Whether a fact by itself shows that something went wrong."""
    if "run_went_on" in fact.fields or fact.evidence == "absence":
        return False
    return any(
        s.alone and s.role != "noise" and (s.weight >= _LOWEST_WEIGHT or s.role == "symptom")
        for s in catalogue.of_kind(fact.kind)
    )


def apart(
    facts: Sequence[Fact], catalogue: Catalogue, restarts: Sequence[Restart] = ()
) -> list[list[Fact]]:
    """The facts of each incident, in order of time; facts without a time join the first."""
    ordered = _in_order(facts)
    dated = [f for f in ordered if f.time is not None]
    groups = _groups(dated, catalogue, sorted_by_time(restarts))
    timeless = [f for f in ordered if f.time is None]
    if not dated:
        return _of_one_file(timeless, catalogue, restarts)
    started = [g for g in groups if any(initiates(f, catalogue) for f in g)]
    loose = [f for f in timeless if f.unzoned_time is not None]
    rest = [f for f in timeless if f.unzoned_time is None]
    if not started:
        every = [*timeless, *(f for g in groups for f in g)]
        return [every] if any(initiates(f, catalogue) for f in every) else []
    started[0] = [*rest, *started[0]]
    return _with_loose(loose, started, catalogue)


def _with_loose(
    loose: list[Fact], started: list[list[Fact]], catalogue: Catalogue
) -> list[list[Fact]]:
    """Adds facts whose zone is unknown to the one incident that can be theirs, if it is one."""
    times = [f.unzoned_time for f in loose if f.unzoned_time is not None]
    if not times:
        return started
    first, last = min(times) - _ANY_ZONE, max(times) + _ANY_ZONE
    near = [g for g in started if any(f.time and first <= f.time <= last for f in g)]
    if len(near) == 1:
        return [[*loose, *g] if g is near[0] else g for g in started]
    return [*started, loose] if any(initiates(f, catalogue) for f in loose) else started


def _groups(
    dated: Sequence[Fact], catalogue: Catalogue, restarts: Sequence[Restart]
) -> list[list[Fact]]:
    """Facts that lie close together, with no new attempt between what went wrong and the next."""
    groups: list[list[Fact]] = []
    latest: datetime | None = None
    wrong: datetime | None = None
    for fact in dated:
        if fact.time is None:
            continue
        far = latest is None or fact.time - latest > APART + _waited(fact)
        if far or (wrong is not None and _anew(restarts, wrong, fact.time - _waited(fact))):
            groups.append([])
            wrong = None
        groups[-1].append(fact)
        latest = fact.time
        if initiates(fact, catalogue):
            wrong = fact.time
    return groups


def _anew(restarts: Sequence[Restart], wrong: datetime, now: datetime) -> bool:
    """Whether a run began anew after something went wrong, and had got going before now."""
    times = [r.time for r in restarts if r.time is not None]
    since = wrong + _WHOLE_SECOND if wrong.microsecond == 0 else wrong
    for restart in restarts[bisect_right(times, since) : bisect_right(times, now)]:
        going = restart.going_time is not None and restart.going_time <= now
        if going or (not restart.file_start and now - wrong >= LOADING):
            return True
    return False


def sorted_by_time(restarts: Sequence[Restart]) -> list[Restart]:
    """Those whose time is known."""
    return sorted((r for r in restarts if r.time is not None), key=_time_of)


def _time_of(restart: Restart) -> float:
    return restart.time.timestamp() if restart.time else 0.0


def _of_one_file(
    facts: Sequence[Fact], catalogue: Catalogue, restarts: Sequence[Restart]
) -> list[list[Fact]]:
    """Incidents without a date: only one file can tell what came after what, and how long after."""
    groups: list[list[Fact]] = [[]]
    wrong, before = None, None
    files = {f.source for f in facts}
    for fact in facts:
        anew = wrong is not None and _anew_by_line(restarts, wrong, fact)
        if len(files) == 1 and (anew or _far_since_boot(before, fact)):
            groups.append([])
            wrong = None
        groups[-1].append(fact)
        before = fact
        if initiates(fact, catalogue):
            wrong = fact
    return [g for g in groups if any(initiates(f, catalogue) for f in g)]


def _far_since_boot(before: Fact | None, fact: Fact) -> bool:
    """Whether two lines of a kernel log that is not dated are as far apart as two incidents."""
    times_s = [float(f.fields.get("monotonic_s", "nan")) for f in (before, fact) if f is not None]
    return len(times_s) == 2 and times_s[1] - times_s[0] > APART.total_seconds()


def _anew_by_line(restarts: Sequence[Restart], wrong: Fact, fact: Fact) -> bool:
    start, end = wrong.line or 0, fact.line or 0
    return any(
        start < r.line <= end and r.going_line is not None and r.going_line <= end
        for r in restarts
        if r.source == fact.source
    )


def _waited(fact: Fact) -> timedelta:
    """How long before its own time a collective timeout began."""
    found = _WAITED.search(fact.text) if fact.kind == "collective_timeout" else None
    return timedelta(milliseconds=int(found[1])) if found else timedelta()


_WAITED = re.compile(r"ran for (\d{1,10}) milliseconds", re.ASCII)


def _in_order(facts: Sequence[Fact]) -> list[Fact]:
    return sorted(facts, key=_key)


def _key(fact: Fact) -> tuple[float, int]:
    return (fact.time.timestamp() if fact.time else 0.0, fact.order)


def first(facts: Sequence[Fact]) -> Fact:
    """The earliest of some facts."""
    found = facts[0]
    for fact in facts[1:]:
        if earlier(fact, found):
            found = fact
    return found
