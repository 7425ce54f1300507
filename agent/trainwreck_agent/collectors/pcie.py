"""PCI Express links and their errors: GPUs, NVSwitches, NICs, NVMe drives, every bridge above.

Source: https://docs.kernel.org/PCI/pcieaer-howto.html,
Documentation/ABI/testing/sysfs-bus-pci and sysfs-bus-pci-devices-aer_stats of the kernel

``/sys/bus/pci/devices/0000:17:00.0`` leads to
``/sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0``: the bridges above it.
``aer_dev_correctable``::

    RxErr 0
    BadTLP 0
    TOTAL_ERR_COR 0
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainwreck_agent.attribute import Attribute, integer, word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence, note
from trainwreck_agent.tables.devices import PCIE
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

DEVICES = "/sys/bus/pci/devices"
_NO_GPU_VENDORS = frozenset({0x1A03, 0x102B})
"""ASPEED and Matrox: the screen of the management controller."""
_NVIDIA = 0x10DE
_WIDTH_OF_ALL_ONES = 63
"""What the width reads when the configuration space answers 0xFFFF: nobody is there."""

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_SPEED = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) GT/s")
_COUNT = re.compile(rb"^([A-Za-z0-9_]{1,40}) ([0-9]{1,19})$", re.M)

_AER = ("correctable", "nonfatal", "fatal")
_AER_ROOT_PORT = ("cor", "nonfatal", "fatal")
CORRECTABLE = (b"RxErr", b"BadTLP", b"BadDLLP", b"Rollover", b"Timeout")
UNCORRECTABLE = (b"CmpltTO", b"SDES")


@dataclass(slots=True)
class _Device:
    """Files of a device."""

    address: str
    role: str
    ids: str | None
    parent: str | None
    numa_node: int | None
    speed_max: str | None
    width_max: int | None
    speed: Attribute
    width: Attribute
    power: Attribute
    aer: list[Attribute]
    root_port: list[Attribute]
    gone: bool = field(default=False)


class Pcie(Collector):
    """Reads ``/sys/bus/pci/devices``."""

    name = "pcie"
    every_s = 10.0
    may_block = True
    tables = (PCIE, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._listed: list[str] = []
        self._devices: dict[str, _Device] = {}
        self._find()
        if not self._devices:
            seen = "no PCI device" if not self._listed else "no GPU, NIC or NVMe drive on PCI"
            raise Unavailable(f"{DEVICES}: {seen} (a virtual machine or container)")
        self._presence = Presence(self.name, self._devices)

    def _find(self) -> None:
        self._listed = self.host.list(DEVICES)
        wanted = topology(self.host, self._listed)
        for address in self._devices.keys() - wanted.keys():
            del self._devices[address]
        for address, (role, parent) in wanted.items():
            if address not in self._devices:
                self._devices[address] = _device(self.host, address, role, parent)

    def collect(self) -> Iterator[Row]:
        """Yield one row a device."""
        vanished = [a for a, device in self._devices.items() if device.power.vanished]
        if vanished or self.host.list(DEVICES) != self._listed:
            for address in vanished:
                del self._devices[address]
            self._find()
            yield from self._presence.changes(self._devices)
        for device in self._devices.values():
            yield from self._read(device)

    def _read(self, device: _Device) -> Iterator[Row]:
        power = device.power.text()
        asleep = power == "D3cold"  # a look at its configuration space would wake it
        width = None if asleep else device.width.integer()
        speed = None if asleep else gigatransfers(device.speed.text())
        gone = width == _WIDTH_OF_ALL_ONES
        if gone != device.gone:
            device.gone = gone
            status = "lost" if gone else "ok"
            detail = "its configuration space reads all ones: it left the bus" if gone else None
            yield note(self.name, device.address, status, detail)
        if gone:
            width = speed = None
        yield Row(
            PCIE,
            (
                device.address,
                device.role,
                device.ids,
                device.parent,
                device.numa_node,
                speed,
                device.speed_max,
                width,
                device.width_max,
                *errors(*[file.data() for file in device.aer]),
                power,
                *[file.digits() for file in device.root_port],
            ),
        )


def topology(host: Host, addresses: list[str]) -> dict[str, tuple[str, str | None]]:
    """Role and bridge above of each device that is recorded, bridges before what is below them."""
    found: dict[str, tuple[str, str | None]] = {}
    for address in addresses:
        role = role_of(host, address)
        if role is None:
            continue
        real = os.path.realpath(host.path(f"{DEVICES}/{address}"))
        above = [part for part in real.split("/") if _ADDRESS.match(part) and part != address]
        parent: str | None = None
        for bridge in above:
            found.setdefault(bridge, ("bridge", parent))
            parent = bridge
        found[address] = (role, parent)
    return found


def role_of(host: Host, address: str) -> str | None:
    """What a device is for a training job; None: nothing, or a virtual function of a NIC."""
    base = f"{DEVICES}/{address}"
    code = host.number(f"{base}/class")
    if code is None or not _ADDRESS.match(address) or host.exists(f"{base}/physfn"):
        return None
    kind, vendor = code >> 8, host.number(f"{base}/vendor")
    if kind >> 8 == 0x03 or kind == 0x1200:
        return None if vendor in _NO_GPU_VENDORS else "gpu"
    if kind == 0x0680 and vendor == _NVIDIA:
        return "nvswitch"
    if kind >> 8 == 0x02:
        return "nic"
    return "nvme" if kind == 0x0108 else None


def _device(host: Host, address: str, role: str, parent: str | None) -> _Device:
    base = f"{DEVICES}/{address}"
    if not host.exists(base):  # a recorded tree may hold a bridge without its link
        base = _folder(host, address) or base
    vendor, product = host.number(f"{base}/vendor"), host.number(f"{base}/device")
    node = integer(host, f"{base}/numa_node")
    width = integer(host, f"{base}/max_link_width")
    return _Device(
        address,
        role,
        None if vendor is None or product is None else f"{vendor:04x}:{product:04x}",
        parent,
        node if node is not None and node >= 0 else None,
        gigatransfers(word(host, f"{base}/max_link_speed")),
        width if width != _WIDTH_OF_ALL_ONES and width != 255 else None,
        Attribute(host, f"{base}/current_link_speed"),
        Attribute(host, f"{base}/current_link_width"),
        Attribute(host, f"{base}/power_state"),
        [Attribute(host, f"{base}/aer_dev_{kind}") for kind in _AER],
        [Attribute(host, f"{base}/aer_rootport_total_err_{kind}") for kind in _AER_ROOT_PORT],
    )


def _folder(host: Host, address: str) -> str | None:
    for name in host.list(DEVICES):
        real = os.path.realpath(host.path(f"{DEVICES}/{name}"))
        head, found, _ = real.partition(f"/{address}/")
        if found and real.startswith(host.root):
            return f"{head[len(host.root) :]}/{address}"
    return None


def gigatransfers(text: str | None) -> str | None:
    """16.0 of "16.0 GT/s PCIe"; None for "Unknown"."""
    match = None if text is None else _SPEED.match(text)
    return None if match is None else match[1]


def errors(
    correctable: bytes | None, nonfatal: bytes | None, fatal: bytes | None
) -> tuple[Value, ...]:
    """The AER columns in order: three totals, five correctable kinds, two uncorrectable kinds."""
    counted = [_counts(data) for data in (correctable, nonfatal, fatal)]
    totals = [_total(counts) for counts in counted]
    kinds = [counted[0].get(name) for name in CORRECTABLE]
    for name in UNCORRECTABLE:
        seen = [counts[name] for counts in counted[1:] if name in counts]
        kinds.append(sum(seen) if seen else None)
    return (*totals, *kinds)


def _counts(data: bytes | None) -> dict[bytes, int]:
    return {name: int(value) for name, value in _COUNT.findall(data or b"")}


def _total(counts: dict[bytes, int]) -> int | None:
    # Kernels before 5.5 call the total of the non-fatal ones TOTAL_ERR_FATAL too.
    return next((value for name, value in counts.items() if name.startswith(b"TOTAL_")), None)
