"""Who holds a hanging run up, from what each rank had enqueued.

A rank waits for another if it is in a call that the other, a member of the same group, never
entered. Nearly every rank of a hanging run waits, and is waited for. Those that are waited for and
wait for nobody hold the run up. Two kinds can be told apart: a rank that enqueued nothing more (its
program is stuck or gone), and one that enqueued calls that all others have finished (its GPU does
not run them).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from trainwreck_analyzer.verdict import Component

_UNEVEN = ("all_to_all", "alltoall", "gather", "scatter", "coalesced", "send", "recv")
"""Calls whose members may pass different sizes."""
_EVEN = ("_all_gather_base", "_reduce_scatter_base")


@dataclass(frozen=True, slots=True)
class Call:
    """One collective, or one half of a send and receive."""

    group: str
    group_id: str
    """Number of the group on this rank; the key of ``Dump.enqueued``."""
    title: str
    number: int
    name: str
    peers: tuple[int, int] | None
    """Sender and receiver; None for a collective."""
    done: bool
    shapes: str = ""
    types: str = ""
    created_ns: int | None = None

    @property
    def key(self) -> tuple[str, int, tuple[int, int] | None]:
        """What the calls of all members have in common."""
        return self.group, self.number, self.peers


@dataclass(frozen=True, slots=True)
class Dump:
    """What one rank left."""

    rank: int
    calls: tuple[Call, ...]
    groups: dict[str, tuple[int, ...]]
    """Members of the groups that this rank belongs to, by name."""
    enqueued: dict[str, int]
    """Last sequence number that was enqueued, by the group's number on this rank."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the dumps show together."""

    kind: str
    text: str
    rank: int | None
    time: datetime | None = None
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def component(self) -> Component:
        """The rank."""
        return Component(rank=self.rank)


def findings(dumps: Sequence[Dump]) -> list[Finding]:
    """What the dumps of one run show: differing calls first, then the ranks that hold it up."""
    found = list(_differences(dumps))
    waits = _waits(dumps)
    waited_for: dict[int, list[Call]] = defaultdict(list)
    for missing in waits.values():
        for rank, call in missing.items():
            waited_for[rank].append(call)
    by_rank = {dump.rank: dump for dump in dumps}
    holding = [rank for rank in sorted(waited_for) if rank in by_rank and not waits.get(rank)]
    if not holding:
        holding = [rank for rank in sorted(waited_for) if rank not in by_rank]
    for rank in holding:
        waiting = [other for other, missing in waits.items() if rank in missing]
        found.append(_holds_up(rank, by_rank.get(rank), waited_for[rank], waiting))
    if waited_for and not holding:
        found.append(_circle(waits))
    return found


def _waits(dumps: Sequence[Dump]) -> dict[int, dict[int, Call]]:
    """By rank, the ranks that it waits for, each with the first call that the other misses."""
    seen: dict[int, set[tuple[str, int, tuple[int, int] | None]]] = {}
    highest: dict[int, dict[tuple[str, tuple[int, int] | None], int]] = {}
    for dump in dumps:
        seen[dump.rank] = {call.key for call in dump.calls}
        high = highest.setdefault(dump.rank, {})
        for call in dump.calls:
            stream = call.group, call.peers
            high[stream] = max(high.get(stream, call.number), call.number)
    by_rank = {dump.rank: dump for dump in dumps}
    waits: dict[int, dict[int, Call]] = {dump.rank: {} for dump in dumps}
    for dump in dumps:
        for call in dump.calls:
            if call.done:
                continue
            for member in call.peers or dump.groups.get(call.group, ()):
                if member == dump.rank or member in waits[dump.rank]:
                    continue
                other = by_rank.get(member)
                stream = call.group, call.peers
                if other is None:
                    waits[dump.rank][member] = call
                elif call.key in seen[member]:
                    continue
                elif stream in highest[member]:
                    # In a ring of the last calls an older number was entered and forgotten.
                    if call.number > highest[member][stream]:
                        waits[dump.rank][member] = call
                elif other.enqueued.get(call.group_id, -1) < call.number:
                    waits[dump.rank][member] = call
    return waits


def _holds_up(rank: int, dump: Dump | None, missed: list[Call], waiting: list[int]) -> Finding:
    first = min(missed, key=lambda call: (call.created_ns or 0, call.number))
    call = f"{first.name} {first.number} of group {first.title or first.group}"
    who = f"{len(waiting)} rank{'s' if len(waiting) != 1 else ''}"
    fields = {
        "rank": str(rank),
        "collective": first.name,
        "sequence": str(first.number),
        "group": first.title or first.group,
        "waiting_ranks": ", ".join(map(str, sorted(waiting))),
    }
    time = _time(first.created_ns)
    if dump is None:
        text = f"rank {rank} left no dump and did not enter {call}; {who} wait for it"
        return Finding("collective_rank_no_dump", text, rank, time, fields)
    pending = [own for own in dump.calls if not own.done]
    if pending:
        text = (
            f"rank {rank} did not enter {call}; {who} wait for it. It has {len(pending)} earlier "
            f"calls enqueued, from {pending[0].name} {pending[0].number} on, that its GPU has not "
            "finished while no other rank holds them up"
        )
        fields["pending_calls"] = str(len(pending))
        return Finding("collective_gpu_stalled", text, rank, time, fields)
    text = (
        f"rank {rank} did not enter {call}; {who} wait for it. It has nothing enqueued: its "
        "program stopped before this call"
    )
    return Finding("collective_rank_absent", text, rank, time, fields)


def _circle(waits: dict[int, dict[int, Call]]) -> Finding:
    """Ranks that wait for each other in a circle: they entered calls in a different order."""
    ranks = sorted(rank for rank, missing in waits.items() if missing)
    rank = ranks[0]
    other, call = next(iter(waits[rank].items()))
    text = (
        f"{len(ranks)} ranks wait for each other in a circle: rank {rank} is in {call.name} "
        f"{call.number} of group {call.title or call.group}, which rank {other} has not entered"
    )
    fields = {"ranks": ", ".join(map(str, ranks)), "collective": call.name}
    return Finding("collective_circular_wait", text, None, _time(call.created_ns), fields)


def _differences(dumps: Sequence[Dump]) -> Iterator[Finding]:
    """Calls with the same number in the same group that are not the same call."""
    together: dict[tuple[str, int], dict[int, Call]] = defaultdict(dict)
    for dump in dumps:
        for call in dump.calls:
            if call.peers is None:
                together[call.group, call.number][dump.rank] = call
    told: set[str] = set()
    for (group, number), calls in sorted(together.items(), key=lambda item: (item[0][1], item[0])):
        if group in told or len(calls) < 2:
            continue
        signs = {rank: _sign(call) for rank, call in calls.items()}
        if len(set(signs.values())) == 1:
            continue
        told.add(group)
        usual, usual_count = Counter(signs.values()).most_common(1)[0]
        odd = sorted(rank for rank, sign in signs.items() if sign != usual)
        tie = usual_count * 2 == len(signs)
        example = calls[odd[0]]
        title = example.title or group
        text = (
            f"call {number} of group {title} is not the same on all ranks: rank"
            f"{'s' if len(odd) > 1 else ''} {', '.join(map(str, odd))} call {signs[odd[0]]}, "
            f"the others {usual}"
        )
        fields = {
            "ranks": ", ".join(map(str, odd)), "group": title, "sequence": str(number),
            "usual": usual, "different": signs[odd[0]],
        }  # fmt: skip
        rank = odd[0] if len(odd) == 1 and not tie else None
        yield Finding("collective_mismatch", text, rank, _time(example.created_ns), fields)


def _sign(call: Call) -> str:
    """What must be equal on all ranks."""
    if any(word in call.name for word in _UNEVEN) and not call.name.startswith(_EVEN):
        return f"{call.name} {call.types}"
    return f"{call.name} {call.shapes} {call.types}"


def _time(nanoseconds: int | None) -> datetime | None:
    if nanoseconds is None or not 0 <= nanoseconds < 2**62:
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)
