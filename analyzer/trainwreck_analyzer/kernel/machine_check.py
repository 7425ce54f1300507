"""Meaning of machine-check status words, banks and identities.

Source: Intel SDM volume 3, chapter 17 (machine-check architecture and compound error codes);
AMD Processor Programming Reference, MCA; arch/x86/kernel/cpu/mce/amd.c (bank types by IPID)
"""

from __future__ import annotations

from dataclasses import replace

from trainwreck_analyzer.kernel.decoded import Decoded

_UC, _PCC, _OVER = 61, 57, 62
_LEVEL = ("L0", "L1", "L2", "generic")
_TRANSACTION = ("instruction", "data", "generic", "reserved")
_REQUEST = {
    0: "generic error", 1: "generic read", 2: "generic write", 3: "data read", 4: "data write",
    5: "instruction fetch", 6: "prefetch", 7: "eviction", 8: "snoop",
}  # fmt: skip
_MEMORY = {0: "generic", 1: "read", 2: "write", 3: "address or command", 4: "scrub"}
_SIMPLE = {
    0x0001: "unclassified", 0x0002: "microcode ROM parity", 0x0003: "external error",
    0x0004: "functional redundancy check", 0x0005: "internal parity", 0x0400: "internal timer",
    0x0E0B: "generic I/O",
}  # fmt: skip
_AMD_UNITS = {
    (0x0B0, 0x00): "load-store unit", (0x0B0, 0x10): "load-store unit",
    (0x0B0, 0x01): "instruction fetch", (0x0B0, 0x02): "L2 cache", (0x0B0, 0x03): "decoder",
    (0x0B0, 0x05): "execution unit", (0x0B0, 0x06): "floating point", (0x0B0, 0x07): "L3 cache",
    (0x02E, 0x00): "coherent station", (0x02E, 0x01): "power, interrupts",
    (0x02E, 0x02): "coherent station", (0x096, 0x00): "memory controller",
    (0x096, 0x01): "HBM memory controller", (0x005, 0x00): "parameter block",
    (0x001, 0x00): "system management unit", (0x001, 0x01): "system management unit",
    (0x0FF, 0x00): "security processor", (0x0FF, 0x01): "security processor",
    (0x018, 0x00): "northbridge I/O", (0x046, 0x00): "PCIe", (0x046, 0x01): "PCIe",
    (0x050, 0x00): "xGMI",
}  # fmt: skip
"""Names of AMD bank types by hardware id and type out of IPID."""


def error_code(code: int) -> str:
    """The compound error code, bits 15:0 of the status, in words."""
    code &= 0xEFFF  # bit 12 only says that corrected errors are filtered
    if code in _SIMPLE:
        return _SIMPLE[code]
    if code & 0xFFF0 == 0x0010:
        return f"TLB, {_TRANSACTION[code >> 2 & 3]}, {_LEVEL[code & 3]}"
    if code & 0xFF00 == 0x0100:
        request = _REQUEST.get(code >> 4 & 0xF, "reserved request")
        return f"cache, {request}, {_TRANSACTION[code >> 2 & 3]}, {_LEVEL[code & 3]}"
    if code & 0xFF80 == 0x0080:
        channel = code & 0xF
        where = f"channel {channel}" if channel != 0xF else "channel not known"
        return f"memory controller, {_MEMORY.get(code >> 4 & 7, 'reserved')}, {where}"
    if code & 0xF800 == 0x0800:
        request = _REQUEST.get(code >> 4 & 0xF, "reserved request")
        timeout = ", timed out" if code >> 8 & 1 else ""
        return f"bus or interconnect, {request}, {_LEVEL[code & 3]}{timeout}"
    if code & 0xFC00 == 0x0400:
        return "internal, unclassified"
    return "no error code" if code == 0 else f"code 0x{code:04x}"


def amd_unit(ipid: int) -> str | None:
    """The unit that an AMD bank belongs to, from its IPID register."""
    return _AMD_UNITS.get((ipid >> 32 & 0xFFF, ipid >> 48))


def machine_check(found: Decoded) -> Decoded:
    """``CPU 1: Machine Check: 0 Bank 5: bea0000000000108`` with the status in words."""
    status = int(found.fields["status"], 16)
    uncorrected = bool(status >> _UC & 1)
    fields = found.fields | {
        "corrected": "no" if uncorrected else "yes",
        "error": error_code(status & 0xFFFF),
        "context_corrupt": "yes" if status >> _PCC & 1 else "no",
        "overflow": "yes" if status >> _OVER & 1 else "no",
    }
    if not uncorrected:
        return replace(found, kind="mce_corrected", severity="warning", fields=fields)
    return replace(found, kind="mce", severity="fatal", fields=fields)


def amd_status(found: Decoded) -> Decoded:
    """``MC21_STATUS[Over|CE|…]: 0x…`` as AMD's decoder prints it."""
    flags = found.fields.get("flags", "").split("|")
    status = int(found.fields["status"], 16)
    fields = found.fields | {
        "error": error_code(status & 0xFFFF),
        "corrected": "yes" if "CE" in flags else "no",
        "context_corrupt": "yes" if "PCC" in flags else "no",
    }
    if "CE" in flags and ("UECC" in flags or "Poison" in flags or "PCC" in flags):
        # Corrected and uncorrectable in one word: the bank was read while it held nothing valid.
        fields["contradiction"] = "corrected, and uncorrectable or poisoned, in one status"
        return replace(found, kind="mce_implausible", severity="info", fields=fields)
    if "CE" in flags:
        return replace(found, kind="mce_corrected", severity="warning", fields=fields)
    if "Deferred" in flags:
        fields["deferred"] = "yes"
        return replace(found, kind="mce_deferred", severity="error", fields=fields)
    return replace(found, kind="mce", severity="fatal", fields=fields)
