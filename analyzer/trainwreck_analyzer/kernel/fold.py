"""Puts kernel lines that belong together into one fact, and counts repeats.

An out-of-memory kill is printed as a page of lines, a PCIe error as four, a machine check as five;
a flapping link repeats thousands of times. Nothing is dropped: ``count`` says how many there were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.decoded import Decoded, Severity
from trainwreck_analyzer.kernel.machine_check import amd_unit

REPEAT_WITHIN_S = 5.0
"""Repeats closer than this to the one before are one event with a count."""
BLOCK_LINES = 400
"""Without a clock, how many lines apart a block's parts or repeats may stand: an out-of-memory
report lists every task between its first line and its last."""
STORM_COUNT = 100
"""Corrected errors in one burst from which on it is a storm: a failing link or DIMM, no noise."""

_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "error": 2, "fatal": 3}
_BLOCKS = {
    "oom_invoked": "oom", "oom_detail": "oom", "oom_kill": "oom", "cgroup_oom_kill": "oom",
    "oom_panic": "oom",
    "mce": "mce", "mce_corrected": "mce", "mce_deferred": "mce", "mce_implausible": "mce",
    "mce_detail": "mce", "mce_logged": "mce",
    "aer_corrected": "aer", "aer_nonfatal": "aer", "aer_fatal": "aer", "aer_detail": "aer",
    "dpc": "dpc", "dpc_detail": "dpc",
    "ghes": "ghes", "ghes_detail": "ghes",
    "nvrm_api_mismatch": "api",
    "amdgpu_page_fault": "amdgpu_page_fault",
    "nvswitch_detail": "sxid",
}  # fmt: skip
_STORMS = {"aer_corrected": "aer_corrected_storm", "edac_ce": "edac_ce_storm"}
_SECTIONS = {"memory": "memory", "PCIe": "pcie", "processor": "processor"}


@dataclass(slots=True)
class Draft:
    """A fact that may still grow."""

    decoded: Decoded
    text: str
    line: int
    time: datetime | None
    monotonic_s: float | None
    host: str | None
    zoned: bool
    last_line: int
    last_clock_s: float | None
    count: int = 1
    fields: dict[str, str] = field(default_factory=dict)


class Fold:
    """The drafts of one log."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._drafts: dict[tuple[str | None, ...], Draft] = {}
        self._uuids: dict[str, str] = {}

    def feed(
        self,
        decoded: Decoded,
        text: str,
        line: int,
        *,
        time: datetime | None = None,
        monotonic_s: float | None = None,
        host: str | None = None,
        zoned: bool = True,
    ) -> Iterator[Fact]:
        """The facts that are complete now that this line has come."""
        if decoded.kind == "gpu_identity" and decoded.component.pci:
            self._uuids[decoded.component.pci] = decoded.fields["gpu_uuid"]
            return
        clock_s = monotonic_s if monotonic_s is not None else time.timestamp() if time else None
        yield from self._expire(line, clock_s)
        key = _key(decoded, host)
        draft = self._drafts.get(key)
        if draft is not None and _joins(draft, decoded):
            _join(draft, decoded, text, line, time, clock_s)
            return
        if draft is not None:
            yield self._fact(self._drafts.pop(key))
        self._drafts[key] = Draft(
            decoded=decoded,
            text=text,
            line=line,
            time=time,
            monotonic_s=monotonic_s,
            host=host,
            zoned=zoned,
            last_line=line,
            last_clock_s=clock_s,
            fields=dict(decoded.fields),
        )

    def finish(self) -> Iterator[Fact]:
        """What is still open at the end of the log."""
        for draft in self._drafts.values():
            yield self._fact(draft)
        self._drafts.clear()

    def _expire(self, line: int, clock_s: float | None) -> Iterator[Fact]:
        for key, draft in list(self._drafts.items()):
            if _over(draft, line, clock_s):
                del self._drafts[key]
                yield self._fact(draft)

    def _fact(self, draft: Draft) -> Fact:
        decoded = draft.decoded
        fields = {"severity": decoded.severity, "family": decoded.family} | draft.fields
        if draft.count > 1:
            fields["count"] = str(draft.count)
        if draft.monotonic_s is not None:
            fields["monotonic_s"] = f"{draft.monotonic_s:.6f}"
        fields.pop("continues", None)
        if "ipid" in fields and (unit := amd_unit(int(fields["ipid"], 16))):
            fields["unit"] = unit
        component = decoded.component
        uuid = component.gpu_uuid or self._uuids.get(component.pci or "")
        component = replace(component, host=draft.host or component.host, gpu_uuid=uuid)
        return Fact(
            kind=_final_kind(decoded.kind, fields, draft.count),
            text=draft.text,
            evidence="kernel",
            time=draft.time,
            source=self._source,
            line=draft.line,
            order=draft.line,
            component=component,
            value=float(draft.count),
            fields=fields,
            zoned=draft.zoned,
        )


def _key(decoded: Decoded, host: str | None) -> tuple[str | None, ...]:
    """What tells events apart: a block by its device, a repeat by kind, device and process."""
    block = _BLOCKS.get(decoded.kind)
    component = decoded.component
    if block in ("oom", "mce", "api"):
        return (host, block)
    if block == "ghes":
        return (host, block, decoded.fields.get("sequence"))
    if block == "sxid" or decoded.family == "sxid":
        return (host, "sxid", component.pci, decoded.fields.get("code"))
    if block:
        return (host, block, component.pci)
    return (host, decoded.kind, component.pci, component.device, decoded.fields.get("pid"))


def _joins(draft: Draft, decoded: Decoded) -> bool:
    """Whether the line is part or repeat of the draft, which has the same key and is recent."""
    if decoded.severity == "info" or draft.decoded.severity == "info":
        # A new "invoked oom-killer" after a kill is the next kill.
        return not (decoded.kind == "oom_invoked" and draft.decoded.severity != "info")
    if _BLOCKS.get(decoded.kind) == "oom":
        pid = draft.fields.get("pid")
        return pid is None or pid == decoded.fields.get("pid")
    if _BLOCKS.get(decoded.kind) == "mce":
        return decoded.kind == draft.decoded.kind and all(
            decoded.fields.get(name) == draft.fields.get(name) for name in ("cpu", "bank")
        )
    return decoded.kind == draft.decoded.kind


def _join(
    draft: Draft,
    decoded: Decoded,
    text: str,
    line: int,
    time: datetime | None,
    clock_s: float | None,
) -> None:
    """Add the line to the draft; the line that says most becomes its text."""
    draft.last_line = line
    draft.last_clock_s = clock_s if clock_s is not None else draft.last_clock_s
    old = draft.decoded
    names_victim = "total_vm_kb" in decoded.fields and "total_vm_kb" not in draft.fields
    if _RANK[old.severity] < _RANK[decoded.severity] or names_victim or _weaker(old, decoded):
        draft.decoded = decoded
        draft.text, draft.line = text, line
        draft.time = time or draft.time
        draft.fields |= decoded.fields
        return
    if old.severity != "info" and decoded.kind == old.kind and "continues" not in decoded.fields:
        draft.count += int(decoded.fields.get("count", "1")) if decoded.kind == "edac_ce" else 1
    for name, value in decoded.fields.items():
        known = draft.fields.setdefault(name, value)
        if name == "error" and known != value and len(known) < 200 and value not in known:
            draft.fields[name] = f"{known}, {value}"


def _weaker(old: Decoded, new: Decoded) -> bool:
    """Whether the old line only surrounds, and the new one says what happened."""
    around = ("mce_logged", "oom_invoked")
    return (old.kind in around or old.kind.endswith("_detail")) and not (
        new.kind in around or new.kind.endswith("_detail")
    )


def _over(draft: Draft, line: int, clock_s: float | None) -> bool:
    if clock_s is not None and draft.last_clock_s is not None:
        return abs(clock_s - draft.last_clock_s) > REPEAT_WITHIN_S
    return line - draft.last_line > BLOCK_LINES


def _final_kind(kind: str, fields: dict[str, str], count: int) -> str:
    """The kind of the whole: where the section or the count decides."""
    if kind == "ghes" or (kind == "ghes_detail" and fields.get("register") == "uncor"):
        return _of_firmware(fields)
    if kind in ("mce", "mce_corrected") and _of_memory(fields):
        return f"{kind}_memory"
    total = max(count, int(fields.get("count", "0"))) if kind in _STORMS else 0
    return _STORMS[kind] if total >= STORM_COUNT else kind


def _of_firmware(fields: dict[str, str]) -> str:
    """The kind of a firmware record: its section and severity, and whether there were many before.

    Source: drivers/firmware/efi/cper.c (the AER registers are only printed of fatal errors)
    """
    register = fields.get("register", "")
    section = fields.get("section", "PCIe" if register else "")
    where = next((name for word, name in _SECTIONS.items() if word in section), "other")
    level = fields.get("level", "fatal" if register == "uncor" else "info")
    many = level == "corrected" and int(fields.get("sequence", "0")) >= STORM_COUNT
    return f"ghes_{where}_{level}{'_storm' if many else ''}"


def _of_memory(fields: dict[str, str]) -> bool:
    """Whether a machine check comes from the memory behind the controller, not from the core."""
    words = f"{fields.get('error', '')} {fields.get('unit', '')} {fields.get('meaning', '')}"
    return words.startswith("memory controller") or "DRAM ECC" in words
