r"""The kernel line families, as data: one TOML file each, with their own examples.

::

    source = "https://github.com/torvalds/linux/blob/master/mm/oom_kill.c"

    [[line]]
    kind     = "hung_task"
    severity = "warning"
    has      = ["blocked for more than"]
    pattern  = 'task (?P<process>.{1,32}):(?P<pid>\d+) blocked for more than (?P<seconds>\d+)'
    unless   = 'khugepaged'
    device   = "{pid}"
    refine   = "segfault"
    fields   = { scope = "host" }
    examples = ["INFO: task python:4711 blocked for more than 120 seconds."]
    not      = ["task done in more than 120 seconds"]

``has`` are literals of which one stands in every such line; together they are the filter that makes
a line without meaning cheap. Named groups become the fields; ``pci`` and ``device`` the component.
The first line that matches wins, in the order of the files' names and of the lines in a file.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from trainwreck_analyzer.kernel.decoded import Decoded, Severity
from trainwreck_analyzer.kernel.pci import sysfs_address
from trainwreck_analyzer.kernel.refine import REFINERS
from trainwreck_analyzer.verdict import Component

_FOLDER = Path(__file__).with_name("families")
_KEYS = {
    "kind", "severity", "has", "pattern", "unless", "device", "refine", "fields", "examples", "not",
}  # fmt: skip


class FamilyError(ValueError):
    """A family file is wrong. The message says which, and what."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of line."""

    family: str
    kind: str
    severity: Severity
    has: tuple[str, ...]
    pattern: str
    """What its text is like; compiled when the first such text comes, for most never do."""
    unless: str
    """What it is not like; empty: nothing."""
    device: str
    """Template of ``Component.device`` over the fields; empty: the group ``device``, if any."""
    refine: str
    """Name in ``REFINERS``; empty for none."""
    fields: dict[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    look_alikes: tuple[str, ...] = ()

    def read(self, text: str) -> Decoded | None:
        """What the text says, if it is such a line."""
        match = _compiled(self.pattern).search(text)
        if match is None or (self.unless and _compiled(self.unless).search(text)):
            return None
        fields = self.fields | {name: v.strip() for name, v in match.groupdict().items() if v}
        pci = sysfs_address(fields["pci"]) if "pci" in fields else None
        if pci:
            fields["pci"] = pci
        device = self.device.format_map(_Blank(fields)) if self.device else fields.get("device")
        found = Decoded(
            self.kind,
            self.family,
            self.severity,
            fields,
            Component(pci=pci, device=device or None, gpu_uuid=fields.get("gpu_uuid")),
        )
        return REFINERS[self.refine](found) if self.refine else found


class _Blank(dict[str, str]):
    """Fields that leave an absent name empty."""

    def __missing__(self, key: str) -> str:
        return ""


@cache
def lines() -> tuple[Line, ...]:
    """Every kind of line, in the order in which they are tried.

    Raises:
        FamilyError: A file of the package is wrong.
    """
    return tuple(line for path in sorted(_FOLDER.glob("*.toml")) for line in _read_file(path))


def read_file(path: Path) -> list[Line]:
    """The lines of one family, each looked at.

    Raises:
        FamilyError: It is no TOML, lacks something, or a pattern does not compile.
    """
    found = _read_file(path)
    try:
        for pattern in (p for line in found for p in (line.pattern, line.unless)):
            _compiled(pattern)
    except (TypeError, re.error) as error:
        raise FamilyError(f"{path}: {type(error).__name__} {error}") from error
    return found


def _read_file(path: Path) -> list[Line]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return [_line(path.stem, entry) for entry in document["line"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise FamilyError(f"{path}: {type(error).__name__} {error}") from error


def _line(family: str, entry: dict[str, Any]) -> Line:
    unknown = set(entry) - _KEYS
    if unknown:
        raise FamilyError(f"{family}: {entry.get('kind')} has unknown keys {sorted(unknown)}")
    if entry["severity"] not in ("fatal", "error", "warning", "info"):
        raise FamilyError(f"{family}: {entry['kind']}: severity {entry['severity']!r}")
    if entry.get("refine") and entry["refine"] not in REFINERS:
        raise FamilyError(f"{family}: {entry['kind']}: no refiner {entry['refine']!r}")
    return Line(
        family=family,
        kind=entry["kind"],
        severity=cast(Severity, entry["severity"]),
        has=tuple(entry["has"]),
        pattern=entry["pattern"],
        unless=entry.get("unless", ""),
        device=entry.get("device", ""),
        refine=entry.get("refine", ""),
        fields=entry.get("fields", {}),
        examples=tuple(entry.get("examples", ())),
        look_alikes=tuple(entry.get("not", ())),
    )
