r"""Reads the switch driver's and the fabric manager's numbered errors.

::

    nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 63 LTSSM Fault Up
    nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Severity 1 Engine instance 62 Sub-engine …
    nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Data {0x10000000, …}
    detected NVSwitch non-fatal error 12028 on fid 0 on NVSwitch pci bus id 00000000:86:00.0 …

Source: https://docs.nvidia.com/datacenter/tesla/pdf/fabric-manager-user-guide.pdf
"""

from __future__ import annotations

import re

from trainwreck_analyzer.kernel.decoded import Decoded, Severity
from trainwreck_analyzer.kernel.pci import sysfs_address
from trainwreck_analyzer.kernel.table import sxids
from trainwreck_analyzer.verdict import Component

_LINE = re.compile(
    r"(?:(nvidia-nvswitch\d{1,3}): )?SXid \(PCI:([0-9a-fA-F:.]{4,20})\): (\d{4,6}), (.*)", re.ASCII
)
_FATALITY = re.compile(r"(Fatal|Non-fatal|Corrected)(?:, (.*))?$", re.ASCII | re.I)
_DETAIL = re.compile(r"(?:Severity (\d{1,3}) |Data \{)", re.ASCII)
_LINK = re.compile(r"\bLink (\d{1,3}) (.{1,120})", re.ASCII)
_FABRIC = re.compile(
    r"detected NVSwitch (non-fatal|fatal) error (\d{4,6}) on (?:fid (\d{1,4}) on )?"
    r"NVSwitch pci bus id ([0-9a-fA-F:.]{4,20})(?: physical id (\d{1,4}))?(?: port (\d{1,4}))?",
    re.ASCII | re.I,
)


def decode_sxid(line: str) -> Decoded | None:
    """The SXid of a line; lines that only carry its registers come as ``nvswitch_detail``."""
    match = _LINE.search(line)
    if match is None:
        return _fabric_manager(line)
    code = int(match[3])
    pci = sysfs_address(match[2])
    fields = {"code": str(code), "pci": pci or match[2]}
    if match[1]:
        fields["device"] = match[1]
    component = Component(pci=pci, device=match[1])
    rest = match[4]
    if detail := _DETAIL.match(rest):
        fields["message"] = rest
        if detail[1]:
            fields["severity_code"] = detail[1]
        return Decoded("nvswitch_detail", "sxid", "info", fields, component)
    severity: Severity | None = None
    fatality = _FATALITY.match(rest)
    if fatality:
        fields["fatal"] = "yes" if fatality[1].lower() == "fatal" else "no"
        severity = "fatal" if fields["fatal"] == "yes" else "warning"
        rest = fatality[2] or ""
    if link := _LINK.search(rest):
        fields["link"] = link[1]
        rest = link[2]
    if rest:
        fields["message"] = rest.strip()
    return _known(code, fields, component, severity)


def _fabric_manager(line: str) -> Decoded | None:
    match = _FABRIC.search(line)
    if match is None:
        return None
    pci = sysfs_address(match[4])
    fatal = match[1].lower() == "fatal"
    fields = {"code": match[2], "pci": pci or match[4], "fatal": "yes" if fatal else "no"}
    if match[5]:
        fields["switch"] = match[5]
    if match[6]:
        fields["link"] = match[6]
    component = Component(pci=pci, device=f"nvswitch {match[5]}" if match[5] else None)
    return _known(int(match[2]), fields, component, "fatal" if fatal else "warning")


def _known(
    code: int, fields: dict[str, str], component: Component, severity: Severity | None
) -> Decoded:
    """The line joined to the table; the driver's own word on severity goes first."""
    known = sxids().get(code)
    if known:
        fields |= {
            "name": known.name,
            "class": known.kind,
            "likely_causes": known.likely_causes,
            "action": known.action,
        }
        if known.disagreement:
            fields["disagreement"] = known.disagreement
        if known.level == "info":
            severity = "info"
        elif severity is None:
            severity = known.level
    kind = f"sxid_{code}" if severity != "info" else "nvswitch_note"
    return Decoded(kind, "sxid", severity or "warning", fields, component)
