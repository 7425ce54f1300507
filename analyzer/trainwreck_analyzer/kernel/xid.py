r"""Reads the GPU driver's numbered errors.

::

    NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus.
    NVRM: Xid (PCI:0000:9b:00 GPU-I:05 GPU-CI:01): 94, pid=7194, Contained: …   a MIG slice
    NVRM: Xid (PCI:0000:9b:00): 45, pid=4711, name=python, Ch 00000008 caused by previous Xid 149

Source: https://docs.nvidia.com/deploy/xid-errors/, kernel_rc_notification.c of the open kernel
modules (the attribution to a MIG slice and to a previous Xid)
"""

from __future__ import annotations

import re

from trainwreck_analyzer.kernel.decoded import Decoded
from trainwreck_analyzer.kernel.pci import sysfs_address
from trainwreck_analyzer.kernel.table import xids
from trainwreck_analyzer.kernel.xid_payload import payload
from trainwreck_analyzer.verdict import Component

_LINE = re.compile(
    r"\bXid \((?:PCI:)?([0-9a-fA-F:.]{4,20})(?: GPU-I:(\d{1,3}))?(?: GPU-CI:(\d{1,3}))?\): "
    r"(\d{1,4})(?=\D|$)(?:, (.*))?",
    re.ASCII,
)
_PID = re.compile(r"pid=(?:'?<?(\d{1,10}|unknown)>?'?)(?:, |$)", re.ASCII)
_NAME = re.compile(r"name=(.{0,64}?)(?:, |$)", re.ASCII)
_PREVIOUS = re.compile(r" ?caused by previous Xid (\d{1,4})", re.ASCII)
CONSEQUENCES = frozenset({45, 63, 154, 162, 174})
"""Records and consequences, which are never a cause by themselves."""


def decode_xid(line: str) -> Decoded | None:
    """The Xid of a line."""
    match = _LINE.search(line)
    if match is None:
        return None
    code = int(match[4])
    pci = sysfs_address(match[1])
    fields = {"code": str(code), "pci": pci or match[1]}
    if match[2]:
        fields["mig_gpu_instance"] = match[2]
    if match[3]:
        fields["mig_compute_instance"] = match[3]
    text = _attribution(match[5] or "", fields)
    known = xids().get(code)
    severity = known.level if known else "warning"
    if known:
        fields |= {
            "name": known.name,
            "class": known.kind,
            "likely_causes": known.likely_causes,
            "action": known.action,
        }
        if known.disagreement:
            fields["disagreement"] = known.disagreement
    fields |= payload(code, text)
    if code in CONSEQUENCES or "caused_by_xid" in fields:
        severity = "info"
    elif fields.get("nvlink5_severity") == "Non-fatal" and severity == "fatal":
        severity = "error"
    return Decoded(f"xid_{code}", "xid", severity, fields, Component(pci=pci))


def _attribution(text: str, fields: dict[str, str]) -> str:
    """The message without process and previous Xid, which go into the fields."""
    match = _PID.match(text)
    if match:
        if match[1] != "unknown":
            fields["pid"] = match[1]
        text = text[match.end() :]
    match = _NAME.match(text)
    if match:
        if match[1] not in ("", "<unknown>", "'<unknown>'"):
            fields["process"] = match[1]
        text = text[match.end() :]
    match = _PREVIOUS.search(text)
    if match:
        fields["caused_by_xid"] = match[1]
        text = text[: match.start()]
    if text:
        fields["message"] = text.strip()
    return text
