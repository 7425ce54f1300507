"""What a verdict says in words: the summary, the victims, what was not measured, what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from trainwreck_analyzer.causes import causes
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.verdict import Component, Victim
from trainwreck_analyzer.weigh import Support, Weighed

_MOST_VICTIMS = 1000
_FIELD = re.compile(r"\{(\w+)\}")
_UNMEASURED = {
    "hardware": ("kernel", "telemetry"),
    "memory": ("kernel", "telemetry"),
    "architecture": ("telemetry",),
    "algorithm": ("kernel",),
    "software": ("kernel", "telemetry"),
    "operational": ("scheduler",),
    "none": ("kernel", "telemetry", "ranks", "scheduler"),
}
_WHY = {
    "kernel": "No kernel log of the hosts was given: it would show or rule out Xid, ECC, OOM kills "
    "and lost devices.",
    "telemetry": "No recorder data was given: memory, GPU counters and process exits around that "
    "time are not known.",
    "scheduler": "No scheduler record was given (sacct, kubectl get events): it would say who "
    "ended the job and why.",
    "ranks": "Logs of other ranks were not given: the first failure may stand in one of them.",
}


_SHARED = frozenset(
    {
        "switch_cable", "nic_ib", "nvswitch", "nccl_config_network", "rendezvous", "storage_nfs",
        "storage_bandwidth", "interconnect_bandwidth", "version_mismatch", "driver_mismatch",
    }
)  # fmt: skip
"""Causes that whoever is hurt reports: of several ranks none is the one that failed."""


def summary(cause: str, leading: Support | None, component: Component, loud: int) -> str:
    """One or two sentences for a tired person; ``loud`` lines are consequences."""
    entry = causes()[cause]
    if cause == "unknown" or leading is None:
        if cause != "unknown":
            return f"{entry.title}: {entry.means}."
        told = f" {consequences(loud)}." if loud else ""
        return f"Something went wrong, and what was given does not decide why.{told}"
    signature = leading.signature
    fields = leading.fact.fields
    said = _FIELD.sub(lambda m: fields.get(m[1], ""), signature.says).strip()
    if not said or "  " in said or " ." in said:
        said = signature.means or f"{entry.title}: {entry.means}"
    where = place(component)
    return f"{said.rstrip('.')}.{' ' + where + '.' if where else ''}"


def consequences(loud: int) -> str:
    """How many lines are consequences, in words."""
    return "1 loud line is a consequence" if loud == 1 else f"{loud} loud lines are consequences"


def told_by(cause: str, found: Sequence[Support]) -> str:
    """How many hosts' kernels tell of a cause that is no single host's; empty: one at most."""
    if cause not in _SHARED:
        return ""
    alike = [s.fact for s in found if s.signature.role == "cause" and s.signature.cause == cause]
    hosts = sorted({f.component.host for f in alike if f.evidence == "kernel"} - {None}, key=str)
    if len(hosts) < 2:
        return ""
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return f"The kernels of {len(hosts)} hosts tell of it: {', '.join(map(str, hosts[:3]))}{more}."


def place(component: Component) -> str:
    """Where it happened, as far as it is known: ``Rank 3, host node1, GPU 0000:9b:00``."""
    parts = []
    if component.rank is not None:
        parts.append(f"rank {component.rank}")
    if component.host:
        parts.append(f"host {component.host}")
    gpu = component.gpu_uuid or component.pci or component.gpu
    if gpu is not None:
        parts.append(f"GPU {gpu}" if component.gpu or component.gpu_uuid else f"device {gpu}")
    if component.device and component.device != gpu:
        parts.append(component.device)
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def victims(weighed: Weighed, symptoms: Sequence[Support], cause: str) -> tuple[Victim, ...]:
    """The loud lines that are consequences, and of what; one for each rank and signature.

    A line that stands as evidence for the cause is not told of twice.
    """
    root = causes()[cause].title
    found: list[Victim] = []
    seen: set[tuple[str, int | None]] = set()
    leading = weighed.leading.fact if weighed.leading else None
    pairs = [(s, by.title) for s, by in weighed.explained]
    pairs += [(s, root if cause != "unknown" else "a cause not seen here") for s in symptoms]
    lines = {(leading.source, leading.line)} if leading else set()
    if cause != "unknown":
        lines |= {(e.source, e.line) for e in weighed.hypotheses[0].evidence if e.supports}
    for support, of in pairs:
        fact = support.fact
        rank, line = fact.component.rank, (fact.source, fact.line)
        if (support.signature.id, rank) in seen or (fact.line is not None and line in lines):
            continue
        seen.add((support.signature.id, rank))
        lines.add(line)
        why = f"{support.signature.title}: a consequence of {_within(of)}"
        host = fact.component.host
        found.append(Victim(rank, host, fact.text, why, fact.source, fact.line, fact.sql))
    return tuple(found[:_MOST_VICTIMS])


def _within(title: str) -> str:
    """A title as it stands within a sentence: names keep their letters (GPU, NaN, NVLink)."""
    word = title.split(" ", 1)[0]
    return title if any(letter.isupper() for letter in word[1:]) else title[:1].lower() + title[1:]


def component(
    leading: Support | None, facts: Sequence[Fact], cause: str, found: Sequence[Support] = ()
) -> Component:
    """What failed: from the leading evidence, filled up by ``found`` of the same cause.

    A kernel names a process, and what the launcher says of the same process names its rank.
    """
    if leading is None:
        return Component()
    own = leading.fact.component
    alike = [s.fact for s in found if s.signature.role == "cause" and s.signature.cause == cause]
    pid = next((f.fields["pid"] for f in (leading.fact, *alike) if "pid" in f.fields), None)
    known = [f.component for f in facts if pid and f.fields.get("pid") == pid]
    rank = own.rank
    if rank is None:
        rank = next((c.rank for c in known if c.rank is not None), None)
    if causes()[cause].domain == "algorithm" or cause in _SHARED:
        # The gradients are shared: every rank sees the same loss, and nobody knows whose it was.
        ranks = {f.component.rank for f in alike if f.component.rank is not None}
        rank = rank if len(ranks) == 1 else None
    host = own.host or next((c.host for c in known if c.host), None)
    device = own.device or leading.fact.fields.get("device")
    if cause in _SHARED and len({f.component.host for f in alike} - {None}) > 1:
        return Component(rank=rank)
    if causes()[cause].domain not in _HAS_A_PLACE:
        return Component(host, own.gpu, own.gpu_uuid, own.pci, rank, device)
    alike_there = [f.component for f in alike]
    host = host or _only(c.host for c in alike_there)
    here = [c for c in alike_there if c.host is None or c.host == host]
    if device is None and causes()[cause].domain == "hardware":
        device = _only(c.device for c in here)  # of memory it would be the long name of a group
    return Component(
        host,
        own.gpu if own.gpu is not None else _only(c.gpu for c in here),
        own.gpu_uuid or _only(c.gpu_uuid for c in here),
        own.pci or _only(c.pci for c in here),
        rank if rank is not None or cause in _SHARED else _only(c.rank for c in here),
        device,
    )


_HAS_A_PLACE = ("hardware", "memory")
"""Domains of causes that several lines tell of one part: each names what it knows of it."""


_Value = TypeVar("_Value")


def _only(values: Iterable[_Value | None]) -> _Value | None:
    """The one value that is known; None where there is none, or more than one."""
    known = {value for value in values if value is not None}
    return known.pop() if len(known) == 1 else None


def not_measured(
    asked: Sequence[str], have: set[str], unrecorded: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """What would have decided between the causes asked about, and was not there.

    ``unrecorded`` are collectors with a sentence each; one that decides none of them is left out.
    """
    wanted = _UNMEASURED[causes()[asked[0]].domain]
    told = [_WHY[name] for name in wanted if name not in have]
    codes = {code for cause in asked for code in (cause, causes()[cause].domain)}
    for collector, sentence in unrecorded:
        if codes & set(_decides().get(collector.split("/")[0], ())):
            told.append(sentence)
    return tuple(told)


@cache
def _decides() -> dict[str, list[str]]:
    """Causes and domains that each collector decides."""
    with Path(__file__).with_name("telemetry").joinpath("decides.toml").open("rb") as file:
        return tomllib.load(file)


def actions(
    leading: Support | None, symptoms: Sequence[Support], have: set[str]
) -> tuple[str, ...]:
    """What to do first, then next; from the signatures, or what is missing to decide."""
    if leading is not None:
        return tuple(leading.signature.do)
    found: list[str] = []
    for support in symptoms:
        found += [d for d in support.signature.do if d not in found]
    missing = [name for key, name in _TO_GIVE.items() if key not in have]
    if missing:
        found.append(f"Give {' and '.join(missing)} to trainwreck diagnose.")
    if "telemetry" not in have:
        found.append("Run the recorder (trainwreck record) before the next start.")
    elif not found:
        found.append("py-spy dump the rank that is behind when it happens again.")
    return tuple(found[:5])


_TO_GIVE = {"ranks": "the logs of all ranks", "kernel": "the kernel log of the hosts"}
