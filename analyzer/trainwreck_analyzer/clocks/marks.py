"""Events that several files can tell of, so that their clocks can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainwreck_analyzer import kernel
from trainwreck_analyzer.clock import Clock
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.series import Step

Key = tuple[str, ...]

MOST_STEPS = 400
"""So many of the last are compared: to a recorder what was logged before its start is old."""
DEATH_KINDS = re.compile(r"(?:cgroup_)?oom_kill|segfault|trap|xid_\d{1,3}", re.ASCII)
_REPORT = re.compile(r"exit ?code|exited|died|killed|terminated|[Ss]ignal|SIG[A-Z]{3,4}", re.ASCII)
WAITED = re.compile(r"ran for (\d{1,10}) milliseconds", re.ASCII)
"""How long a collective had been waited for when it was called timed out."""
_PID = re.compile(r"\bpid[:= ] ?(\d{1,10})\b|\bprocess (\d{1,10})\b", re.ASCII | re.IGNORECASE)
_OF_TABLE = re.compile(r"\s{1,8}(?:exitcode|traceback) {1,8}: ", re.ASCII)
"""Lines of torchelastic's table, which tells when a rank failed a few lines above."""
_CLOCK = Clock()


@dataclass(frozen=True, slots=True)
class Mark:
    """One event, at a time of the clock of the file that tells of it."""

    key: Key
    at_s: float
    """Seconds since 1970 as that clock shows them, or since boot."""
    late: bool = False
    """It tells of the event some time after it, so ``at_s`` is never too early."""
    loose: bool = False
    """Its time is that of a line before it: good enough for a zone, not for a skew."""


def of_facts(facts: Iterable[Fact], *, boot: bool) -> Iterator[Mark]:
    """The marks among the facts of one file.

    Args:
        facts: Of one file.
        boot: On the clock that counts from boot, else on the wall clock.
    """
    for fact in facts:
        at_s = monotonic_s(fact) if boot else fact.time.timestamp() if fact.time else None
        if at_s is None:
            continue
        if fact.evidence == "kernel":
            yield Mark(of_kernel_line(fact.kind, fact.text), at_s)
            pid = fact.fields.get("pid", "")
            if pid.isdigit() and DEATH_KINDS.fullmatch(fact.kind):
                yield Mark(death(pid), at_s)
        elif _REPORT.search(fact.text):
            loose = not has_own_time(fact)
            for found in _PID.finditer(fact.text[:1000]):
                yield Mark(death(found[1] or found[2]), at_s, late=True, loose=loose)


def has_own_time(fact: Fact) -> bool:
    """Whether a line shows its time itself, or stands in a table that does."""
    return _OF_TABLE.match(fact.text) is not None or _CLOCK.time(fact.text[:300]) is not None


def of_steps(steps: Sequence[Step]) -> Iterator[Mark]:
    """The marks among the steps of one file."""
    dated = [s for s in steps if s.step is not None and s.time is not None]
    for step in dated[-MOST_STEPS:]:
        if step.time is not None:
            yield Mark(of_step(step.step, step.loss), step.time.timestamp())


def death(pid: str) -> Key:
    """The end of a process."""
    return ("death", str(int(pid)))


def of_kernel_line(kind: str, text: str) -> Key:
    """A line of the kernel, whatever wrote its prefix."""
    return ("kernel", kind, kernel.split(text).text.strip())


def of_step(step: int | None, loss: float | None) -> Key:
    """A step with its loss: a run that is started again seldom has the same."""
    return ("step", str(step), "" if loss is None else f"{loss:.4g}")


def monotonic_s(fact: Fact) -> float | None:
    """Seconds since boot of a kernel line; None where it names none."""
    text = fact.fields.get("monotonic_s")
    return float(text) if text else None
