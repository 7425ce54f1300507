"""Settings of kernel and devices that decide how training runs.

Sources: https://docs.kernel.org/admin-guide/sysctl/,
https://docs.kernel.org/admin-guide/mm/transhuge.html,
https://docs.kernel.org/ABI/testing/sysfs-kernel-iommu_groups, PCI Express Base Specification 7.7.11
(Access Control Services)

``/sys/kernel/mm/transparent_hugepage/enabled`` lists what there is, the choice in brackets::

    always [madvise] never
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from trainwreck_agent.attribute import word
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.redact import redact
from trainwreck_agent.tables.system import SETTING

SYSCTLS = (
    "kernel.numa_balancing", "kernel.pid_max", "kernel.threads-max", "kernel.panic",
    "kernel.panic_on_oops", "kernel.hardlockup_panic", "kernel.softlockup_panic",
    "kernel.watchdog_thresh", "kernel.hung_task_timeout_secs", "kernel.hung_task_panic",
    "kernel.core_pattern", "kernel.yama.ptrace_scope", "kernel.perf_event_paranoid",
    "kernel.dmesg_restrict", "kernel.shmmax", "vm.swappiness", "vm.overcommit_memory",
    "vm.overcommit_ratio", "vm.zone_reclaim_mode", "vm.min_free_kbytes", "vm.max_map_count",
    "vm.panic_on_oom", "vm.oom_kill_allocating_task", "vm.memory_failure_recovery",
    "vm.memory_failure_early_kill", "vm.dirty_ratio", "fs.file-max", "fs.nr_open",
    "net.core.rmem_max", "net.core.wmem_max", "net.core.somaxconn", "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_keepalive_time",
)  # fmt: skip
FILES = {
    "transparent_hugepage": "/sys/kernel/mm/transparent_hugepage/enabled",
    "transparent_hugepage_defrag": "/sys/kernel/mm/transparent_hugepage/defrag",
    "smt": "/sys/devices/system/cpu/smt/control",
    "isolated_cpus": "/sys/devices/system/cpu/isolated",
    "clock_source": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "cpu_governor": "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
    "lockdown": "/sys/kernel/security/lockdown",
    "aspm": "/sys/module/pcie_aspm/parameters/policy",
}
DEVICES = "/sys/bus/pci/devices"
DEEP_EVERY = 10
"""PCI devices are looked at each ten minutes."""
BRIDGES_MAX = 256

_CHOICE = re.compile(r"\[([^\]\n]{1,60})\]")
_PARAMETER = re.compile(rb"^([A-Za-z0-9_]{2,60}): ([^\n]{0,200})$", re.M)
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_ACS = 0x000D
_ACS_BITS = ("SV", "TB", "RR", "CR", "UF", "EC", "DT")
"""Source validation, translation blocking, request and completion redirect, upstream forwarding,
egress control, direct translated: RR and CR send traffic between two GPUs through the root."""

Setting = tuple[str, str, str | None]


class Settings(Collector):
    """Reads settings each minute; a row where one is new or changed."""

    name = "setting"
    every_s = 60.0
    may_block = True
    tables = (SETTING,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._turn = 0
        self._last: dict[tuple[str, str], str | None] = {}

    def collect(self) -> Iterator[Row]:
        """Yield a row a setting at the start and on change."""
        found = [*self._host(), *self._numa(), *self._nvidia()]
        if self._turn % DEEP_EVERY == 0:
            found += [*self._iommu(), *self._pci()]
        self._turn += 1
        for name, subject, value in found:
            if self._last.get((name, subject), "") != value and value is not None:
                self._last[name, subject] = value
                yield Row(SETTING, (name, subject, value))

    def _host(self) -> Iterator[Setting]:
        for name in SYSCTLS:
            yield name, "", word(self.host, "/proc/sys/" + name.replace(".", "/"))
        for name, path in FILES.items():
            yield name, "", chosen(word(self.host, path))

    def _numa(self) -> Iterator[Setting]:
        """Huge pages that are set aside, for each node and size."""
        base = "/sys/devices/system/node"
        for node in self.host.list(base):
            for size in self.host.list(f"{base}/{node}/hugepages") if node[4:].isdigit() else ():
                path = f"{base}/{node}/hugepages/{size}/nr_hugepages"
                yield size.replace("-", "_"), node, word(self.host, path)

    def _nvidia(self) -> Iterator[Setting]:
        data = self.host.read("/proc/driver/nvidia/params") or b""
        for match in _PARAMETER.finditer(data):
            value = match[2].decode("utf-8", "replace").strip().strip('"')
            yield f"nvidia.{match[1].decode('ascii')}", "", redact(value) or None

    def _iommu(self) -> Iterator[Setting]:
        groups = sum(name.isdigit() for name in self.host.list("/sys/kernel/iommu_groups"))
        yield "iommu_groups", "", str(groups)
        for name in self.host.list("/sys/class/iommu"):
            yield "iommu", name, "present"

    def _pci(self) -> Iterator[Setting]:
        """Of GPUs and NICs how the IOMMU maps them; of bridges what ACS redirects."""
        bridges = 0
        for address in filter(_PCI.match, self.host.list(DEVICES)):
            folder = f"{DEVICES}/{address}"
            kind = (word(self.host, f"{folder}/class") or "")[:6]
            if kind in ("0x0300", "0x0302", "0x0380", "0x0200", "0x0207", "0x1200"):
                yield "iommu_domain", address, word(self.host, f"{folder}/iommu_group/type")
                yield "reset_method", address, word(self.host, f"{folder}/reset_method")
            elif kind == "0x0604" and bridges < BRIDGES_MAX:
                bridges += 1
                yield "acs", address, acs(self.host.read(f"{folder}/config") or b"")


def chosen(text: str | None) -> str | None:
    """The choice in brackets of a list; a plain value as it stands."""
    match = _CHOICE.search(text or "")
    return text if match is None else match[1]


def acs(config: bytes) -> str | None:
    """What Access Control Services do on a port: ``SV RR CR UF``, ``off``; None: no such part.

    ``config`` is the port's configuration space, of which only root sees more than 64 bytes.
    """
    offset = 0x100
    for _ in range(64):  # a chain with a loop ends here
        if offset < 0x100 or offset + 8 > len(config):
            return None
        (head,) = struct.unpack_from("<I", config, offset)
        if head & 0xFFFF == _ACS:
            (control,) = struct.unpack_from("<H", config, offset + 6)
            on = [name for bit, name in enumerate(_ACS_BITS) if control >> bit & 1]
            return " ".join(on) or "off"
        offset = head >> 20 & 0xFFC
    return None
