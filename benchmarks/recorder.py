"""What the recorder costs beside its peers, in one run: ``python -m benchmarks.recorder``.

Every program runs at the same time, each in a control group of its own, so the kernel counts its
CPU time with all children, dead ones too. Needs root for the control groups. Peers that are not
installed are left out and named (Debian: ``apt-get install sysstat prometheus-node-exporter atop``).

CPU is the mean per second over the run, so what happens now and then (scans, sealing) is in it; the
median beside it is the plain tick. PSS is of the whole family at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
UNIFIED = Path("/sys/fs/cgroup")
SADC = shutil.which("sadc") or "/usr/lib/sysstat/sadc"
EXPORTER_ADDRESS = "127.0.0.1:19177"
WARM_UP_S = 8


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
    """One program under measurement."""

    name: str
    command: list[str]
    output: Path
    each_second: Callable[[], None] = lambda: None
    group: Group | None = None
    process: subprocess.Popen[bytes] | None = None
    cpu_ms: list[float] = field(default_factory=list)
    pss_mib: float = 0.0
    written_bytes: int = 0

    def start(self) -> None:
        """Start it in its own group."""
        self.group = Group(self.name)
        self.process = subprocess.Popen(
            self.command,
            preexec_fn=self.group.join,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """Stop it and everything it started."""
        assert self.process is not None
        assert self.group is not None
        self.process.terminate()
        self.process.wait(10)
        for pid in self.group.pids():
            os.kill(pid, 15)
        for _ in range(50):
            if not self.group.pids():
                break
            time.sleep(0.1)
        self.group.remove()


def _pss_mib(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else 0


def _scrape() -> None:
    urllib.request.urlopen(f"http://{EXPORTER_ADDRESS}/metrics", timeout=2).read()


def subjects(folder: Path, library: str | None) -> tuple[list[Subject], list[str]]:
    """The programs that are installed, and the names of those that are not."""
    record = [sys.executable, "-m", "trainwreck_agent", "record", "--data", str(folder / "data")]
    if library:
        record += ["--nvml-library", library]
    found = [Subject("trainwreck", record, folder / "data" / "journal")]
    missing = []
    exporter, atop = shutil.which("prometheus-node-exporter"), shutil.which("atop")
    if Path(SADC).exists():
        out = folder / "sadc"
        found.append(Subject("sadc -S XALL 1", [SADC, "-S", "XALL", "1", str(out)], out))
    else:
        missing.append("sadc")
    if exporter:
        command = [exporter, f"--web.listen-address={EXPORTER_ADDRESS}"]
        found.append(Subject("node_exporter", command, folder / "none", _scrape))
    else:
        missing.append("node_exporter")
    if atop:
        out = folder / "atop"
        found.append(Subject("atop -w 1", [atop, "-w", str(out), "1"], out))
    else:
        missing.append("atop")
    for subject in found:
        subject.name = subject.name.replace(" ", "_").replace("/", "_")
    return found, missing


def run(found: list[Subject], seconds: int) -> None:
    """Run all of them at once and read their groups every second."""
    with ExitStack() as stack:
        for subject in found:
            subject.start()
            stack.callback(subject.stop)
        time.sleep(WARM_UP_S)
        size = {s.name: _size(s.output) for s in found}
        last = {s.name: s.group.cpu_ns() for s in found if s.group}
        next_s = time.monotonic()
        for _ in range(seconds):
            next_s += 1.0
            for subject in found:
                subject.each_second()
            time.sleep(max(0.0, next_s - time.monotonic()))
            for subject in found:
                assert subject.group is not None
                now = subject.group.cpu_ns()
                subject.cpu_ms.append((now - last[subject.name]) / 1e6)
                last[subject.name] = now
        for subject in found:
            assert subject.group is not None
            subject.pss_mib = _pss_mib(subject.group.pids())
            subject.written_bytes = _size(subject.output) - size[subject.name]


def values_per_tick(journal: Path, seconds: int) -> float:
    """Filled cells a second in the recorder's journal."""
    cells = 0
    for path in journal.glob("*.tsv"):
        for line in path.read_text(errors="replace").splitlines():
            cells += sum(1 for cell in line.split("\t")[2:-1] if cell)
    return cells / seconds


def report(found: list[Subject], missing: list[str], seconds: int) -> None:
    """Print the table."""
    base = next((s for s in found if s.name.startswith("sadc")), found[0])
    base_ms = statistics.mean(base.cpu_ms)
    print(
        f"{'program':18} {'CPU ms/s':>9} {'median':>7} {'p90':>6} {'x ' + base.name[:4]:>7}"
        f" {'PSS MiB':>8} {'bytes/s':>8}"
    )
    for s in found:
        mean = statistics.mean(s.cpu_ms)
        p90 = sorted(s.cpu_ms)[int(len(s.cpu_ms) * 0.9)]
        print(
            f"{s.name:18} {mean:9.2f} {statistics.median(s.cpu_ms):7.2f} {p90:6.2f}"
            f" {mean / base_ms:7.2f} {s.pss_mib:8.1f} {s.written_bytes / seconds:8.0f}"
        )
    if missing:
        print("not installed:", ", ".join(missing))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=100, help="at least so many on the host")
    parser.add_argument("--nvml-library", help="e.g. the fake one of the tests with 8 GPUs")
    options = parser.parse_args()
    there = sum(path.name.isdigit() for path in Path("/proc").iterdir())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        for _ in range(max(0, options.processes - there)):
            sleeper = subprocess.Popen(["sleep", "infinity"])
            stack.callback(sleeper.wait)
            stack.callback(sleeper.terminate)
        found, missing = subjects(folder, options.nvml_library)
        run(found, options.seconds)
        print(
            f"{max(there, options.processes)} processes, {options.seconds} s,"
            f" {options.nvml_library or 'no GPU'}"
        )
        report(found, missing, options.seconds)
        values = values_per_tick(folder / "data" / "journal", options.seconds + WARM_UP_S)
        print(f"trainwreck: {values:.0f} filled values a second; sadc: see sadf -d")


if __name__ == "__main__":
    main()
