"""A program under measurement, in a control group of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
UNIFIED = Path("/sys/fs/cgroup")


class Group:
    """A control group that counts CPU time, ns."""

    def __init__(self, name: str) -> None:
        first = CPUACCT.is_dir()
        self.path = (CPUACCT if first else UNIFIED) / f"trainwreck-bench-{os.getpid()}-{name}"
        self.path.mkdir()
        self._first = first

    def join(self) -> None:
        """Move the calling process in; called in the child before it becomes the program."""
        (self.path / "cgroup.procs").write_text("0")

    def cpu_ns(self) -> int:
        """CPU time of everything that ever was in the group."""
        if self._first:
            return int((self.path / "cpuacct.usage").read_text())
        first_line = (self.path / "cpu.stat").read_text().split()
        return int(first_line[1]) * 1000

    def pids(self) -> list[int]:
        """The processes in it now."""
        return [int(word) for word in (self.path / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        """Remove the empty group."""
        self.path.rmdir()


@dataclass
class Subject:
    """One program, what it writes, and what was measured of it."""

    name: str
    command: list[str]
    output: Path | None = None
    each_second: Callable[[], None] = lambda: None
    values: Callable[[], float | None] = lambda: None
    """Distinct values that it records a second; asked while it still runs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    group: Group | None = None
    process: subprocess.Popen[bytes] | None = None
    cpu_ms: list[float] = field(default_factory=list)
    pss_mib: float = 0.0
    pss_main_mib: float = 0.0
    written_bytes: int = 0
    values_per_s: float | None = None

    def start(self) -> None:
        """Start it in its own group."""
        self.group = Group("".join(c if c.isalnum() else "_" for c in self.name))
        self.process = subprocess.Popen(
            self.command,
            preexec_fn=self.group.join,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
        )

    def size_bytes(self) -> int:
        """Bytes that its output takes."""
        path = self.output
        if path is None:
            return 0
        if path.is_dir():
            return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        return path.stat().st_size if path.is_file() else 0

    def commands(self) -> list[bytes]:
        """Command lines of its processes now."""
        assert self.group is not None
        paths = [Path(f"/proc/{pid}/cmdline") for pid in self.group.pids()]
        return [path.read_bytes().replace(b"\0", b" ") for path in paths if path.exists()]

    def look(self) -> None:
        """Take down what it holds now."""
        assert self.group is not None
        assert self.process is not None
        self.pss_mib = sum(map(pss_mib, self.group.pids()))
        self.pss_main_mib = pss_mib(self.process.pid)
        self.values_per_s = self.values()

    def stop(self) -> None:
        """Stop it and everything it started."""
        assert self.process is not None
        assert self.group is not None
        self.process.terminate()
        self.process.wait(20)
        for pid in self.group.pids():
            os.kill(pid, 15)
        for _ in range(100):
            if not self.group.pids():
                break
            time.sleep(0.1)
        self.group.remove()


def pss_mib(pid: int) -> float:
    """Memory of a process, shared pages by their share; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
