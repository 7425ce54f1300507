"""What the app was opened with, and what was found: shared by all screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainwreck_analyzer.causes import causes
from trainwreck_analyzer.verdict import Diagnosis, Evidence, Incident, Victim


@dataclass(slots=True)
class Session:
    """Data directories, log paths, and the diagnosis once there is one."""

    data: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    diagnosis: Diagnosis | None = None
    local_time: bool = False
    kept: tuple[Incident, ...] = field(default=())
    """Incidents that were diagnosed earlier and kept with the data."""

    def incidents(self) -> tuple[Incident, ...]:
        """The incidents found now, then those kept from earlier; each once."""
        found = self.diagnosis.incidents if self.diagnosis else ()
        known = {incident.id for incident in found}
        return (*found, *(incident for incident in self.kept if incident.id not in known))

    def log_of(self, incident: Incident | None) -> Path | None:
        """The log to show beside an incident: of its evidence, its victims, else the first read."""
        evidence = incident.hypotheses[0].evidence if incident and incident.hypotheses else ()
        told: list[Evidence | Victim] = [one for one in evidence if one.kind == "log"]
        for one in (*told, *(incident.victims if incident else ())):
            if one.line is not None and one.source and Path(one.source).is_file():
                return Path(one.source)
        for entry in self.diagnosis.inputs if self.diagnosis else ():
            if entry.kind == "training_log" and Path(entry.path).is_file():
                return Path(entry.path)
        return None


def line_of(incident: Incident | None, path: Path) -> int | None:
    """Where in a log to begin to read: at the best evidence, else at the first victim."""
    evidence = incident.hypotheses[0].evidence if incident and incident.hypotheses else ()
    best = next((e.line for e in evidence if e.source == str(path) and e.line), None)
    victims = incident.victims if incident else ()
    lines = [v.line for v in victims if v.source == str(path) and v.line]
    return best if best is not None else min(lines, default=None)


def title(code: str) -> str:
    """The name of a cause for people."""
    found = causes().get(code)
    return found.title if found else code


def pointer_of_victim(victim: Victim) -> str:
    """Where a victim's line stands, short; empty where that is not known."""
    if victim.source and victim.line is not None and Path(victim.source).is_file():
        return f"{Path(victim.source).name}:{victim.line}"
    return "telemetry" if victim.sql else ""


def pointer(evidence: Evidence) -> str:
    """Where evidence can be looked up, short: ``train.log:855``, ``kernel log``, ``telemetry``."""
    if evidence.source and evidence.line is not None and evidence.kind in ("log", "kernel"):
        name = Path(evidence.source).name
        return f"{name}:{evidence.line}" if Path(evidence.source).is_file() else "kernel log"
    return {"kernel": "kernel log", "absence": "not seen"}.get(evidence.kind, evidence.kind)
