"""What needs arithmetic: status words, error codes, counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from trainwreck_analyzer.kernel.decoded import Decoded
from trainwreck_analyzer.kernel.machine_check import amd_status, machine_check

_SEGFAULT_BITS = (
    (0, "protection violation", "page not present"),
    (1, "write", "read"),
    (2, "user mode", "kernel mode"),
)
_AER_CORRECTED = {
    0: "receiver error", 6: "bad TLP", 7: "bad DLLP", 8: "replay number rollover",
    12: "replay timer timeout", 13: "advisory non-fatal", 14: "corrected internal error",
    15: "header log overflow",
}  # fmt: skip
_AER_UNCORRECTED = {
    4: "data link protocol", 5: "surprise link down", 12: "poisoned TLP",
    13: "flow control protocol", 14: "completion timeout", 15: "completer abort",
    16: "unexpected completion", 17: "receiver overflow", 18: "malformed TLP", 19: "ECRC",
    20: "unsupported request", 21: "ACS violation", 22: "uncorrectable internal error",
    23: "MC blocked TLP", 24: "atomic operation blocked", 25: "TLP prefix blocked",
    26: "poisoned TLP blocked",
}  # fmt: skip
_DPC_TRIGGER = {
    0: "unmasked uncorrectable error", 1: "ERR_NONFATAL received", 2: "ERR_FATAL received",
    3: "root port or software trigger",
}  # fmt: skip
_BOGUS_COUNT = 0xFFFF
"""A RAS register that reads all ones (its block sleeps or is gone) shows as a count like this."""


def _segfault(found: Decoded) -> Decoded:
    """The page-fault error code in words.

    Source: arch/x86/include/asm/trap_pf.h
    """
    code = int(found.fields.get("error", "0"), 16)
    words = [yes if code >> bit & 1 else no for bit, yes, no in _SEGFAULT_BITS]
    if code >> 4 & 1:
        words[1] = "instruction fetch"
    return replace(found, fields=found.fields | {"access": ", ".join(words)})


def _aer_status(found: Decoded) -> Decoded:
    """The status word's bits in words.

    Source: https://docs.kernel.org/PCI/pcieaer-howto.html, include/uapi/linux/pci_regs.h
    """
    status = int(found.fields["status"], 16)
    both = _AER_CORRECTED.keys() | _AER_UNCORRECTED.keys()
    # The line does not say which register it is; the block's first line does.
    corrected = [n for bit, n in _AER_CORRECTED.items() if status >> bit & 1]
    uncorrected = [n for bit, n in _AER_UNCORRECTED.items() if status >> bit & 1]
    other = [f"bit {bit}" for bit in range(32) if status >> bit & 1 and bit not in both]
    return replace(
        found,
        fields=found.fields
        | {
            "if_corrected": ", ".join(corrected + other),
            "if_uncorrected": ", ".join(uncorrected + other),
        },
    )


def _aer_severity(found: Decoded) -> Decoded:
    """Kind and severity by the word of the line."""
    word = found.fields.get("aer_severity", "").lower()
    if "correct" in word and not word.startswith("uncorrect"):
        return replace(found, kind="aer_corrected", severity="warning")
    if "non-fatal" in word:
        return replace(found, kind="aer_nonfatal", severity="error")
    return replace(found, kind="aer_fatal", severity="fatal")


def _dpc(found: Decoded) -> Decoded:
    """Why the port contained the error, bits 2:1 of the DPC status."""
    status = found.fields.get("status")
    if status is None:
        return found
    reason = _DPC_TRIGGER[int(status, 16) >> 1 & 3]
    return replace(found, fields=found.fields | {"trigger": reason})


def _amdgpu_ras(found: Decoded) -> Decoded:
    """A count that only an unreadable register gives is no error."""
    if int(found.fields["count"]) >= _BOGUS_COUNT:
        return replace(found, kind="amdgpu_ras_unreadable", severity="info")
    return found


def _nvme_outcome(found: Decoded) -> Decoded:
    """A completion that polling found is a lost interrupt and not a dead drive."""
    if "completion polled" in found.fields.get("outcome", ""):
        return replace(found, kind="nvme_interrupt_lost", severity="warning")
    return found


def _sel(found: Decoded) -> Decoded:
    """A deasserted event is over."""
    if found.fields.get("direction", "").lower().startswith("deassert"):
        return replace(found, severity="info", kind=f"{found.kind}_over")
    return found


def _oom_constraint(found: Decoded) -> Decoded:
    """The kind by the constraint: what was short, the host or a control group."""
    words = {
        "CONSTRAINT_NONE": "host",
        "CONSTRAINT_MEMCG": "control group",
        "CONSTRAINT_CPUSET": "NUMA nodes of the cpuset",
        "CONSTRAINT_MEMORY_POLICY": "NUMA nodes of the memory policy",
    }
    constraint = found.fields.get("constraint", "")
    kind = "cgroup_oom_kill" if constraint == "CONSTRAINT_MEMCG" else "oom_kill"
    return replace(
        found, kind=kind, fields=found.fields | {"scope": words.get(constraint, constraint)}
    )


REFINERS: dict[str, Callable[[Decoded], Decoded]] = {
    "aer_severity": _aer_severity,
    "aer_status": _aer_status,
    "amd_status": amd_status,
    "amdgpu_ras": _amdgpu_ras,
    "dpc": _dpc,
    "machine_check": machine_check,
    "nvme_outcome": _nvme_outcome,
    "oom_constraint": _oom_constraint,
    "segfault": _segfault,
    "sel": _sel,
}
