r"""Which hosts a run was on, as its own logs tell, and what happened on others.

Only what every rank prints counts, so that a host that fell silent is not taken for a stranger::

    node3:4711:4790 [5] NCCL INFO Bootstrap : Using eth0:10.0.0.13<0>
    SLURM_JOB_NODELIST=node[0-3,7]
    2026-11-20 08:00:00 INFO host node3 local_rank 5 rank 29 world_size 32

Source: https://github.com/NVIDIA/nccl/blob/master/src/debug.cc, https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.fact import Fact

_NAME = r"[A-Za-z][\w-]{0,62}(?:\.[\w-]{1,62}){0,8}"
_NCCL = re.compile(rf"(?:^|\s)({_NAME}):(\d{{1,10}}):\d{{1,10}} \[\d{{1,3}}\] NCCL INFO ", re.ASCII)
_SAID = re.compile(
    rf"\b(?:[Hh]ost(?:[Nn]ame|_name)?|SLURMD_NODENAME|[Nn]ode_?[Nn]ame)['\"]?\s?[=: ]\s?['\"]?"
    rf"({_NAME})",
    re.ASCII,
)
_NODES = re.compile(r"SLURM_(?:JOB_|STEP_)?NODELIST['\"]?\s?[=:]\s?['\"]?([\w.,\[\]-]{1,2000})")
_GROUP = re.compile(r"([\w.-]+)(?:\[([\d,-]+)\])?(?:,|$)")
_MOST_OF_A_LIST = 20_000
_SHARED = frozenset(
    {
        "switch_cable", "nvswitch", "cooling_chassis", "cooling_capacity", "psu_power", "disk",
        "storage_nfs", "storage_bandwidth", "disk_full", "maintenance", "preemption", "time_limit",
        "user_kill", "none", "unknown",
    }
)  # fmt: skip
"""Causes that may hurt a run from a host that it was not on: switches, power, storage."""


@dataclass(frozen=True, slots=True)
class Named:
    """The hosts that one log names."""

    hosts: frozenset[str] = frozenset()
    processes: int = 0
    """How many processes NCCL's lines tell apart."""
    listed: bool = False
    """The scheduler's own list of all of them is among it."""


@dataclass(frozen=True, slots=True)
class RunHosts:
    """The hosts of the run; none where its logs do not name them all."""

    names: frozenset[str] = frozenset()

    def strange(self, host: str | None) -> bool:
        """Whether a host is surely none of the run's."""
        return bool(self.names) and host is not None and short(host) not in self.names


def short(host: str) -> str:
    """A host's name without its domain, in small letters; an address stays as it is."""
    return host.lower() if host.replace(".", "").isdigit() else host.split(".", 1)[0].lower()


def named(text: str) -> Named:
    """The hosts that the beginning of a log names as its own."""
    found: set[str] = set()
    processes: set[tuple[str, str]] = set()
    for line in text.split("\n"):
        if "NCCL INFO" in line:
            processes.update(_NCCL.findall(line[:300]))
        elif match := _SAID.search(line[:500]):
            # Hosts have numbers; "host memory" and "hostname resolution" are words.
            found |= {short(match[1])} if any(c.isdigit() for c in match[1]) else set()
    found |= {short(host) for host, _ in processes}
    nodes = _NODES.search(text)
    listed = set(_expanded(nodes[1])) if nodes else set()
    return Named(frozenset(found | listed), len(processes), bool(listed))


def _expanded(text: str) -> Iterable[str]:
    """The names of a Slurm node list; nothing where it is too long or odd."""
    for name, ranges in _GROUP.findall(text):
        if not ranges:
            yield short(name)
            continue
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            if not first.isdigit() or not (last or first).isdigit():
                continue
            numbers = range(int(first), min(int(last or first), int(first) + _MOST_OF_A_LIST) + 1)
            yield from (short(f"{name}{number:0{len(first)}}") for number in numbers)


def of_run(logs: Sequence[tuple[str, int | None, Named]], ranks: int | None) -> RunHosts:
    """The hosts of a run, where every rank's log or the scheduler names its own.

    Args:
        logs: Path, rank and what is named, of each training log.
        ranks: How many there are, where a log tells.
    """
    names = frozenset(host for _, _, one in logs for host in one.hosts)
    if any(one.listed for _, _, one in logs):
        return RunHosts(names)
    of_ranks = [one for _, rank, one in logs if rank is not None]
    every = bool(of_ranks) and all(len(one.hosts) == 1 for one in of_ranks)
    told = max(len(of_ranks) if every else 0, sum(one.processes for _, _, one in logs))
    return RunHosts(names) if ranks is not None and told >= ranks else RunHosts()


def placed(facts: Iterable[Fact], names: frozenset[str]) -> list[Fact]:
    """Kernel facts that name no host get the run's host that their file is named after."""
    of_path: dict[str, str | None] = {}
    found = []
    for fact in facts:
        if fact.evidence == "kernel" and fact.component.host is None and fact.source:
            if fact.source not in of_path:
                of_path[fact.source] = _of_path(fact.source, names)
            if host := of_path[fact.source]:
                fact = replace(fact, component=replace(fact.component, host=host))
        found.append(fact)
    return found


def _of_path(path: str, names: frozenset[str]) -> str | None:
    """``dmesg-node2.txt``, ``node2/kern.log``: the one name that stands in it."""
    for part in reversed(PurePath(path).parts[-2:]):
        words = set(re.split(r"[^a-z0-9-]+", part.lower())) | set(re.split(r"\W|_|-", part.lower()))
        if len(known := words & names) == 1:
            return known.pop()
    return None


def without_strangers(
    facts: Sequence[Fact], run: RunHosts, catalogue: Catalogue
) -> tuple[list[Fact], list[str]]:
    """The facts that can be of the run, and a sentence on those of hosts it was not on.

    A host that the run's own lines speak of, such as a file server, stays.
    """
    of_file = hosts_of_files(facts)
    hosts = [f.component.host or of_file.get(f.source) for f in facts]
    own = [f.text for f, host in zip(facts, hosts, strict=True) if not run.strange(host)]
    strange = {h for h in hosts if h and run.strange(h) and not any(short(h) in t for t in own)}
    kept: list[Fact] = []
    left: dict[str, set[tuple[str | None, int | None, str]]] = {}
    for fact, host in zip(facts, hosts, strict=True):
        causes = {s.cause for s in catalogue.of_kind(fact.kind)}
        if host not in strange or causes & _SHARED:
            kept.append(fact)
        elif causes:
            left.setdefault(host or "", set()).add((fact.source, fact.line, fact.text))
    return kept, [_told(host, len(lines), run) for host, lines in sorted(left.items())]


def hosts_of_files(facts: Iterable[Fact]) -> dict[str | None, str]:
    """The host of each file whose kernel lines name one and no other."""
    found: dict[str | None, set[str]] = {}
    for fact in facts:
        if fact.evidence == "kernel" and fact.source and fact.component.host:
            found.setdefault(fact.source, set()).add(fact.component.host)
    return {path: next(iter(hosts)) for path, hosts in found.items() if len(hosts) == 1}


def _told(host: str, count: int, run: RunHosts) -> str:
    own = (
        f"none of the run's {len(run.names)} hosts" if len(run.names) > 1 else "not the run's host"
    )
    what = "1 line" if count == 1 else f"{count} lines"
    return f"Left out: {what} of {host}, which is {own}."
