"""What a diagnosis says: the document every view renders (``diagnose --json``, version 1).

All classes are frozen; ``None`` means not known. Times are aware UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

DOCUMENT_VERSION = 1

InputKind = Literal["training_log", "kernel_log", "flight_recorder", "unknown"]
EvidenceKind = Literal["log", "kernel", "telemetry", "absence", "inventory"]


@dataclass(frozen=True, slots=True)
class Input:
    """One file that was read."""

    path: str
    kind: InputKind
    lines: int
    first_time: datetime | None = None
    last_time: datetime | None = None
    unparsed_lines: int = 0
    cut_off: bool = False
    """Its last line has no end, and it does not say that the run ended: more may have followed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for or against a hypothesis, with a pointer a person can follow."""

    kind: EvidenceKind
    supports: bool
    """True: for the hypothesis; false: against it. ``for`` in the document."""
    text: str
    """For log and kernel evidence: the line itself, as it stands at ``source``:``line``."""
    source: str | None = None
    """Path of the file, or the data directory."""
    line: int | None = None
    """Line number in ``source``, from 1."""
    time: datetime | None = None
    sql: str | None = None
    """A query that runs on the data directory and returns the rows that are claimed."""
    weight: float = 0.0
    """What it adds to the hypothesis' score, in nats; negative where it speaks against."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One possible cause."""

    cause: str
    """A code of ``causes.csv``."""
    domain: str
    confidence: float
    """Probability that this is the cause, 0 … 1."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Component:
    """What failed, as far as it is known."""

    host: str | None = None
    gpu: int | None = None
    gpu_uuid: str | None = None
    pci: str | None = None
    rank: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in one line."""

    cause: str
    domain: str
    confidence: float
    summary: str
    """One or two sentences for a tired person: what broke, where, and why we think so."""
    component: Component = field(default_factory=Component)


@dataclass(frozen=True, slots=True)
class Run:
    """The training run, as its logs tell."""

    job: str | None = None
    framework: str | None = None
    world_size: int | None = None
    last_step: int | None = None


@dataclass(frozen=True, slots=True)
class Victim:
    """A loud line that is a consequence."""

    rank: int | None
    host: str | None
    text: str
    why: str
    source: str | None = None
    """Path of the file, or the data directory."""
    line: int | None = None
    """Line number in ``source``, from 1; ``text`` is that line."""
    sql: str | None = None
    """For what the recorder saw: a query that returns the rows."""

    def line_of_rank(self, text: str) -> str:
        """Its text, as a view has prepared it, with the rank in front unless it begins with it."""
        begins = re.match(rf"\[?rank ?{self.rank}\b", text, re.ASCII | re.IGNORECASE)
        return text if self.rank is None or begins else f"rank {self.rank}: {text}"


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong, with its verdict and everything that led there."""

    id: str
    start: datetime | None
    end: datetime | None
    run: Run
    verdict: Verdict
    hypotheses: tuple[Hypothesis, ...]
    victims: tuple[Victim, ...] = ()
    not_measured: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    before_run: bool = False
    """It befell the host, and was over before the run whose logs were read began."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The whole document."""

    inputs: tuple[Input, ...]
    incidents: tuple[Incident, ...]
    version: int = DOCUMENT_VERSION
