"""GPUs as the kernel's graphics class lists them, whoever made them.

Source: Documentation/ABI/testing/sysfs-bus-pci of the kernel
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent.attribute import word
from trainwreck_agent.collector import Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.schema import Table

CLASS = "/sys/class/drm"
_CARD = re.compile(r"card([0-9]{1,4})\Z")
_UEVENT = re.compile(r"^(DRIVER|PCI_SLOT_NAME|PCI_ID)=([^\s]{1,64})$", re.M)
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
_SPEED = re.compile(r"([0-9]{1,3}(?:\.[0-9])?) GT/s")


@dataclass(frozen=True, slots=True)
class Card:
    """One card: its number, its folders, its driver and its place on the bus."""

    number: int
    folder: str
    driver: str | None
    pci: str | None
    ids: str | None

    @property
    def device(self) -> str:
        """Folder of the PCI device."""
        return f"{self.folder}/device"


def cards(host: Host, drivers: frozenset[str]) -> Iterator[Card]:
    """Yield the cards of these drivers by number."""
    numbers = sorted(int(m[1]) for name in host.list(CLASS) if (m := _CARD.match(name)))
    for number in numbers:
        folder = f"{CLASS}/card{number}"
        told = dict(_UEVENT.findall(word(host, f"{folder}/device/uevent") or ""))
        if told.get("DRIVER") in drivers:
            pci, ids = told.get("PCI_SLOT_NAME"), told.get("PCI_ID")
            yield Card(number, folder, told.get("DRIVER"), pci, ids)


def generation(speed: str | None) -> int | None:
    """PCIe generation of "16.0 GT/s PCIe"."""
    match = None if speed is None else _SPEED.match(speed)
    return None if match is None else _GENERATIONS.get(match[1])


def row(table: Table, values: dict[str, Value]) -> Row:
    """A row of a wide table of which few columns have a value.

    Raises:
        KeyError: A name is no column of the table.
    """
    names = [column.name for column in table.columns]
    if unknown := values.keys() - set(names):
        raise KeyError(f"table {table.name} has no {', '.join(sorted(unknown))}")
    return Row(table, tuple([values.get(name) for name in names]))
