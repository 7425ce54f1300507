"""Where to look first when only victims speak: at the rank or host that did not, or came last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from trainwreck_analyzer.fact import Fact

_PLACE = re.compile(r"(?:SeqNum=|[Ll]ast enqueued (?:NCCL )?work: )(\d{1,18})", re.ASCII)
"""The place in the order of collectives."""
_PEER = re.compile(
    r"(?:remote peer|[Gg]ot completion from peer|connect(?:ion)? (?:to|with)(?: remote)? peer)"
    r" \[?([\w.:-]{2,80}?)[\]<]",
    re.ASCII,
)
_NODE = re.compile(r"[Nn]ode failure on ([\w.-]{1,80}\w)", re.ASCII)
_FEWEST = 3
"""Fewer ranks than this say nothing of the one that is missing among them."""
_MOST_NAMED = 4
_ODD_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How far one rank came, by its log."""

    rank: int
    last_step: int | None


def first_look(
    facts: Sequence[Fact], symptoms: Sequence[Fact], ends: Sequence[RankEnd], ranks: int | None
) -> str | None:
    """One sentence that names a rank or host; None where the lines single none out.

    Args:
        facts: Of the incident.
        symptoms: Those of them that are complaints.
        ends: Of the ranks whose logs were given.
        ranks: How many the run has, where a log tells.
    """
    complained = {f.component.rank for f in symptoms if f.component.rank is not None}
    return (
        _behind_in_collectives(symptoms)
        or _behind_in_steps(ends)
        or _lost_node(facts)
        or _peer(facts)
        or _silent(complained, {end.rank for end in ends}, ranks)
    )


def _named(ranks: Iterable[int]) -> str:
    some = sorted(ranks)
    listed = ", ".join(str(rank) for rank in some[:_MOST_NAMED])
    more = f" and {len(some) - _MOST_NAMED} more" if len(some) > _MOST_NAMED else ""
    return f"rank{'s' * (len(some) > 1)} {listed}{more}"


def _behind(places: Mapping[int, int]) -> tuple[list[int], int, int] | None:
    """The few ranks that came less far than the others, how far they came, and the others."""
    if len(places) < _FEWEST:
        return None
    usual = int(median(places.values()))
    odd = [rank for rank, place in places.items() if place < usual]
    if not odd or len(odd) > max(1, _ODD_SHARE * len(places)):
        return None
    return odd, min(places[rank] for rank in odd), usual


def _behind_in_collectives(symptoms: Sequence[Fact]) -> str | None:
    places: dict[int, int] = {}
    for fact in symptoms:
        found = _PLACE.search(fact.text)
        if found and fact.component.rank is not None:
            place = int(found[1])
            places[fact.component.rank] = max(place, places.get(fact.component.rank, place))
    behind = _behind(places)
    if behind is None:
        return None
    ranks, place, usual = behind
    return f"Look at {_named(ranks)} first: at collective {place}, the others at {usual}."


def _behind_in_steps(ends: Sequence[RankEnd]) -> str | None:
    behind = _behind({end.rank: end.last_step for end in ends if end.last_step is not None})
    if behind is None:
        return None
    ranks, step, usual = behind
    return f"Look at {_named(ranks)} first: the last step told is {step}, the others' {usual}."


def _lost_node(facts: Sequence[Fact]) -> str | None:
    hosts = {found[1] for fact in facts if (found := _NODE.search(fact.text))}
    if not hosts:
        return None
    return f"Look at {', '.join(sorted(hosts)[:_MOST_NAMED])} first: the scheduler lost it."


def _peer(facts: Sequence[Fact]) -> str | None:
    """The one peer that most who name one name."""
    named: dict[tuple[str | None, int | None], str] = {}
    for fact in facts:
        if found := _PEER.search(fact.text):
            named[fact.source, fact.component.rank] = found[1]
    if not named:
        return None
    (peer, count), *others = Counter(named.values()).most_common(2)
    if others and others[0][1] * 2 > count:
        return None
    who = f"{count} ranks lost" if count > 1 else "a rank lost"
    return f"Look at {peer} first: {who} the connection to it."


def _silent(complained: set[int], given: set[int], ranks: int | None) -> str | None:
    """Ranks that did not complain when most did: their log is silent, or was not given."""
    if len(complained) < _FEWEST:
        return None
    everyone = given | complained | set(range(ranks or max(complained) + 1))
    quiet = everyone - complained
    if not quiet or len(quiet) > max(1, _ODD_SHARE * len(everyone)):
        return None
    if unseen := quiet - given:
        was = "its log was" if len(unseen) == 1 else "their logs were"
        return f"Look at {_named(unseen)} first: the others complain, and {was} not given."
    says = "its log says" if len(quiet) == 1 else "their logs say"
    return f"Look at {_named(quiet)} first: the others complain, and {says} nothing."
