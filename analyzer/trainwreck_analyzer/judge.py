"""Judges a case: which incidents its facts make, and what each says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from trainwreck_analyzer import incidents, tell
from trainwreck_analyzer.case import Case
from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.clocks import tell as clocks_tell
from trainwreck_analyzer.deaths import of_the_run
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.first_look import first_look
from trainwreck_analyzer.verdict import Incident, Verdict
from trainwreck_analyzer.weigh import Weighed, supports, weigh

ASKED_FROM = 0.1
"""Hypotheses at least so probable would have been worth deciding."""


def judge(case: Case, catalogue: Catalogue) -> tuple[Incident, ...]:
    """The incidents that the facts make; pure."""
    groups = incidents.apart(case.facts, catalogue, case.restarts)
    found = [_incident(group, case, catalogue) for group in groups]
    return tuple(_merged([i for i in found if i is not None]))


def _incident(facts: Sequence[Fact], case: Case, catalogue: Catalogue) -> Incident | None:
    facts = of_the_run(facts, catalogue)
    weighed = weigh(facts, catalogue)
    top = weighed.hypotheses[0]
    found = supports(facts, catalogue)
    symptoms = [s for s in found if s.signature.role == "symptom"]
    where = tell.component(weighed.leading, facts, top.cause, found)
    start, end = _bounds(facts, weighed, catalogue)
    asked = [h.cause for h in weighed.hypotheses if h is top or h.confidence >= ASKED_FROM]
    paths = [f.source for f in facts if f.source is not None]
    have = case.have
    if weighed.leading is not None and weighed.leading.fact.kind in incidents.SCHEDULER:
        have = have | {"scheduler"}
    hurt = tell.victims(weighed, symptoms, top.cause)
    look = None
    if weighed.leading is None:
        complaints = [s.fact for s in symptoms]
        look = first_look(facts, complaints, case.ends, case.run.world_size)
    said = (
        tell.summary(top.cause, weighed.leading, where, len(hurt)),
        look or "",
        tell.told_by(top.cause, found),
        *case.left_out,
        clocks_tell.stated(case.clocks, paths, recorded="telemetry" in case.have),
    )
    return Incident(
        _identity(facts, top.cause),
        start,
        end,
        case.run,
        Verdict(
            top.cause,
            top.domain,
            top.confidence,
            " ".join(filter(None, said)),
            where,
        ),
        weighed.hypotheses,
        hurt,
        (
            *clocks_tell.not_compared(case.clocks, paths, recorded="telemetry" in case.have),
            *tell.not_measured(asked, have, case.unmeasured),
        ),
        tell.actions(weighed.leading, symptoms, case.have),
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
