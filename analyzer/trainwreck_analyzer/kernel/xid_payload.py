"""What the text after the number of an Xid says, by Xid.

Source: https://docs.nvidia.com/deploy/xid-errors/,
https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trainwreck_analyzer.kernel import nvlink5

_SM = re.compile(r"\(?GPC (\d{1,3}), TPC (\d{1,3})(?:, SM (\d{1,3}))?\)?: ?(.{0,120})", re.ASCII)
_CHANNEL = re.compile(r"\b(?:Ch|ChID|channel) (0x[0-9a-fA-F]{1,8}|[0-9a-fA-F]{4,8})", re.ASCII)
_ENGINE = re.compile(
    r"\bENGINE ([A-Z0-9_]{1,32})(?: (GPC\d{1,3}))? ([A-Z0-9_]{1,48}) faulted", re.ASCII
)
_FAULT = re.compile(
    r"faulted @ (0x[0-9a-fA-F_]{1,24})\. Fault is of type ([A-Z0-9_]{1,48}) ([A-Z0-9_]{1,48})",
    re.ASCII,
)
_ENGMASK = re.compile(r"\bengmask ([0-9a-fA-F]{1,8})", re.ASCII)
_INTR = re.compile(r"\bintr ([0-9a-fA-F]{1,8})", re.ASCII)
_ERROR_STRING = re.compile(r"errorString ([^,]{1,80}), Info (0x[0-9a-fA-F]{1,16})", re.ASCII)
_PARTITION = re.compile(r"partition (\d{1,4}), subpartition (\d{1,4})", re.ASCII)
_UNIT = re.compile(r"DBE\) has been detected on GPU (?:in the )?(.{1,60}?)(?: at |\.|$)", re.ASCII)
_ROW = re.compile(r"\b(?:row|page)[^(]{0,40}\((0x[0-9a-fA-F]{1,16})\)", re.ASCII | re.I)
_CONTAINED = re.compile(
    r"\b(Contained|Uncontained): ([A-Za-z0-9_ /-]{1,60}?)"
    r"(?: \((0x[0-9a-fA-F]{1,8}(?:, ?0x[0-9a-fA-F]{1,8})*)\))?"
    r"\.? (?:physAddr:? ?(0x[0-9a-fA-F]{1,16})[,.]? )?RST: (Yes|No), D-RST: (Yes|No)",
    re.ASCII,
)
_PHYSICAL = re.compile(r"\bphysAddr:? ?(0x[0-9a-fA-F]{1,16})", re.ASCII)
_NVLINK = re.compile(r"\blink (-?\d{1,3})", re.ASCII | re.I)
_WORDS = re.compile(r"[(\[]((?:0x[0-9a-fA-F]{1,8}[, ]{0,2}){1,8})[)\]]", re.ASCII)
_NVLINK5 = re.compile(
    r"([A-Z][A-Za-z0-9_/]{2,40}(?: Degraded)?) {1,4}(Non-?fatal|Fatal) {1,4}XC ?(\d)"
    r"(?: {1,4}i ?(\d{1,2}))? {1,4}Link (-?\d{1,3})",
    re.ASCII | re.I,
)
_RPC = re.compile(r"after (\d{1,6})s of waiting", re.ASCII)
_FUNCTION = re.compile(
    r"[Ff]unction (\d{1,5}) \(([A-Z0-9_]{1,48})\)(?: \((0x[0-9a-fA-F]{1,8}))?", re.ASCII
)
_GSP_TASK = re.compile(r"(?:task exception: |Task (\d{1,3}) raised error code )(.{1,80})", re.ASCII)
_ACTION = re.compile(
    r"from (0x[0-9a-fA-F]{1,4}) \(([^)]{1,60})\) to (0x[0-9a-fA-F]{1,4}) \(([^)]{1,60})\)", re.ASCII
)

_NVLINK74 = {
    0: (
        ((4, 5), "ECC or parity, hardware if it repeats on the link"),
        ((8, 9, 12, 16, 17, 24, 28), "mechanical or hardware"),
        ((21, 22), "marginal signal"),
        ((1, 20), "secondary to another error"),
        ((27, 29), "check for repetition"),
        ((0, 23, 30), "can be ignored"),
    ),
    2: (((0, 1, 2, 6), "hardware"),),
    3: (((16, 17), "secondary to another error"), ((18,), "fabric")),
    4: (
        ((18, 19, 21, 22, 24, 25, 27, 28), "hardware"),
        ((20, 23, 26, 29), "threshold passed"),
    ),
}
"""Meaning of the bits in the seven register words of Xid 74 by word and bit."""


def payload(code: int, text: str) -> dict[str, str]:
    """The fields that the text of this Xid carries."""
    fields: dict[str, str] = {}
    if channel := _CHANNEL.search(text):
        fields["channel"] = channel[1]
    reader = _READERS.get(code)
    if reader is None and code in nvlink5.XIDS:
        return fields | _nvlink5(code, text)
    return fields | (reader(text) if reader else {})


def _graphics(text: str) -> dict[str, str]:
    match = _SM.search(text)
    if match is None:
        return {}
    fields = {"gpc": match[1], "tpc": match[2]}
    if match[3]:
        fields["sm"] = match[3]
    if match[4].strip():
        fields["exception"] = match[4].strip()
    return fields


def _page_fault(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _ENGINE.search(text):
        fields |= {"engine": match[1], "client": match[3]}
        if match[2]:
            fields["gpc"] = match[2].removeprefix("GPC")
    if match := _FAULT.search(text):
        fields |= {
            "address": match[1].replace("_", ""),
            "fault_type": match[2],
            "access_type": match[3],
        }
    return fields


def _channel(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _ENGMASK.search(text):
        fields["engine_mask"] = match[1]
    if match := _INTR.search(text):
        fields["interrupt"] = match[1]
    return fields


def _double_bit(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _PARTITION.search(text):
        fields |= {"partition": match[1], "subpartition": match[2]}
    lowered = text.lower()
    if "framebuffer" in lowered or "dram" in lowered or "hbm" in lowered:
        fields["memory"] = "HBM"
    elif match := _UNIT.search(text):
        fields["memory"] = "SRAM"
        fields["unit"] = match[1].strip()
    elif "sram" in lowered:
        fields["memory"] = "SRAM"
    return fields


def _row_remap(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if "Row Remapper" in text:
        fields["mechanism"] = "row remapping"
    elif "Page Retirement" in text:
        fields["mechanism"] = "page retirement"
    if match := _ROW.search(text):
        fields["row"] = match[1]
    if "to activate" in text:
        fields["pending"] = "yes"
    return fields


def _nvlink74(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _NVLINK.search(text):
        fields["link"] = match[1]
    words = _words(text)
    if not words:
        return fields
    fields["registers"] = " ".join(f"0x{word:08x}" for word in words)
    meanings: list[str] = []
    for index, groups in _NVLINK74.items():
        word = words[index] if index < len(words) else 0
        for bits, meaning in groups:
            hit = [bit for bit in bits if word >> bit & 1]
            if hit:
                meanings.append(f"register {index} bit {', '.join(map(str, hit))}: {meaning}")
    if meanings:
        fields["register_meaning"] = "; ".join(meanings)
    return fields


def _contained(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _CONTAINED.search(text):
        fields |= {
            "containment": match[1].lower(),
            "unit": match[2].strip(),
            "reset_required": match[5].lower(),
            "drain_reset_required": match[6].lower(),
        }
        if match[3]:
            fields["unit_id"] = match[3]
        if match[4]:
            fields["physical_address"] = match[4]
    elif "Uncontained" in text:
        fields["containment"] = "uncontained"
    elif "Contained" in text:
        fields["containment"] = "contained"
    if match := _PHYSICAL.search(text):
        fields["physical_address"] = match[1]
    return fields


def _context_switch(text: str) -> dict[str, str]:
    match = _ERROR_STRING.search(text)
    return {"error": match[1], "info": match[2]} if match else {}


def _gsp(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    if match := _RPC.search(text):
        fields["waited_s"] = match[1]
    if match := _FUNCTION.search(text):
        fields |= {"rpc_function": match[1], "rpc_name": match[2]}
        if match[3]:
            fields["rpc_argument"] = match[3]
    if match := _GSP_TASK.search(text):
        fields["gsp_error"] = match[2].strip()
        if match[1]:
            fields["gsp_task"] = match[1]
    return fields


def _recovery(text: str) -> dict[str, str]:
    match = _ACTION.search(text)
    if match is None:
        return {}
    return {
        "from_action": match[2],
        "from_code": match[1],
        "to_action": match[4],
        "to_code": match[3],
    }


def _words(text: str) -> list[int]:
    match = _WORDS.search(text)
    return [int(word, 16) for word in match[1].replace(",", " ").split()] if match else []


def _nvlink5(code: int, text: str) -> dict[str, str]:
    """Unit, severity, link, and the rows of the decode table."""
    fields: dict[str, str] = {}
    unit = ""
    if match := _NVLINK5.search(text):
        unit = match[1]
        fields |= {
            "unit": unit,
            "fatal": "no" if match[2].lower().startswith("non") else "yes",
            "cross_contained": "yes" if match[3] != "0" else "no",
            "link": match[5],
        }
        if match[4]:
            fields["injected"] = "yes" if match[4] != "0" else "no"
    words = _words(text)
    intrinfo = words[0] if words else None
    status = words[1] if len(words) > 1 else None
    if intrinfo is not None:
        fields["intrinfo"] = f"0x{intrinfo:08x}"
        if code == 149:
            fields["link_down_reason"] = str(nvlink5.link_down_reason(intrinfo))
    if status is not None:
        fields["error_status"] = f"0x{status:08x}"
    fatal = fields["fatal"] == "yes" if "fatal" in fields else None
    found = nvlink5.decode(code, unit, intrinfo, status, fatal)
    if found.layout:
        fields["layout"] = found.layout
    if found.rows:
        fields["nvlink5_rows"] = str(len(found.rows))
        for name, values in (
            ("nvlink5_unit", ["/".join(row.units) for row in found.rows]),
            ("nvlink5_severity", [row.severity for row in found.rows]),
            ("nvlink5_origin", [row.origin for row in found.rows]),
            ("nvlink5_action", [row.immediate_action for row in found.rows]),
            ("nvlink5_escalation", [row.escalation_action for row in found.rows]),
            ("nvlink5_investigate", [row.investigate for row in found.rows]),
            ("nvlink5_effect", [row.effect for row in found.rows]),
        ):
            said = " or ".join(dict.fromkeys(value for value in values if value))
            if said:
                fields[name] = said
    return fields


_READERS: dict[int, Callable[[str], dict[str, str]]] = {
    13: _graphics,
    31: _page_fault,
    43: _channel,
    45: _channel,
    48: _double_bit,
    63: _row_remap,
    64: _row_remap,
    74: _nvlink74,
    94: _contained,
    95: _contained,
    109: _context_switch,
    119: _gsp,
    120: _gsp,
    154: _recovery,
    171: _double_bit,
    172: _double_bit,
}
