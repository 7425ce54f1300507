"""Decodes the register words of Xid 144 to 150, NVLink 5.

``(0x004505c6 0x00000000 …)``: the first word, IntrInfo, names the unit; bits 25:20 hold the
link-down reason of Xid 149. Driver R575 moved the unit from bits 9:0 to bits 6:0. The line does not
name its driver, but together with the Xid the two layouts exclude each other (Xid 150 apart, whose
rows read the same in both), so the words themselves tell.

Source: https://docs.nvidia.com/deploy/xid-errors/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from trainwreck_analyzer.kernel.table import rows

Layout = Literal["before R575", "R575 and later"]
XIDS = range(144, 151)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Bits that must be as given; the others may be anything."""

    mask: int
    value: int

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """From 32 characters, bit 31 first: ``0``, ``1``, or ``-`` for any."""
        return cls(int(text.replace("0", "1").replace("-", "0"), 2), int(text.replace("-", "0"), 2))

    def fits(self, word: int) -> bool:
        """Whether a register word has these bits."""
        return word & self.mask == self.value


@dataclass(frozen=True, slots=True)
class Row:
    """One row of NVIDIA's decode table."""

    xid: int
    units: tuple[str, ...]
    """The unit's names, the older drivers' first."""
    before_r575: Pattern
    from_r575: Pattern
    statuses: frozenset[int]
    """ErrorStatus values; empty where it does not matter."""
    immediate_action: str
    escalation_action: str
    investigate: str
    severity: str
    origin: str
    effect: str

    def layouts(self, intrinfo: int) -> tuple[Layout, ...]:
        """In which layouts the word names this row."""
        found: list[Layout] = []
        if self.before_r575.fits(intrinfo):
            found.append("before R575")
        if self.from_r575.fits(intrinfo):
            found.append("R575 and later")
        return tuple(found)

    def agrees(self, fatal: bool | None) -> bool:
        """Whether the row's severity is what the line says; always so where it says nothing."""
        return fatal is None or fatal == (not self.severity.startswith("Non"))

    def status_fits(self, status: int) -> bool:
        """Whether the ErrorStatus word names this row."""
        if not self.statuses or status in self.statuses:
            return True
        by_bit = self.xid < 149
        return by_bit and any(status & bit for bit in self.statuses)


@cache
def table() -> tuple[Row, ...]:
    """All rows, in the table's order."""
    return tuple(
        Row(
            xid=int(r["xid"]),
            units=tuple(r["subunit"].split("/")),
            before_r575=Pattern.parse(r["intrinfo_mask_pre_r575"]),
            from_r575=Pattern.parse(r["intrinfo_mask_r575_plus"]),
            statuses=frozenset(int(s, 16) for s in r["error_status_hex"].split("/") if s),
            immediate_action=r["immediate_action"],
            escalation_action=r["escalation_action"],
            investigate=r["investigate"],
            severity=r["severity"],
            origin=r["origin"],
            effect=r["local_remote_effect"],
        )
        for r in rows("nvlink5.csv")
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What the words of one line say."""

    rows: tuple[Row, ...]
    layout: Layout | None
    """None where both layouts read the same."""


def decode(
    xid: int, unit: str, intrinfo: int | None, status: int | None, fatal: bool | None = None
) -> Found:
    """The rows that the line names; several where more than one error bit is set.

    Args:
        xid: 144 … 150.
        unit: The unit's name in the line; decides only where the words leave it open.
        intrinfo: First word; None where the line carries none.
        status: Second word, ErrorStatus.
        fatal: What the line itself says; decides only where the words leave it open.
    """
    mine = [row for row in table() if row.xid == xid]
    if intrinfo is None:
        named = [row for row in mine if _named(row, unit) and row.agrees(fatal)]
        return Found(tuple(named), None)
    fitting = [(row, row.layouts(intrinfo)) for row in mine]
    layouts = {layout for _, found in fitting for layout in found}
    hits = [row for row, found in fitting if found]
    if status is not None:
        exact = [row for row in hits if status in row.statuses]
        hits = exact or [row for row in hits if row.status_fits(status)]
    named = [row for row in hits if _named(row, unit)]
    return Found(tuple(named or hits), layouts.pop() if len(layouts) == 1 else None)


def _named(row: Row, unit: str) -> bool:
    wanted = unit.upper().replace(" ", "_")
    return any(wanted == name.upper().replace(" ", "_") for name in row.units)


def link_down_reason(intrinfo: int) -> int:
    """Bits 25:20, the reason why a link of Xid 149 went down."""
    return intrinfo >> 20 & 0x3F
