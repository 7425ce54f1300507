"""Builds fake_nvml.c and turns its knobs; used by the tests and by benchmarks/nvml.py."""

from __future__ import annotations

import mmap
import re
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")
ENVIRONMENT = "TRAINWRECK_FAKE_NVML"
_MAGIC, _WORDS, _DEVICES, _FUNCTIONS, _NAME_BYTES = 0x6C6D766E656B6166, 64, 16, 128, 56
_COUNTERS_AT = 8 * _WORDS * (1 + _DEVICES)
_CALLS_AT = _COUNTERS_AT + _FUNCTIONS * (_NAME_BYTES + 8)
_SIZE = _CALLS_AT + 8 * _DEVICES


def compiler() -> str | None:
    """The C compiler of this machine; None: there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """The library, compiled into ``folder``."""
    library = folder / "libnvidia-ml.so.1"
    command = [compiler() or "cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return library


class Fake:
    """The control file of one fake library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"\0" * _SIZE)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        lines = SOURCE.read_text()
        self._at: dict[str, int] = {}
        struct.pack_into("<q", self._map, 0, _MAGIC)
        for n, (name, value) in enumerate(re.findall(r"\bGLOBAL\((\w+), (-?\d+)\)", lines), 1):
            self._at[name] = 8 * n
            self.set(name, int(value))
        for n, (name, value) in enumerate(re.findall(r"\bDEVICE\((\w+), (-?\d+)\)", lines)):
            self._at[name] = 8 * (_WORDS + n)
            for device in range(_DEVICES):
                self.set(name, int(value), device)

    def set(self, name: str, value: int, device: int = 0) -> None:
        """Turn a knob, of one device where it is a device's."""
        struct.pack_into("<q", self._map, self._at[name] + 8 * _WORDS * device, value)

    def get(self, name: str, device: int = 0) -> int:
        """Where a knob stands."""
        return int(struct.unpack_from("<q", self._map, self._at[name] + 8 * _WORDS * device)[0])

    def calls(self) -> dict[str, int]:
        """How often each function was called."""
        found = {}
        for n in range(_FUNCTIONS):
            at = _COUNTERS_AT + n * (_NAME_BYTES + 8)
            name = self._map[at : at + _NAME_BYTES].rstrip(b"\0").decode("ascii")
            if name:
                found[name] = int(struct.unpack_from("<Q", self._map, at + _NAME_BYTES)[0])
        return found

    def device_calls(self) -> list[int]:
        """How often each device was asked anything."""
        return list(struct.unpack_from(f"<{_DEVICES}Q", self._map, _CALLS_AT))

    def close(self) -> None:
        """Give the map back; the library keeps its own."""
        self._map.close()
