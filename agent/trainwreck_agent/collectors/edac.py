"""Errors of host memory, counted by the EDAC drivers.

Source: https://docs.kernel.org/admin-guide/RAS/main.html and
https://docs.kernel.org/driver-api/edac.html

``/sys/devices/system/edac/mc/mc0``: ``ce_count``, ``ue_count``; in ``dimm0``: ``dimm_label``
CPU_SrcID#0_MC#0_Chan#0_DIMM#0, ``dimm_location`` channel 0 slot 0, ``dimm_ce_count``, ``size`` in
MiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence
from trainwreck_agent.tables.devices import EDAC
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

CONTROLLERS = "/sys/devices/system/edac/mc"
_LOOK_EVERY = 30
_CONTROLLER = re.compile(r"mc[0-9]{1,5}\Z")
_MODULE = re.compile(r"(?:dimm|rank)[0-9]{1,5}\Z")
_ROW = re.compile(r"csrow[0-9]{1,5}\Z")
_CHANNEL = re.compile(r"(ch[0-9]{1,5})_ce_count\Z")
_CONTROLLER_COUNTS = ("ce_count", "ue_count", "ce_noinfo_count", "ue_noinfo_count")


@dataclass(slots=True)
class _Module:
    """Files of a memory module."""

    label: str
    location: str | None
    size_bytes: int | None
    corrected: Attribute
    uncorrected: Attribute | None


@dataclass(slots=True)
class _Controller:
    """Files of a memory controller."""

    counts: list[Attribute]
    size_bytes: int | None
    modules: list[_Module]


class Edac(Collector):
    """Reads ``/sys/devices/system/edac/mc``: counters in the kernel's memory."""

    name = "edac"
    every_s = 10.0
    tables = (EDAC, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._controllers = self._find()
        if not self._controllers:
            raise Unavailable(
                f"{CONTROLLERS}: no memory controller; a virtual machine, memory without ECC, no"
                " EDAC driver for this processor, or firmware that keeps errors to itself (GHES:"
                " then its reports are lines of the kernel log)"
            )
        self._presence = Presence(self.name, self._controllers)

    def _find(self) -> dict[str, _Controller]:
        found = {}
        for name in self.host.list(CONTROLLERS):
            if _CONTROLLER.match(name):
                base = f"{CONTROLLERS}/{name}"
                counts = [Attribute(self.host, f"{base}/{count}") for count in _CONTROLLER_COUNTS]
                modules = list(_modules(self.host, base))
                found[name] = _Controller(counts, mebibytes(self.host, f"{base}/size_mb"), modules)
        return found

    def collect(self) -> Iterator[Row]:
        """Yield a row a controller and one a module."""
        self._turn += 1
        if self._turn % _LOOK_EVERY == 0:
            now = {name for name in self.host.list(CONTROLLERS) if _CONTROLLER.match(name)}
            vanished = any(c.counts[0].vanished for c in self._controllers.values())
            if vanished or now != self._controllers.keys():
                self._controllers = self._find()
            yield from self._presence.changes(self._controllers)
        for name, controller in self._controllers.items():
            counts = [file.digits() for file in controller.counts]
            yield Row(EDAC, (name, "", None, controller.size_bytes, *counts))
            for module in controller.modules:
                uncorrected = None if module.uncorrected is None else module.uncorrected.digits()
                about = (name, module.label, module.location, module.size_bytes)
                yield Row(EDAC, (*about, module.corrected.digits(), uncorrected, None, None))


def _modules(host: Host, base: str) -> Iterator[_Module]:
    names = host.list(base)
    found = [_dimm(host, f"{base}/{name}", name) for name in names if _MODULE.match(name)]
    if not found:  # kernels before 3.6 and some drivers know rows and channels only
        rows = [name for name in names if _ROW.match(name)]
        found = [module for row in rows for module in _channels(host, f"{base}/{row}", row)]
    taken: set[str] = set()
    for module in found:
        if module.label in taken:  # a board whose labels are not unique
            module.label = f"{module.label} ({module.location or len(taken)})"
        taken.add(module.label)
        yield module


def _dimm(host: Host, base: str, name: str) -> _Module:
    location = word(host, f"{base}/dimm_location")
    return _Module(
        word(host, f"{base}/dimm_label") or location or name,
        location,
        mebibytes(host, f"{base}/size"),
        Attribute(host, f"{base}/dimm_ce_count"),
        Attribute(host, f"{base}/dimm_ue_count"),
    )


def _channels(host: Host, base: str, row: str) -> Iterator[_Module]:
    for name in host.list(base):
        if match := _CHANNEL.match(name):
            location = f"{row} {match[1]}"
            label = word(host, f"{base}/{match[1]}_dimm_label") or location
            yield _Module(label, location, None, Attribute(host, f"{base}/{name}"), None)


def mebibytes(host: Host, path: str) -> int | None:
    """Bytes of a size that is written in MiB."""
    size = integer(host, path)
    return None if size is None or size <= 0 else size << 20
