"""PCI addresses as sysfs writes them."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"(?:PCI:)?(?:([0-9a-f]{4,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})(?:\.([0-7]))?", re.ASCII | re.I
)


def sysfs_address(text: str) -> str | None:
    """``dddd:bb:dd.f`` in lower case; None for something else.

    The driver leaves the function out (``PCI:0000:9b:00``), which is then 0; NVML and the fabric
    manager write the domain with eight digits.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        return None
    domain = int(match[1] or "0", 16)
    return f"{domain:04x}:{int(match[2], 16):02x}:{int(match[3], 16):02x}.{match[4] or '0'}"
