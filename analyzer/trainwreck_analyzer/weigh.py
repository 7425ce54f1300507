"""Facts × signatures → ranked hypotheses. Root before loud.

What a signature says it explains is a consequence and counts for little; among what is left the
earliest initiating evidence is favoured; symptoms never name a cause, they only lean.
"""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.causes import causes, domain
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.hosts import short
from trainwreck_analyzer.signature import Signature, matches
from trainwreck_analyzer.verdict import Evidence, Hypothesis

PRIOR_SHARE = 0.5
"""How much of the prior's logarithm counts: fleets differ tenfold, so it only breaks ties."""
UNKNOWN_NATS = 1.3
UNKNOWN_ALONE_NATS = 0.3
"""Where no symptom is left to explain: the evidence itself is the incident."""
TEMPERATURE = 1.0
"""Both fitted on labelled cases: see ``benchmarks``. Higher is less sure."""
HIGHEST_CONFIDENCE = 0.97
_FIRST_BONUS_NATS = 1.0
_LEANING_BEHIND_NATS = 0.1
_NEARLY_NATS = 0.6
_NOT_COMPARED_SHARE = 0.6
"""Of a kernel's line that nothing ties to the run's clock: it may be of another hour."""
_EXPLAINED_SHARE = 0.12
_SECOND_SHARES = (1.0, 0.35, 0.15)
"""What the best, second and third signature of one cause add: they are rarely independent."""
_CONFUSABLE_SHARES = (0.012, 0.006)
_MOST_EVIDENCE = 8
_LATER = timedelta(seconds=120)
"""A consequence may be stamped this much before its cause: clocks differ, logs are buffered."""


@dataclass(frozen=True, slots=True)
class Support:
    """A fact that speaks for a signature."""

    signature: Signature
    fact: Fact
    weight: float
    """Nats; less than the signature's where the run went on after it."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The hypotheses of one incident, and which supports are consequences of which."""

    hypotheses: tuple[Hypothesis, ...]
    leading: Support | None
    """The first strongest evidence of the leading cause; None for unknown."""
    explained: tuple[tuple[Support, Signature], ...]


def supports(facts: Sequence[Fact], catalogue: Catalogue) -> list[Support]:
    """Every pair of fact and signature that belong together."""
    found = []
    hosts = {fact.source for fact in facts if fact.evidence == "kernel"}
    for fact in facts:
        share = 0.1 if "run_went_on" in fact.fields else 1.0
        if fact.unzoned_time is not None and fact.source in hosts:
            share *= _NOT_COMPARED_SHARE
        found += [Support(s, fact, s.weight * share) for s in catalogue.of_kind(fact.kind)]
    return found


def earlier(one: Fact, other: Fact) -> bool:
    """Whether one fact is before the other, by time where both have one, else by reading order."""
    if one.time and other.time and one.time != other.time:
        return one.time < other.time
    return one.order < other.order


def weigh(facts: Sequence[Fact], catalogue: Catalogue) -> Weighed:
    """The hypotheses for the facts of one incident, the likeliest first; they sum to at most 1."""
    found = supports(facts, catalogue)
    firsts = _first_of_each(s for s in found if s.signature.role == "cause")
    explained_by = _explained(firsts)
    score: dict[str, float] = defaultdict(float)
    by_cause: dict[str, list[Support]] = defaultdict(list)
    for support in firsts.values():
        by_cause[support.signature.cause].append(support)
    for cause, group in by_cause.items():
        weights = sorted(
            (
                s.weight * (_EXPLAINED_SHARE if s.signature.id in explained_by else 1.0)
                for s in group
            ),
            reverse=True,
        )
        score[cause] += sum(w * share for w, share in zip(weights, _SECOND_SHARES, strict=False))
        score[cause] -= _against(group, facts)
    _add_first_bonus(score, firsts, explained_by)
    _add_leanings(score, found, by_cause)
    for cause in score:
        score[cause] += PRIOR_SHARE * math.log(causes()[cause].prior)
    hurt = any(s.signature.role == "symptom" for s in found)
    nats = UNKNOWN_NATS if hurt else UNKNOWN_ALONE_NATS
    score["unknown"] = nats + PRIOR_SHARE * math.log(causes()["unknown"].prior)
    for cause in score.keys() - by_cause.keys() - {"unknown"}:
        # Symptoms lean, they do not name: what only they speak for stays behind "unknown".
        score[cause] = min(score[cause], score["unknown"] - _LEANING_BEHIND_NATS)
    _add_confusable(score)
    confidence = _softmax(score)
    ranked = sorted(confidence, key=lambda c: (-confidence[c], c))
    hypotheses = tuple(
        Hypothesis(c, domain(c), confidence[c], _evidence(c, found, facts, explained_by))
        for c in ranked
        if confidence[c] >= 0.001 or c == "unknown"
    )
    leading = None
    if ranked[0] != "unknown" and by_cause.get(ranked[0]):
        live = [s for s in by_cause[ranked[0]] if s.signature.id not in explained_by]
        leading = _leading(live or by_cause[ranked[0]])
    pairs = [(s, explained_by[s.signature.id]) for s in found if s.signature.id in explained_by]
    return Weighed(hypotheses, leading, tuple(pairs))


def _leading(group: Sequence[Support]) -> Support:
    """The strongest; of those nearly as strong what the kernel said, for it names the part."""
    best = max(group, key=lambda s: s.weight)
    near = [s for s in group if s.weight >= best.weight - _NEARLY_NATS]
    return next((s for s in near if s.fact.evidence == "kernel" and s.signature.alone), best)


def _first_of_each(found: object) -> dict[str, Support]:
    firsts: dict[str, Support] = {}
    for support in found:  # type: ignore[attr-defined]
        known = firsts.get(support.signature.id)
        if (
            known is None
            or support.weight > known.weight
            or (support.weight == known.weight and earlier(support.fact, known.fact))
        ):
            firsts[support.signature.id] = support
    return firsts


def _explained(firsts: dict[str, Support]) -> dict[str, Signature]:
    """Signature id → the signature of which it is the consequence."""
    explained: dict[str, Signature] = {}
    for support in firsts.values():
        for other in firsts.values():
            if other.signature.id == support.signature.id or other.weight < 1.0:
                continue
            if other.signature.cause == support.signature.cause:
                continue
            if not _explains(other.signature, support) or _too_late(other.fact, support.fact):
                continue
            mutual = _explains(support.signature, other)
            if mutual and not earlier(other.fact, support.fact):
                continue
            explained.setdefault(support.signature.id, other.signature)
    return explained


def _explains(signature: Signature, consequence: Support) -> bool:
    wanted = signature.explains
    return (
        matches(consequence.signature.id, wanted)
        or matches(consequence.fact.kind.partition("/")[0], wanted)
        or matches(consequence.signature.cause, wanted)
    )


def _too_late(cause: Fact, consequence: Fact) -> bool:
    if cause.time is None or consequence.time is None:
        return False
    return cause.time - consequence.time > _LATER


def _against(group: Sequence[Support], facts: Sequence[Fact]) -> float:
    against: dict[str, float] = {}
    for support in group:
        for kind, nats in support.signature.against.items():
            if any(matches(f.kind, [kind]) and _there(f, support.fact) for f in facts):
                against[kind] = max(nats, against.get(kind, 0.0))
    return sum(against.values())


def _there(absence: Fact, fact: Fact) -> bool:
    """Whether what was not seen was looked for where a fact is: on its host, at its rank."""
    if absence.evidence != "absence":
        return True
    host, rank = absence.component.host, fact.component.rank
    if host and fact.component.host and short(host) != short(fact.component.host):
        return False
    ranks = absence.fields.get("ranks", "").split()
    return rank is None or not ranks or str(rank) in ranks


def _add_first_bonus(
    score: dict[str, float], firsts: dict[str, Support], explained_by: dict[str, Signature]
) -> None:
    live = [s for s in firsts.values() if s.signature.id not in explained_by and s.weight >= 2.0]
    if len({s.signature.cause for s in live}) < 2:
        return
    first = live[0]
    for support in live[1:]:
        if earlier(support.fact, first.fact):
            first = support
    score[first.signature.cause] += _FIRST_BONUS_NATS


def _add_leanings(
    score: dict[str, float], found: Sequence[Support], by_cause: dict[str, list[Support]]
) -> None:
    """Symptoms lend their weight to the cause they lean to, once for each symptom."""
    decided = any(value >= 2.0 for value in score.values())
    leanings: dict[str, dict[str, float]] = defaultdict(dict)
    for support in found:
        signature = support.signature
        if signature.role == "symptom" and signature.cause not in ("unknown", "none"):
            leanings[signature.cause][signature.id] = support.weight
    for cause, weights in leanings.items():
        if not decided or cause in by_cause:
            score[cause] += 0.5 * sum(weights.values()) if decided else sum(weights.values())


def _add_confusable(score: dict[str, float]) -> None:
    """What the leading cause is often taken for keeps a small share of it."""
    top = max(score, key=lambda cause: score[cause])
    for cause, share in zip(_confusable().get(top, ()), _CONFUSABLE_SHARES, strict=False):
        least = score[top] + TEMPERATURE * math.log(share)
        score[cause] = max(score.get(cause, least), least)


@cache
def _confusable() -> dict[str, list[str]]:
    with Path(__file__).with_name("confusable.toml").open("rb") as file:
        return tomllib.load(file)


def _softmax(score: dict[str, float]) -> dict[str, float]:
    top = max(score.values())
    raw = {c: math.exp((s - top) / TEMPERATURE) for c, s in score.items()}
    total = sum(raw.values())
    share = {c: r / total for c, r in raw.items()}
    # Rounded down: the sum stays at most 1.
    return {c: math.floor(min(p, HIGHEST_CONFIDENCE) * 10000) / 10000 for c, p in share.items()}


def _evidence(
    cause: str,
    found: Sequence[Support],
    facts: Sequence[Fact],
    explained_by: dict[str, Signature],
) -> tuple[Evidence, ...]:
    """For: the facts of the cause's signatures, one line each; against: what they name."""
    own = [s for s in found if s.signature.cause == cause]
    rows: list[tuple[float, int, Evidence]] = []
    seen: set[tuple[str | None, int | None, str]] = set()
    told: dict[str, int] = defaultdict(int)
    for support in own:
        place = (support.fact.source, support.fact.line, support.fact.text)
        told[support.signature.id] += 1
        if place in seen or told[support.signature.id] > 4:
            continue
        seen.add(place)
        share = _EXPLAINED_SHARE if support.signature.id in explained_by else 1.0
        first = told[support.signature.id] == 1
        weight = support.weight * share if first else 0.0
        rows.append((-weight, support.fact.order, evidence(support.fact, True, weight)))
    for kind, nats in {k: n for s in own for k, n in s.signature.against.items()}.items():
        rows += [
            (-nats, f.order, evidence(f, False, -nats))
            for f in facts
            if matches(f.kind, [kind]) and any(_there(f, s.fact) for s in own)
        ][:1]
    if cause == "unknown":
        # What was looked for and is not there is what is known of an unknown cause.
        absent = [f for f in facts if f.evidence == "absence"]
        rows += [(0.0, f.order, evidence(f, True, 0.0)) for f in absent]
    rows.sort(key=lambda row: row[:2])
    return tuple(row[2] for row in rows[:_MOST_EVIDENCE])


def evidence(fact: Fact, supports: bool, weight: float) -> Evidence:
    """A fact as evidence for or against."""
    return Evidence(
        fact.evidence,
        supports,
        fact.text,
        fact.source,
        fact.line,
        fact.time,
        fact.sql,
        round(weight, 2),
    )
