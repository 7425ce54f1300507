"""What this machine is, how its clock stands: written at the start and when it changes.

Sources: proc(5), adjtimex(2), https://www.freedesktop.org/software/systemd/man/os-release.html
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

from trainwreck_agent import __version__
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.redact import redact
from trainwreck_agent.tables.system import HOST

_OFFSET_CHANGE_US = 100_000
STA_UNSYNC = 0x40


class Inventory(Collector):
    """Reads what names the host; one row at the start and one at each change."""

    name = "inventory"
    every_s = 60.0
    may_block = True
    tables = (HOST,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._last: tuple[Value, ...] = ()
        self._last_offset_us = 0

    def collect(self) -> Iterator[Row]:
        """Yield a row if it says something new."""
        names = self._names()
        offset_us = (time.time_ns() - time.monotonic_ns()) // 1000
        if names == self._last and abs(offset_us - self._last_offset_us) < _OFFSET_CHANGE_US:
            return
        event = "change" if self._last else "start"
        self._last, self._last_offset_us = names, offset_us
        yield self._row(event, names, offset_us)

    def _names(self) -> tuple[Value, ...]:
        cpuinfo = self.host.text("/proc/cpuinfo") or ""
        nodes = [n for n in self.host.list("/sys/devices/system/node") if n[4:].isdigit()]
        return (
            self.host.text("/proc/sys/kernel/random/boot_id"),
            self.host.text("/proc/sys/kernel/osrelease"),
            keyed(self.host.text("/etc/os-release") or "", "PRETTY_NAME", "="),
            _digest(self.host.text("/etc/machine-id")),
            keyed(cpuinfo, "model name", ":"),
            sum(line.startswith("processor") for line in cpuinfo.splitlines()) or None,
            _kib(keyed(self.host.text("/proc/meminfo") or "", "MemTotal", ":")),
            len(nodes) or None,
            _btime_us(self.host.text("/proc/stat") or ""),
            self._virtualisation(cpuinfo),
            redact(self.host.text("/proc/cmdline") or "") or None,
        )

    def _row(self, event: str, names: tuple[Value, ...], offset_us: int) -> Row:
        boot_id, kernel, distribution, machine, model, cpus, memory, nodes, boot, virt, line = names
        return Row(
            HOST,
            (
                boot_id, event, kernel, distribution, machine, model, cpus, memory, nodes, boot,
                offset_us if self.host.live else None, *_clock(self.host), virt, line, __version__,
                None,
            ),
        )  # fmt: skip

    def _virtualisation(self, cpuinfo: str) -> str | None:
        if self.host.exists("/.dockerenv") or self.host.exists("/run/.containerenv"):
            return "container"
        product = self.host.text("/sys/class/dmi/id/product_name")
        flags = keyed(cpuinfo, "flags", ":") or ""
        return (product or "hypervisor") if "hypervisor" in flags.split() else None


def keyed(text: str, key: str, separator: str) -> str | None:
    """The value of the first line that begins with ``key``; quotes taken off."""
    for line in text.splitlines():
        name, found, value = line.partition(separator)
        if found and name.strip() == key:
            return value.strip().strip('"') or None
    return None


def _kib(value: str | None) -> int | None:
    number = (value or "").split(" ")[0]
    return int(number) * 1024 if number.isdigit() else None


def _btime_us(stat: str) -> int | None:
    for line in stat.splitlines():
        if line.startswith("btime ") and line[6:].isdigit():
            return int(line[6:]) * 1_000_000
    return None


def _digest(machine_id: str | None) -> str | None:
    import hashlib  # as ctypes below

    return hashlib.sha256(machine_id.encode()).hexdigest()[:16] if machine_id else None


def _clock(host: Host) -> tuple[bool | None, int | None]:
    """Whether the clock is disciplined, and the kernel's estimate of its error, µs."""
    if not host.live:
        return None, None
    import ctypes  # only in the child that runs this: it costs a megabyte

    timex = ctypes.create_string_buffer(256)  # struct timex with modes = 0: only read
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None, None
    error_us = struct.unpack_from("@l", timex, 32)[0]
    status = struct.unpack_from("@i", timex, 40)[0]
    return not status & STA_UNSYNC, error_us
