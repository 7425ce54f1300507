"""Whose deaths the kernel tells of: where it killed what the run's logs name, that is the one.

Another process that was killed for memory at the same time on another host is another story.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainwreck_analyzer.catalogue import Catalogue
from trainwreck_analyzer.clocks.marks import DEATH_KINDS
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.hosts import hosts_of_files

_PID = re.compile(r"\b(?:pid[:= ]|process) ?(\d{1,10})\b", re.ASCII | re.IGNORECASE)
_OF_A_DEATH = frozenset({"host_oom", "host_memory_leak", "segfault_software"})


def of_the_run(facts: Sequence[Fact], catalogue: Catalogue) -> list[Fact]:
    """The facts without deaths on other hosts than that of the process which the logs name."""
    of_file = hosts_of_files(facts)
    logs = [f for f in facts if f.evidence == "log" and f.source not in of_file]
    named = {int(pid) for f in logs for pid in _PID.findall(f.text)}
    hosts = {
        f.component.host
        for f in facts
        if f.evidence == "kernel"
        and DEATH_KINDS.fullmatch(f.kind)
        and f.fields.get("pid", "").isdecimal()
        and int(f.fields["pid"]) in named
    } - {None}
    if not hosts:
        return list(facts)

    def elsewhere(fact: Fact) -> bool:
        host = of_file.get(fact.source)
        if fact.evidence == "kernel":
            host = fact.component.host or host
        if host is None or host in hosts:
            return False
        causes = {s.cause for s in catalogue.of_kind(fact.kind)}
        return causes <= _OF_A_DEATH

    return [f for f in facts if not elsewhere(f)]
