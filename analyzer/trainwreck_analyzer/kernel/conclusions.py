"""What several kernel facts together say, each said once: a suspect GPU, a link that flaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.xid import CONSEQUENCES

_APPLICATION_XIDS = frozenset({"xid_13", "xid_31", "xid_43", "xid_69", "xid_137"})
_REPEATED = 3
"""Faults on one GPU, by as many different processes, from which on the GPU is suspect and not the
program."""
_CORRECTED_OFTEN = 10
"""Corrected errors of one host's PCIe links in one log, from which on they are more than noise."""
_MEMORY_CORRECTED_OFTEN = 5
"""Corrected errors of one host's memory in one log, from which on a module is suspect."""
_BOOTING_S = 60.0
"""A link that comes up and goes down within this time is being set up."""
_BOOTED_S = 600.0
"""After this uptime nothing is set up any more."""
_FABRIC_DRIVERS = frozenset({"mlx5_core", "mlx4_core", "ice", "bnxt_en", "i40e", "ixgbe"})
"""Adapters of data networks: a cable that is pulled in daily use is not theirs."""
_RECOVERIES = {"nfs_recovered": "nfs_not_responding", "lustre_recovered": "lustre_connection_lost"}
_STALLED_AT_MOST_S = 600.0
"""A file server that answers again within this time only made its clients wait."""
_HELD_AT_MOST = 100


class Conclusions:
    """Looks at the facts of one log in their order."""

    def __init__(self) -> None:
        self._processes: dict[tuple[str | None, ...], set[str]] = {}
        self._links: dict[tuple[str | None, ...], tuple[str, float | None]] = {}
        self._downs: dict[tuple[str | None, ...], int] = {}
        self._corrected: dict[str | None, float] = {}
        self._memory_corrected: dict[str | None, float] = {}
        self._told: set[tuple[str | None, ...]] = set()
        self._held: dict[tuple[str | None, ...], list[Fact]] = {}

    def of(self, fact: Fact) -> Iterator[Fact]:
        """The fact, and what follows now that it is there.

        That a file server does not answer is said once it has answered again, or at the end.
        """
        if fact.kind in _RECOVERIES.values():
            yield from self._hold(fact)
            return
        if fact.kind in _RECOVERIES:
            yield from self._recovered(fact)
        yield fact
        if "caused_by_xid" in fact.fields:
            yield from self._named_cause(fact)
        elif fact.kind in _APPLICATION_XIDS:
            yield from self._many_processes(fact)
        elif fact.kind in ("link_down", "link_up"):
            yield from self._flap(fact)
        elif fact.kind == "aer_corrected":
            yield from self._corrected_often(fact)
        elif fact.kind == "edac_ce":
            yield from self._memory_often(fact)

    def finish(self) -> Iterator[Fact]:
        """What was held back for a recovery that the log does not tell."""
        for facts in self._held.values():
            yield from facts
        self._held.clear()

    def _hold(self, fact: Fact) -> Iterator[Fact]:
        held = self._held.setdefault(_server(fact, fact.kind), [])
        held.append(fact)
        if len(held) > _HELD_AT_MOST:
            yield held.pop(0)

    def _recovered(self, fact: Fact) -> Iterator[Fact]:
        now_s = _clock_s(fact)
        for one in self._held.pop(_server(fact, _RECOVERIES[fact.kind]), []):
            began_s = _clock_s(one)
            waited_s = now_s - began_s if now_s is not None and began_s is not None else 0.0
            long = waited_s > _STALLED_AT_MOST_S
            yield one if long else replace(one, kind="storage_stalled")

    def _named_cause(self, fact: Fact) -> Iterator[Fact]:
        """The Xid that the driver names as the cause, whether its own line is there or not."""
        code = fact.fields["caused_by_xid"]
        if int(code) not in CONSEQUENCES:
            yield from self._once(
                replace(
                    fact,
                    kind=f"xid_{code}",
                    fields={"code": code, "told_by": fact.kind, "severity": "error"},
                )
            )

    def _many_processes(self, fact: Fact) -> Iterator[Fact]:
        """Xids that point to a program, until they repeat with different programs."""
        place = "/".join(fact.fields.get(name, "") for name in ("gpc", "tpc", "sm"))
        where = (fact.component.host, fact.component.pci, f"{fact.kind} {place}")
        processes = self._processes.setdefault(where, set())
        processes.add(fact.fields.get("pid", ""))
        known = len(processes - {""})
        if known >= _REPEATED:
            repeated = f"{fact.kind}_repeated"
            fields = fact.fields | {"processes": str(known)}
            yield from self._once(replace(fact, kind=repeated, fields=fields), place)

    def _flap(self, fact: Fact) -> Iterator[Fact]:
        """A link that was up and went down, or that goes down again after it came up."""
        where = (fact.component.host, fact.component.device or fact.component.pci)
        before = self._links.get(where)
        clock_s = _clock_s(fact)
        self._links[where] = (fact.kind, clock_s)
        if fact.kind == "link_up":
            # Without a clock all its downs stand as one fact before the first up.
            if clock_s is None and self._downs.get(where, 0) >= 2:
                yield from self._once(replace(fact, kind="link_flapped"))
            return
        self._downs[where] = self._downs.get(where, 0) + max(1, int(fact.value or 1))
        was_up_s = None
        if before is not None and before[0] == "link_up" and clock_s is not None:
            was_up_s = clock_s - before[1] if before[1] is not None else None
        settled = was_up_s is not None and was_up_s > _BOOTING_S
        booted = float(fact.fields.get("monotonic_s", "0")) > _BOOTED_S
        again = before is not None and self._downs[where] >= 2
        if settled or again or (booted and before is not None):
            yield from self._once(replace(fact, kind="link_flapped"))
        elif booted and _of_fabric(fact):
            yield from self._once(replace(fact, kind="link_dropped"))

    def _corrected_often(self, fact: Fact) -> Iterator[Fact]:
        host = fact.component.host
        # Each error is announced by its root port and then by its device.
        self._corrected[host] = self._corrected.get(host, 0.0) + max(1.0, (fact.value or 1.0) / 2)
        if self._corrected[host] >= _CORRECTED_OFTEN:
            yield from self._once(replace(fact, kind="aer_corrected_often"))

    def _memory_often(self, fact: Fact) -> Iterator[Fact]:
        host = fact.component.host
        count = max(1.0, fact.value or 1.0, float(fact.fields.get("count", "1")))
        self._memory_corrected[host] = self._memory_corrected.get(host, 0.0) + count
        if self._memory_corrected[host] >= _MEMORY_CORRECTED_OFTEN:
            yield from self._once(replace(fact, kind="edac_ce_often"))

    def _once(self, fact: Fact, place: str = "") -> Iterator[Fact]:
        component = fact.component
        key = (fact.kind, component.host, component.pci, component.device, place)
        if key not in self._told:
            self._told.add(key)
            yield fact


def _of_fabric(fact: Fact) -> bool:
    return fact.fields.get("driver", "") in _FABRIC_DRIVERS or "mlx5_" in (
        fact.component.device or ""
    )


def _server(fact: Fact, kind: str) -> tuple[str | None, ...]:
    """Whose answers are waited for: an NFS server; any target of Lustre, whose names differ."""
    server = fact.component.device if kind == "nfs_not_responding" else None
    return (kind, fact.component.host, server)


def _clock_s(fact: Fact) -> float | None:
    if fact.time is not None:
        return fact.time.timestamp()
    seconds = fact.fields.get("monotonic_s")
    return float(seconds) if seconds is not None else None
