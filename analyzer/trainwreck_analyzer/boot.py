r"""Where the kernel's seconds since boot stand on the wall clock, by what a kernel log itself says.

Two lines of nearly every boot carry both clocks::

    [    1.234567] rtc_cmos 00:01: setting system clock to 2026-11-24T07:59:50 UTC (1795507190)
    [   12.345678] audit: type=1400 audit(1795507202.123:2): apparmor="STATUS" …

Source: https://github.com/torvalds/linux/blob/master/drivers/rtc/class.c,
https://github.com/torvalds/linux/blob/master/kernel/audit.c
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LITERALS = ("setting system clock to ", " audit(")
_RTC = re.compile(r"setting system clock to .{10,40} \((1\d{9})\)", re.ASCII)
_AUDIT = re.compile(r"\baudit\((1\d{9})\.(\d{3}):\d{1,19}\)", re.ASCII)
_SEVERAL_S = 5.0
"""Seconds since boot that run back by more: another boot begins in the same file."""


@dataclass(slots=True)
class Boot:
    """What one log says of the boot; filled line by line."""

    rtc_s: float | None = None
    """When it booted by the hardware clock, s since 1970 UTC, to the second."""
    audit_s: float | None = None
    """The same by the latest audit record, to the millisecond."""
    several: bool = False
    """More than one boot is in the file."""
    last_s: float | None = None
    """Seconds since boot that were seen last."""

    def saw(self, monotonic_s: float) -> None:
        """A line had this many seconds since boot."""
        if self.last_s is not None and monotonic_s < self.last_s - _SEVERAL_S:
            self.several = True
        self.last_s = monotonic_s

    def feed(self, text: str, monotonic_s: float) -> None:
        """Takes what a line says; most say nothing."""
        found = _RTC.search(text)
        if found:
            self.rtc_s = int(found[1]) - monotonic_s
            return
        found = _AUDIT.search(text)
        if found:
            self.audit_s = int(found[1]) + int(found[2]) / 1000 - monotonic_s

    @property
    def utc_s(self) -> float | None:
        """When it booted, s since 1970 UTC; the hardware clock is set right after some time."""
        if self.several:
            return None
        return self.audit_s if self.audit_s is not None else self.rtc_s
