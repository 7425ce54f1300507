"""Decides for each file what to add to its clock, and from what that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import Literal, Protocol

from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.clock import Stamp, stated_shift_s
from trainwreck_analyzer.clocks import marks, match, order
from trainwreck_analyzer.clocks.marks import Key, Mark
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step

Kind = Literal["utc", "local", "boot", "none"]
By = Literal[
    "stated", "neighbour", "boot record", "recorded boot", "recorder", "events", "steps", "order",
    "end", "host", "same", "alone",
]  # fmt: skip
NEAR = timedelta(minutes=10)
"""Logs of one run that name no zone and lie no further apart than this show the same clock."""
_NOTABLE_S = 0.0015
_MOST_RANKS = 3
"""With so many other ranks' logs the steps of one are compared: they all print the same."""
_BESIDE_LINES = 40
"""torchelastic's table of failed ranks, without a zone, is longer than a few lines."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file with what it says."""

    path: str
    facts: Sequence[Fact]
    steps: Sequence[Step] = ()
    training: bool = False
    first: datetime | None = None
    last: datetime | None = None
    zoned: bool | None = None
    """Whether its wall clock names its zone; None: there is none, or only facts tell."""
    stated_shift_s: int | None = None
    boot: Boot | None = None
    rank: int | None = None
    """Of a training log: whose it is."""
    hosts: frozenset[str] = frozenset()
    """The hosts that it names as its own, in short."""

    @property
    def clock(self) -> Kind:
        """The clock that its times come from."""
        times = [f for f in self.facts if f.time is not None]
        if any(not f.zoned for f in times) or (not times and self.zoned is False):
            return "local"
        if times or self.zoned:
            return "utc"
        return "boot" if any(marks.monotonic_s(f) is not None for f in self.facts) else "none"


@dataclass(frozen=True, slots=True)
class Alignment:
    """What to add to the times of one file."""

    clock: Kind
    shift_s: float | None
    """To its wall clock, or to its seconds since boot; None: nothing is known."""
    skew_s: float
    by: By
    with_: str = ""
    """The file or the recorder whose clock it was compared with."""
    events: int = 0


class Recorder(Protocol):
    """The recorder's data."""

    def seen(self, source: Source) -> Sequence[Mark]:
        """The events of a file that were recorded too."""
        ...

    def only_boot_s(self) -> float | None:
        """When the machine booted, s since 1970; None where that cannot be the file's boot."""
        ...


def align(
    sources: Sequence[Source],
    recorder: Recorder | None,
    initiates: Callable[[Fact], bool],
) -> dict[str, Alignment]:
    """The alignment of each file by its path; a file without any clock is left out.

    Args:
        sources: All files.
        recorder: None: there is no data of one.
        initiates: Whether a fact by itself shows that something went wrong.
    """
    work = _Work([s for s in sources if s.clock != "none"], initiates)
    for source in work.sources:
        work.by_itself(source)
    if recorder is not None:
        for source in work.sources:
            work.by_recorder(source, recorder)
    work.spread()
    if not work.told():
        work.choose()
        work.spread()
    for source in work.sources:
        alone = len(work.sources) == 1 and source.clock == "local"
        unknown = Alignment(source.clock, 0.0 if alone else None, 0.0, "alone")
        work.found.setdefault(source.path, unknown)
    return work.found


class _Work:
    def __init__(self, sources: Sequence[Source], initiates: Callable[[Fact], bool]) -> None:
        self.sources = sources
        self.found: dict[str, Alignment] = {}
        self._initiates = initiates
        self._marks: dict[str, list[Mark]] = {}
        self._keys: dict[str, frozenset[Key]] = {}

    def by_itself(self, source: Source) -> None:
        """A zone that the file states, or its own record of the boot."""
        if source.clock == "utc":
            self.found[source.path] = Alignment("utc", 0.0, 0.0, "stated")
        elif source.clock == "local" and (stated_s := _stated_s(source)) is not None:
            self.found[source.path] = Alignment("local", float(stated_s), 0.0, "neighbour")
        elif source.clock == "boot" and source.boot and source.boot.utc_s is not None:
            self.found[source.path] = Alignment("boot", source.boot.utc_s, 0.0, "boot record")

    def by_recorder(self, source: Source, recorder: Recorder) -> None:
        """The recorder saw what the file tells of, or the boot that it counts from."""
        known = self.found.get(source.path)
        seen = recorder.seen(source)
        if known is not None and known.clock == "utc":
            found = match.same_clock(self.marks(source), seen)
        else:
            found = self._compare(source, seen)
        if found is not None:
            self._take(source, found, "recorder", "the recorder")
        elif known is None and source.clock == "boot":
            boot_s = recorder.only_boot_s()
            if boot_s is not None:
                self.found[source.path] = Alignment("boot", boot_s, 0.0, "recorded boot")

    def spread(self) -> None:
        """Files take their alignment from files that have one, the surest way first."""
        ways = (self._by_events, self._by_ranks, self._same_run, self._same_host)
        while any(self._all_that(way) for way in ways) or self._one():
            pass
        self._correct_skews()

    def _all_that(self, way: Callable[[Source], bool]) -> bool:
        """Whether more files could be aligned in some way."""
        found = [way(source) for source in self.sources if source.path not in self.found]
        return any(found)

    def _one(self) -> bool:
        """Whether one more file could be aligned in the least sure way."""
        return any(self._in_order(s) for s in self.sources if s.path not in self.found)

    def _aligned(self) -> list[Source]:
        return [source for source in self.sources if source.path in self.found]

    def told(self) -> bool:
        """Whether something that went wrong stands on the line of UTC already."""
        return any(
            s.path in self.found and any(self._initiates(f) for f in s.facts) for s in self.sources
        )

    def choose(self) -> None:
        """No file with a fault names its zone: the run's own clock is the line, as it stands."""
        local = [s for s in self.sources if s.clock == "local" and s.path not in self.found]
        local.sort(key=lambda s: (not s.training, -len(s.steps)))
        if local:
            self.found[local[0].path] = Alignment("local", 0.0, 0.0, "alone")

    def marks(self, source: Source) -> list[Mark]:
        """The events of a file on the clock that is to be aligned."""
        known = self._marks.get(source.path)
        if known is None:
            local = source.clock == "local"
            facts = [f for f in source.facts if not (local and f.zoned)]
            known = list(marks.of_facts(facts, boot=source.clock == "boot"))
            if source.clock == "utc" or (local and source.zoned is False):
                known += marks.of_steps(source.steps)
            self._marks[source.path] = known
        return known

    def _compare(self, source: Source, other: Iterable[Mark]) -> match.Match | None:
        compare = match.since_boot if source.clock == "boot" else match.wall
        return compare(self.marks(source), other)

    def _take(self, source: Source, seen: match.Match, by: By, with_: str) -> None:
        self.found[source.path] = Alignment(
            source.clock, seen.shift_s, seen.skew_s, by, with_, seen.events
        )

    def _by_events(self, source: Source) -> bool:
        """By what another file tells of too; of several the one that shares most."""
        best: tuple[match.Match, Source] | None = None
        for other in self._aligned():
            if not self._may_share(source, other):
                continue
            seen = self._compare(source, self._shifted(other, like=source))
            if seen and (
                best is None or (seen.exact, seen.events) > (best[0].exact, best[0].events)
            ):
                best = seen, other
        if best is None:
            return False
        self._take(source, best[0], "events", best[1].path)
        return True

    def _may_share(self, source: Source, other: Source) -> bool:
        """Whether a comparison is worth its time: of a thousand ranks most share nothing."""
        if _by_steps(source, other):
            return True
        return not self._keys_of(source).isdisjoint(self._keys_of(other))

    def _keys_of(self, source: Source) -> frozenset[Key]:
        known = self._keys.get(source.path)
        if known is None:
            known = frozenset(m.key for m in self.marks(source) if m.key[0] != "step")
            self._keys[source.path] = known
        return known

    def _shifted(self, other: Source, like: Source) -> list[Mark]:
        """The events of an aligned file in UTC; steps only where the clocks differ in kind."""
        shift_s = self.found[other.path].shift_s or 0.0
        steps = _by_steps(like, other)
        return [
            replace(mark, at_s=mark.at_s + shift_s)
            for mark in self.marks(other)
            if steps or mark.key[0] != "step"
        ]

    def _by_ranks(self, source: Source) -> bool:
        """Ranks of one run print the same steps at the same time, whatever their clocks show."""
        if source.clock != "local" or source.rank is None or not source.steps:
            return False
        others = (
            other
            for other in self._aligned()
            if other.clock == "local" and other.steps and other.rank not in (None, source.rank)
        )
        for other in islice(others, _MOST_RANKS):
            shift_s = self.found[other.path].shift_s or 0.0
            steps = [replace(m, at_s=m.at_s + shift_s) for m in self.marks(other) if _is_step(m)]
            seen = match.ranks([m for m in self.marks(source) if _is_step(m)], steps)
            if seen is not None:
                self._take(source, seen, "steps", other.path)
                return True
        return False

    def _same_host(self, source: Source) -> bool:
        """A host's kernel log shows the clock of its ranks' logs, unless its fault denies it."""
        if source.clock != "local" or source.training or len(source.hosts) != 1:
            return False
        for other in self._aligned():
            if other.clock != "local" or not other.training or other.hosts != source.hosts:
                continue
            if order.zone_s(other.facts, source.facts, self._initiates) not in (None, 0):
                return False
            known = self.found[other.path]
            self.found[source.path] = Alignment(
                "local", known.shift_s, known.skew_s, "host", other.path
            )
            return True
        return False

    def _same_run(self, source: Source) -> bool:
        """Logs of one run that name no zone show one clock, where they lie side by side."""
        if source.clock != "local" or not source.training:
            return False
        for other in self._aligned():
            if other.clock != "local" or not other.training or not _side_by_side(source, other):
                continue
            known = self.found[other.path]
            self.found[source.path] = Alignment("local", known.shift_s, 0.0, "same", other.path)
            return True
        return False

    def _in_order(self, source: Source) -> bool:
        """A fault and what the run complains of then, or the job's end and its log's."""
        if source.clock != "local":
            return False
        for other in self._aligned():
            if other.clock == "boot" or source.training == other.training:
                continue
            run, host = (source, other) if source.training else (other, source)
            by: By = "order"
            apart_s = order.zone_s(run.facts, host.facts, self._initiates)
            if apart_s is None:
                by, apart_s = "end", order.end_zone_s(run.last, host.facts)
            if apart_s is not None:
                shift_s = self.found[other.path].shift_s or 0.0
                shift_s += apart_s if host is source else -apart_s
                self.found[source.path] = Alignment("local", shift_s, 0.0, by, other.path, 1)
                return True
        return False

    def _correct_skews(self) -> None:
        """Clocks that name their zone and are wrong all the same, by what they both tell of."""
        stated = [s for s in self.sources if self._by(s) == "stated"]
        for place, source in enumerate(stated):
            for other in stated[:place]:
                seen = match.same_clock(self.marks(source), self._shifted(other, like=source))
                if seen is not None and abs(seen.skew_s) > _NOTABLE_S:
                    self._take(source, seen, "events", other.path)
                    break

    def _by(self, source: Source) -> By | None:
        known = self.found.get(source.path)
        return known.by if known else None


def _is_step(mark: Mark) -> bool:
    return mark.key[0] == "step"


def _by_steps(source: Source, other: Source) -> bool:
    """Whether equal steps mean something: in logs of one sort of clock another attempt has them."""
    return source.clock == "local" and other.clock == "utc"


def _stated_s(source: Source) -> int | None:
    """What lines with a zone say of those beside them without one: at the head, or anywhere."""
    if source.stated_shift_s is not None:
        return source.stated_shift_s
    dated = sorted((f for f in source.facts if f.time is not None), key=lambda f: f.line or 0)
    found: set[int] = set()
    for one, other in pairwise(dated):
        if one.zoned != other.zoned and (other.line or 0) - (one.line or 0) <= _BESIDE_LINES:
            stamps = [Stamp(f.time, f.zoned) for f in (one, other) if f.time is not None]
            shift_s = stated_shift_s(stamps)
            found |= set() if shift_s is None else {shift_s}
    return found.pop() if len(found) == 1 else None


def _side_by_side(one: Source, other: Source) -> bool:
    if one.first is None or one.last is None or other.first is None or other.last is None:
        return False
    return one.first - NEAR <= other.last and other.first - NEAR <= one.last
