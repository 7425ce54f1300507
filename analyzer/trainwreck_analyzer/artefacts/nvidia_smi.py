"""Reads ``nvidia-smi -q`` as text and as XML: the state of each GPU that explains a failure.

Both are read line by line with the path of headings or tags above each value, so that a truncated
file gives what it has and every fact keeps its line.

Source: https://docs.nvidia.com/deploy/nvidia-smi/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainwreck_analyzer.artefacts.text import lines_of
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.kernel.pci import sysfs_address
from trainwreck_analyzer.verdict import Component

_GPU_TEXT = re.compile(
    r"GPU ([0-9A-Fa-f]{8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])\s{0,8}$", re.ASCII
)
_TEXT = re.compile(r"( {0,40})(\S[^:]{0,80}?)\s{0,80}(?:: (.{0,200}))?$", re.ASCII)
_GPU_XML = re.compile(r'\s{0,16}<gpu id="([0-9A-Fa-f:.]{7,20})"', re.ASCII)
_VALUE_XML = re.compile(r"\s{0,64}<(\w{1,80})>([^<]{0,200})</\1>", re.ASCII)
_OPEN_XML = re.compile(r"\s{0,64}<(\w{1,80})(?: [^>]{0,200})?>\s{0,8}$", re.ASCII)
_CLOSE_XML = re.compile(r"\s{0,64}</(\w{1,80})>", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """One value of one GPU."""

    pci: str
    path: str
    """Headings above it and its own name, in lower case: ``ecc_errors/volatile/dram_…``."""
    text: str
    line: int
    raw: str


@dataclass(frozen=True, slots=True)
class _Rule:
    path: re.Pattern[str]
    holds: Callable[[str], bool]
    kind: str
    words: str


def _positive(text: str) -> bool:
    match = _NUMBER.match(text)
    return match is not None and int(match[0]) > 0


def _yes(text: str) -> bool:
    return text.lower() in ("yes", "active")


def _needs_action(text: str) -> bool:
    return text.lower() not in ("none", "n/a", "", "unknown") and not text.startswith("[")


def _lost(text: str) -> bool:
    lowered = text.lower()
    return "gpu is lost" in lowered or lowered in ("err!", "[gpu is lost]", "[unknown error]")


def _reset(text: str) -> bool:
    return "requires reset" in text.lower()


def _rule(path: str, holds: Callable[[str], bool], kind: str, words: str) -> _Rule:
    return _Rule(re.compile(path, re.ASCII), holds, kind, words)


_RULES = (
    _rule(r"", _lost, "smi_gpu_lost", "the GPU does not answer"),
    _rule(r"", _reset, "smi_reset_required", "the GPU requires a reset"),
    _rule(r"volatile(?:_count)?/(?:.{1,40}/)?(?:dram|device_memory)_uncorrectable", _positive,
          "smi_hbm_uncorrectable", "uncorrectable memory errors since the driver was loaded"),
    _rule(r"volatile(?:_count)?/(?:.{1,40}/)?sram_uncorrectable", _positive,
          "smi_sram_uncorrectable", "uncorrectable SRAM errors since the driver was loaded"),
    _rule(r"sram_threshold_exceeded$", _yes, "smi_sram_threshold",
          "the limit of uncorrectable SRAM errors is passed"),
    _rule(r"remapped_rows/(?:pending|remapped_row_pending)$", _yes, "smi_row_remap_pending",
          "a row waits for remapping until the GPU is reset"),
    _rule(r"remapped_rows/(?:remapping_failure_occurred|remapped_row_failure)$", _yes,
          "smi_row_remap_failed", "a row could not be remapped"),
    _rule(r"(?:retired_pages/pending_(?:page_blacklist|blacklist|retirement))$", _yes,
          "smi_row_remap_pending", "a page waits for retirement until the GPU is reset"),
    _rule(r"hw_thermal_slowdown$", _yes, "smi_hw_thermal", "slowed down by heat"),
    _rule(r"hw_power_brake_slowdown$", _yes, "smi_power_brake", "slowed down by the power brake"),
    _rule(r"gpu_recovery_action$", _needs_action, "smi_recovery_action",
          "the driver asks for a recovery"),
)  # fmt: skip


def read(path: Path) -> list[Fact]:
    """The facts of one file, text or XML, gzipped or not.

    Raises:
        Unreadable: It cannot be opened.
    """
    return list(facts(enumerate(lines_of(path), 1), str(path)))


def facts(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Fact]:
    """What the numbered lines of a report say of each GPU."""
    widths: dict[str, dict[str, Value]] = {}
    told: set[tuple[str, str]] = set()
    for value in values(lines):
        if re.search(r"link_width", value.path) and value.text.endswith("x"):
            which = "max" if re.search(r"(?:^|/|_)max(?:_|$)", value.path) else "current"
            widths.setdefault(value.pci, {}).setdefault(which, value)
        for rule in _RULES:
            if (value.pci, rule.kind) in told or not rule.holds(value.text):
                continue
            if rule.path.search(value.path):
                told.add((value.pci, rule.kind))
                yield _fact(rule.kind, rule.words, value, source)
    for both in widths.values():
        if len(both) == 2 and _lanes(both["current"]) < _lanes(both["max"]):
            words = f"{both['current'].text} of {both['max'].text} PCIe lanes in use"
            yield _fact("smi_pcie_narrow", words, both["current"], source)


def values(lines: Iterable[tuple[int, str]]) -> Iterator[Value]:
    """Every value below a GPU, with its path."""
    pci: str | None = None
    stack: list[tuple[int, str]] = []
    reader = _text
    for number, raw in lines:
        if found := _GPU_TEXT.match(raw):
            pci, stack, reader = sysfs_address(found[1]), [], _text
            continue
        if found := _GPU_XML.match(raw):
            pci, stack, reader = sysfs_address(found[1]), [], _xml
            continue
        if pci is None:
            continue
        value = reader(raw, stack)
        if value is not None:
            path = "/".join([name for _, name in stack] + [value[0]])
            yield Value(pci, path, value[1].strip(), number, raw.rstrip("\r\n"))


def _xml(raw: str, stack: list[tuple[int, str]]) -> tuple[str, str] | None:
    if match := _VALUE_XML.match(raw):
        return match[1], match[2]
    if (match := _OPEN_XML.match(raw)) and len(stack) < 32:
        stack.append((0, match[1]))
    elif (match := _CLOSE_XML.match(raw)) and stack and stack[-1][1] == match[1]:
        stack.pop()
    return None


def _text(raw: str, stack: list[tuple[int, str]]) -> tuple[str, str] | None:
    match = _TEXT.match(raw.rstrip("\r\n"))
    if match is None:
        return None
    depth = len(match[1])
    while stack and stack[-1][0] >= depth:
        stack.pop()
    name = re.sub(r"[^a-z0-9]+", "_", match[2].lower()).strip("_")
    if match[3] is not None:
        return name, match[3]
    stack.append((depth, name))
    return None


def _lanes(value: Value) -> int:
    digits = value.text.removesuffix("x")
    return int(digits) if digits.isdecimal() and len(digits) < 4 else 0


def _fact(kind: str, words: str, value: Value, source: str) -> Fact:
    return Fact(
        kind=kind,
        text=value.raw,
        evidence="inventory",
        source=source,
        line=value.line,
        order=value.line,
        component=Component(pci=value.pci),
        fields={"pci": value.pci, "value": value.text, "meaning": words, "setting": value.path},
    )
