"""The tables of numbered GPU and switch errors, as facts with their sources' disagreements."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from trainwreck_analyzer.kernel.decoded import Severity

_FOLDER = Path(__file__).with_name("tables")


@dataclass(frozen=True, slots=True)
class Code:
    """One Xid or SXid."""

    code: int
    name: str
    mnemonic: str
    kind: str
    """``hardware``, ``app``, ``software`` or ``ambiguous``."""
    likely_causes: str
    severity: str
    """``fatal``, ``error``, ``warning``, ``info``, or ``unused`` by current data-centre drivers."""
    action: str
    disagreement: str
    """What other sources say, where they differ."""
    sources: str

    @property
    def level(self) -> Severity:
        """The severity; a code that current drivers do not use counts as a warning."""
        return "warning" if self.severity == "unused" else cast(Severity, self.severity)


@cache
def xids() -> dict[int, Code]:
    """Every known Xid by its number.

    Source: https://docs.nvidia.com/deploy/xid-errors/, nverror.h of the open kernel modules
    """
    return _codes("xid.csv")


@cache
def sxids() -> dict[int, Code]:
    """Every known SXid by its number.

    Source: ctrl_dev_nvswitch.h of the open kernel modules,
    https://docs.nvidia.com/datacenter/tesla/pdf/fabric-manager-user-guide.pdf
    """
    return _codes("sxid.csv")


def _codes(name: str) -> dict[int, Code]:
    found: dict[int, Code] = {}
    for row in rows(name):
        code = int(row.pop("code"))
        found[code] = Code(code, **row)
    return found


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one table of this package."""
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
