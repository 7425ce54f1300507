"""Tells the run's incidents from what befell its host before the run began.

A kernel log and the recorder's data reach back to before the run. What was over by then, and stands
in none of its logs, is an incident all the same: of the host. It comes after those of the run, says
so, and carries none of the run's numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from trainwreck_analyzer.verdict import Incident, Input, Run


def run_first(incidents: Iterable[Incident], inputs: Sequence[Input]) -> tuple[Incident, ...]:
    """The incidents of the run as they are, then those of the host before it, marked."""
    logs = {entry.path for entry in inputs if entry.kind == "training_log"}
    starts = [e.first_time for e in inputs if e.kind == "training_log" and e.first_time is not None]
    began = min(starts, default=None)
    own: list[Incident] = []
    others: list[Incident] = []
    for incident in incidents:
        if began is not None and _is_before(incident, began, logs):
            others.append(_marked(incident, began))
        else:
            own.append(incident)
    return (*own, *others)


def _is_before(incident: Incident, began: datetime, logs: set[str]) -> bool:
    if incident.end is None or incident.end >= began:
        return False
    sources = {e.source for h in incident.hypotheses for e in h.evidence}
    sources |= {victim.source for victim in incident.victims}
    return logs.isdisjoint(source for source in sources if source is not None)


def _marked(incident: Incident, began: datetime) -> Incident:
    said, clocks, rest = incident.verdict.summary.partition(" Clocks: ")
    said = f"{said} It was over before the run began at {began:%H:%M:%S} UTC.{clocks}{rest}"
    verdict = replace(incident.verdict, summary=said)
    return replace(incident, run=Run(), before_run=True, verdict=verdict)
