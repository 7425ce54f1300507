"""Facts from the hardware errors that drivers reported as trace events, where no kernel line tells.

Each event is brought into the words of the driver's kernel line, so that both mean the same kind.

Sources: include/ras/ras_event.h and include/trace/events/mce.h in https://github.com/torvalds/linux,
kernel-open/nvidia/nv-tracepoint.h in https://github.com/NVIDIA/open-gpu-kernel-modules
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from trainwreck_analyzer import kernel
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, literal

READS = {"kernel_trace_event": {"event", "monotonic_us", "device", "text"}}
_SAME = timedelta(seconds=5)
"""A line and an event of one device so near to each other are one error told twice."""
_MEMORY = re.compile(
    r"([0-9]{1,9}) (Corrected|Uncorrected|Deferred|Fatal) errors?:(.{0,200}?) on (\S{1,80})"
    r" \(mc:([0-9]{1,3}) (.{0,200})",
    re.ASCII,
)
_BUS = re.compile(
    r"(\S{1,20}) PCIe Bus Error: severity=(Corrected|Fatal|Uncorrected, non-fatal), (.{0,400})",
    re.ASCII,
)
_FAILURE = re.compile(r"pfn (0x[0-9a-f]{1,16}): (recovery action for .{0,100})", re.ASCII)
_CHECK = re.compile(
    r"CPU: ([0-9]{1,5}), MCGc/s: [0-9a-f]{1,16}/([0-9a-f]{1,16}), MC([0-9]{1,3}):"
    r" ([0-9a-f]{16})",
    re.ASCII,
)
_SEVERITY = {
    "Corrected": "Corrected",
    "Fatal": "Uncorrected (Fatal)",
    "Uncorrected, non-fatal": "Uncorrected (Non-Fatal)",
}


def kernel_line(event: str, text: str) -> str | None:
    """The line in which the kernel would have told of an event; None: none that is known."""
    name = event.rpartition(":")[2]
    if name == "nvidia_dev_xid":
        return f"NVRM: {text}"
    if name == "nvswitch_dev_sxid":
        return f"nvidia-nvswitch: {text}"
    if name == "mc_event" and (m := _MEMORY.match(text)):
        short = "CE" if m[2] == "Corrected" else "UE"
        return f"EDAC MC{m[5]}: {m[1]} {short} {m[3].strip()} on {m[4]} ({m[6]}"
    if name == "aer_event" and (m := _BUS.match(text)):
        return f"{m[1]}: PCIe Bus Error: severity={_SEVERITY[m[2]]}, {m[3]}"
    if name == "memory_failure_event" and (m := _FAILURE.match(text)):
        return f"Memory failure: {m[1]}: {m[2]}"
    if name == "mce_record" and (m := _CHECK.match(text)):
        return f"mce: [Hardware Error]: CPU {m[1]}: Machine Check: {m[2]} Bank {m[3]}: {m[4]}"
    return None


def find(recording: Recording, told: Sequence[Fact]) -> Iterator[Fact]:
    """Yield what no kernel line of ``told`` tells; repeats within 5 s are one fact."""
    if "kernel_trace_event" in recording.empty:
        return
    sql = (
        "SELECT ts, host, event, monotonic_us, text FROM kernel_trace_event"
        f" WHERE {recording.during} AND text IS NOT NULL ORDER BY ts, monotonic_us"
    )
    known = list(told)
    for row in recording.rows(sql):
        one = _fact(recording, row)
        if one is None or any(_the_same(one, other) for other in known):
            continue
        known.append(one)
        yield one


def _fact(recording: Recording, row: Row) -> Fact | None:
    line = kernel_line(row["event"], row["text"])
    decoded = kernel.decode(line) if line else None
    if decoded is None:
        return None
    return Fact(
        kind=decoded.kind,
        text=row["text"],
        evidence="kernel",
        time=row["ts"],
        sql=(
            "SELECT ts, host, event, device, text FROM kernel_trace_event"
            f" WHERE host = {literal(row['host'])} AND event = {literal(row['event'])}"
            f" AND monotonic_us = {row['monotonic_us']} AND {recording.during}"
        ),
        component=recording.component_of(decoded, row["host"]),
        fields={**decoded.fields, "severity": decoded.severity, "event": row["event"]},
    )


def _the_same(one: Fact, other: Fact) -> bool:
    if one.kind != other.kind or one.time is None or other.time is None:
        return False
    here, there = one.component, other.component
    if (here.host, here.pci) != (there.host, there.pci):
        return False
    if here.pci is None and here.device != there.device:
        return False
    return abs(one.time - other.time) <= _SAME
