"""The diagnosis as plain text for a terminal: what broke, how sure, why, what to do."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from trainwreck_analyzer.causes import causes
from trainwreck_analyzer.kernel.journal_entry import message
from trainwreck_analyzer.tell import consequences
from trainwreck_analyzer.verdict import (
    Diagnosis,
    Evidence,
    Hypothesis,
    Incident,
    Input,
    Victim,
)

WIDTH = 88
_CONTROL = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOST_VICTIMS = 6
_MOST_OTHERS = 3
_MOST_RUNS = 8
_MOST_INPUTS = 8
"""Of one kind; more are told of in one line."""


def to_text(diagnosis: Diagnosis) -> str:
    """The whole diagnosis, ending in a line end; no line holds a control character."""
    lines: list[str] = []
    for number, incident in enumerate(diagnosis.incidents):
        if number:
            lines += ["", "─" * WIDTH, ""]
        lines += _incident(incident)
    if not diagnosis.incidents:
        lines.append("No incident: nothing in the input shows that the run was hurt.")
        lines += [line for told in cut_off(diagnosis.inputs) for line in _wrapped(told, "")]
    lines += ["", *_inputs(diagnosis)]
    return "\n".join(lines).rstrip() + "\n"


def cut_off(inputs: Sequence[Input]) -> list[str]:
    """That logs stop in the middle of a line: nothing wrong in them is not the same as all well."""
    cut = [item for item in inputs if item.cut_off]
    if not cut:
        return []
    more = f" and {len(cut) - 1} more stop" if len(cut) > 1 else " stops"
    return [
        f"{clean(cut[0].path)}{more} in the middle of a line: how the run went on is not known."
        " The log to its end, the kernel log of the hosts and the scheduler's record would say."
    ]


def clean(text: str) -> str:
    """Text that cannot move the cursor or colour the terminal; of a journal's entry the message."""
    return _CONTROL.sub("", message(text).replace("\t", "    ")).strip()


def percent(confidence: float) -> str:
    """A probability in whole percent."""
    return f"{100 * confidence:.0f} %"


def _incident(incident: Incident) -> Iterator[str]:
    verdict = incident.verdict
    title = causes()[verdict.cause].title
    sure = "undecided" if verdict.cause == "unknown" else f"{percent(verdict.confidence)} sure"
    yield f"{title.upper()}   {sure}   ({verdict.cause}, {verdict.domain})"
    yield ""
    yield from _wrapped(verdict.summary, "  ")
    about = _about(incident)
    if about:
        yield ""
        yield f"  {about}"
    lead = next((h for h in incident.hypotheses if h.cause == verdict.cause), None)
    if lead:
        yield from _evidence("For", [e for e in lead.evidence if e.supports])
        yield from _evidence("Against", [e for e in lead.evidence if not e.supports])
    yield from _others(incident)
    yield from _victims(incident.victims)
    yield from _list("Do", incident.actions, numbered=True)
    yield from _list("Not measured", incident.not_measured, numbered=False)


def _about(incident: Incident) -> str:
    run = incident.run
    parts = []
    if incident.start:
        parts.append(incident.start.strftime("%Y-%m-%d %H:%M:%S UTC"))
    if run.framework:
        parts.append(run.framework)
    if run.job:
        parts.append(f"job {run.job}")
    if run.world_size:
        parts.append(f"{run.world_size} ranks")
    if run.last_step is not None:
        parts.append(f"last step {run.last_step}")
    return " · ".join(clean(p) for p in parts)


def _evidence(title: str, items: list[Evidence]) -> Iterator[str]:
    if not items:
        return
    yield ""
    yield title
    for item in items:
        text = textwrap.shorten(clean(item.text), 3 * WIDTH, placeholder=" …")
        yield from _wrapped(text, "    ", first="  • ")
        yield f"      {clean(_place(item.source or item.kind, item.line))}"


def _place(source: str, line: int | None) -> str:
    return source if line is None else f"{source}:{line}"


def _others(incident: Incident) -> Iterator[str]:
    others = [h for h in incident.hypotheses if h.cause != incident.verdict.cause]
    shown = [h for h in others if h.confidence >= 0.02][:_MOST_OTHERS]
    if not shown:
        return
    yield ""
    yield "Else"
    for other in shown:
        yield f"  {percent(other.confidence):>5}  {_name(other)}"


def _name(hypothesis: Hypothesis) -> str:
    return causes()[hypothesis.cause].title


def _victims(victims: tuple[Victim, ...]) -> Iterator[str]:
    if not victims:
        return
    ranks = sorted({v.rank for v in victims if v.rank is not None})
    named = f" (rank{'s' * (len(ranks) > 1)} {spans(ranks)})"
    yield ""
    yield f"Victims: {consequences(len(victims))}{named if ranks else ''}"
    for victim in victims[:_MOST_VICTIMS]:
        words = victim.line_of_rank(clean(victim.text))
        yield "  • " + textwrap.shorten(words, WIDTH - 4, placeholder=" …")
        yield "      " + textwrap.shorten(clean(victim.why), WIDTH - 6, placeholder=" …")
        if victim.source:
            yield f"      {clean(_place(victim.source, victim.line))}"
    if len(victims) > _MOST_VICTIMS:
        yield f"  … and {len(victims) - _MOST_VICTIMS} more"


def spans(numbers: Sequence[int]) -> str:
    """Sorted numbers with runs drawn together: ``0-42, 44-63``; of many runs the first ones."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown: list[str] = []
    for run in runs[:_MOST_RUNS]:
        shown += [str(n) for n in run] if len(run) < 3 else [f"{run[0]}-{run[-1]}"]
    return ", ".join(shown) + (" …" if len(runs) > _MOST_RUNS else "")


def _list(title: str, items: tuple[str, ...], *, numbered: bool) -> Iterator[str]:
    if not items:
        return
    yield ""
    yield title
    for number, item in enumerate(items, 1):
        mark = f"  {number}. " if numbered else "  • "
        yield from _wrapped(clean(item), " " * len(mark), first=mark)


def _inputs(diagnosis: Diagnosis) -> Iterator[str]:
    """One line for each input; where there are many, one for those of a kind."""
    kinds: dict[str, list[Input]] = {}
    for item in diagnosis.inputs:
        kinds.setdefault(item.kind, []).append(item)
    for kind, items in kinds.items():
        if len(items) <= _MOST_INPUTS:
            for item in items:
                yield f"Read {clean(item.path)}: {kind.replace('_', ' ')}, {_size([item])}"
            continue
        name = "files of no known kind" if kind == "unknown" else f"{kind.replace('_', ' ')}s"
        ends = f"{clean(items[0].path)} … {clean(items[-1].path)}"
        yield f"Read {len(items)} {name}, {_size(items)}: {ends}"


def _size(items: Sequence[Input]) -> str:
    lines, bad = sum(i.lines for i in items), sum(i.unparsed_lines for i in items)
    return f"{lines} line{'s' * (lines != 1)}" + (f", {bad} unreadable" if bad else "")


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        clean(text),
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    ) or [""]
