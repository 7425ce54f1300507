"""Versions of drivers, of firmware, and of the libraries that training processes have loaded.

Sources: https://docs.kernel.org/ABI/stable/sysfs-class-infiniband (fw_ver),
https://docs.kernel.org/ABI/stable/sysfs-module, proc_pid_maps(5),
https://packaging.python.org/en/latest/specifications/recording-installed-packages/

``/proc/driver/nvidia/version``::

    NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent import ranks
from trainwreck_agent.attribute import word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import SOFTWARE

MODULES = (
    "nvidia", "nvidia_uvm", "nvidia_peermem", "gdrdrv", "amdgpu", "xe", "habanalabs", "mlx5_core",
    "mlx5_ib", "ib_core", "irdma", "efa", "bnxt_en", "bnxt_re", "ice", "gve", "nvme", "lustre",
    "beegfs", "mmfs26", "wekafsio", "zfs",
)  # fmt: skip
LIBRARIES = (
    "nccl", "nccl-net", "nccl-net-ofi", "nccl-tuner", "rccl", "rccl-net", "cuda", "cudart",
    "cudnn", "cublas", "cublasLt", "nvrtc", "nvidia-ml", "cufile", "gdrapi", "amdhip64",
    "torch", "torch_cuda", "torch_hip", "c10", "gloo", "mpi", "ucp", "fabric", "ibverbs", "mlx5",
    "nvshmem_host", "sharp", "jemalloc", "tcmalloc",
)  # fmt: skip
READ_OFTEN = 5
READ_EVERY = 10
"""A process' libraries are read at its first turns, when it loads them, then each tenth."""

_MAPPED = re.compile(
    rb" (/[^\n]{0,4000}?/lib("
    + b"|".join(re.escape(name.encode()) for name in sorted(LIBRARIES, key=len, reverse=True))
    + rb")\.so((?:\.[0-9]{1,8}){0,4}))(?: \(deleted\))?$",
    re.M,
)
_NVIDIA = re.compile(rb"Kernel Module(?: for [a-z0-9_]{1,16})? {1,4}([0-9][0-9.]{2,24})")
_GSP = re.compile(rb"^GPU Firmware:[ \t]*([0-9][0-9.]{2,24})", re.M)
_MICROCODE = re.compile(rb"^microcode\s*: (0x[0-9a-f]{1,16})", re.M)
_SITE = re.compile(r"(.{0,4000}/(?:site|dist)-packages)/")
_DISTRIBUTION = re.compile(r"([A-Za-z0-9_.]{1,80})-([0-9][A-Za-z0-9.+_]{0,60})\.dist-info\Z")

Key = tuple[str, str, str]


class Software(Collector):
    """Reads versions each minute; a row where one is new or changed."""

    name = "software"
    every_s = 60.0
    may_block = True
    tables = (SOFTWARE,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._ranks = ranks.shared(host)
        self._turns: dict[tuple[int, int], int] = {}
        self._mapped: dict[tuple[int, int], dict[Key, str | None]] = {}
        self._last: dict[Key, tuple[Value, ...]] = {}

    def collect(self) -> Iterator[Row]:
        """Yield a row a thing at the start and when its version changes."""
        found: dict[Key, tuple[str | None, int | None]] = {}
        for kind, name, path, version in (*self._drivers(), *self._firmware()):
            found.setdefault((kind, name, path), (version, None))
        for key, version in self._libraries():
            _, count = found.get(key, (None, 0))
            found[key] = (version, (count or 0) + 1)
        for key, values in found.items():
            if self._last.get(key) != values:
                yield Row(SOFTWARE, (*key, *values))
        self._last = {**found}

    def _drivers(self) -> Iterator[tuple[str, str, str, str | None]]:
        path = "/proc/driver/nvidia/version"
        if data := self.host.read(path):
            match = _NVIDIA.search(data)
            yield "driver", "nvidia", path, None if match is None else match[1].decode("ascii")
        for name in MODULES:
            folder = f"/sys/module/{name}"
            if self.host.exists(folder):
                yield "driver", name, folder, word(self.host, f"{folder}/version")

    def _firmware(self) -> Iterator[tuple[str, str, str, str | None]]:
        for device in self.host.list("/sys/class/infiniband"):
            path = f"/sys/class/infiniband/{device}/fw_ver"
            yield "firmware", device, path, word(self.host, path)
        for address in self.host.list("/proc/driver/nvidia/gpus"):
            path = f"/proc/driver/nvidia/gpus/{address}/information"
            if match := _GSP.search(self.host.read(path) or b""):
                yield "firmware", "gsp", path, match[1].decode("ascii")
        for what in ("bios_version", "bios_date", "board_name", "product_name"):
            path = f"/sys/class/dmi/id/{what}"
            if version := word(self.host, path):
                yield "firmware", what, path, version
        if match := _MICROCODE.search((self.host.read("/proc/cpuinfo") or b"")[:8192]):
            yield "firmware", "microcode", "/proc/cpuinfo", match[1].decode("ascii")

    def _libraries(self) -> Iterator[tuple[Key, str | None]]:
        before, self._turns = self._turns, {}
        for process in self._ranks.training():
            who = (process.pid, process.stat.start_ticks)
            turn = self._turns[who] = before.get(who, -1) + 1
            if turn < READ_OFTEN or turn % READ_EVERY == 0:
                data = self.host.read(f"/proc/{process.pid}/maps") or b""
                self._mapped[who] = self._versions(process.pid, data)
        self._mapped = {who: self._mapped[who] for who in self._turns if who in self._mapped}
        for mapped in self._mapped.values():
            yield from mapped.items()

    def _versions(self, pid: int, maps: bytes) -> dict[Key, str | None]:
        found: dict[Key, str | None] = {}
        for path, name, suffix in libraries(maps):
            version = suffix if suffix.count(".") >= 1 else None
            if version is None and (site := _SITE.match(path)):
                version = self._distributed(pid, site[1], path, name)
            found["library", f"lib{name}", path] = version or suffix or None
        return found

    def _distributed(self, pid: int, site: str, path: str, library: str) -> str | None:
        """The version of the Python distribution that a library came with."""
        parts = path[len(site) + 1 :].split("/")
        wanted = f"nvidia_{parts[1]}" if parts[0] == "nvidia" and len(parts) > 2 else parts[0]
        for entry in self.host.list(f"/proc/{pid}/root{site}"):
            match = _DISTRIBUTION.match(entry)
            if match and _same(match[1], wanted):
                return match[2]
        return None


def _same(distribution: str, wanted: str) -> bool:
    """Whether ``nvidia_nccl_cu12`` is the distribution of the folder ``nvidia/nccl``."""
    name = distribution.replace(".", "_").lower()
    return name == wanted or (wanted.startswith("nvidia_") and name.startswith(f"{wanted}_cu"))


def libraries(maps: bytes) -> Iterator[tuple[str, str, str]]:
    """``(path, name, version in the file name)`` of each known library in ``/proc/PID/maps``."""
    seen: set[bytes] = set()
    for line in maps.split(b"\n"):
        if b"/lib" not in line or len(line) > 4200:
            continue
        match = _MAPPED.search(line)
        if match and match[1] not in seen:
            seen.add(match[1])
            path, name, suffix = (part.decode("utf-8", "replace") for part in match.groups())
            yield path, name, suffix[1:]
