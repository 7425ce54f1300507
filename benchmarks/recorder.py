"""What the recorder costs beside its peers, in one run: ``python -m benchmarks.recorder``.

Every program runs at the same time, each in a control group of its own, so the kernel counts its
CPU time with all children, dead ones too. Needs root for the control groups.

CPU is the mean per second over the run, so what happens now and then (scans, sealing) is in it; the
median beside it is the plain tick. PSS is of the whole family at the end, and of the first process
of it. Bytes are what is written a second; trainwreck's journal is text, of which sealing makes a
fifth (``python -m benchmarks.day``). Values are distinct numbers and words recorded a second.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import peers
from benchmarks.subject import Subject

WARM_UP_S = 12
"""At least; and until the recorder's niced child has prepared the directory, which is done once."""
QUIET_LOOKS = 6
"""Half seconds without such a child: the first is followed by one that seals what was left."""
FAKE = Path(__file__).parents[1] / "tests" / "agent" / "nvml" / "fake.py"


def trainwreck(folder: Path, name: str, options: list[str], environment: dict[str, str]) -> Subject:
    """The recorder, with a data directory of its own."""
    data = folder / name.replace(" ", "_")
    command = [sys.executable, "-m", "trainwreck_agent", "record", "--data", str(data), *options]
    journal = data / "journal"
    return Subject(
        name, command, journal, values=lambda: values_per_s(journal), environment=environment
    )


def with_gpus(folder: Path, count: int) -> Subject:
    """The recorder with the fake driver's library of the tests."""
    spec = importlib.util.spec_from_file_location("fake", FAKE)
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    library = fake.build(folder)
    control = fake.Fake(folder / "control")
    control.set("device_count", count)
    environment = {fake.ENVIRONMENT: str(control.path)}
    options = ["--nvml-library", str(library)]
    return trainwreck(folder, f"trainwreck {count} GPUs", options, environment)


def run(found: list[Subject], seconds: int) -> None:
    """Run all of them at once and read their groups every second."""
    with ExitStack() as stack:
        for subject in found:
            subject.start()
            stack.callback(subject.stop)
        time.sleep(WARM_UP_S)
        still = 0
        while still < QUIET_LOOKS:
            time.sleep(0.5)
            commands = [command for s in found for command in s.commands()]
            sealing = any(b"agent.seal" in c or b"agent.cleaning" in c for c in commands)
            still = 0 if sealing else still + 1
        size = {s.name: s.size_bytes() for s in found}
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
            subject.written_bytes = subject.size_bytes() - size[subject.name]
            subject.look()


def forks() -> int:
    """Processes and threads started since boot: the recorder looks at each new program."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))


def values_per_s(journal: Path) -> float | None:
    """Filled cells a second in the recorder's journal, from its second to its last-but-one tick.

    What is told once, at the start, is left out with the first ticks, and so is the kernel's log of
    before: its lines carry their own times.
    """
    cells: dict[int, int] = {}
    ticks: set[int] = set()
    for path in journal.glob("*.tsv"):
        for line in path.read_text(errors="replace").splitlines():
            words = line.split("\t")
            if words[-1] == "$" and words[1].isdigit():
                second = int(words[1]) // 1_000_000
                cells[second] = cells.get(second, 0) + sum(1 for word in words[2:-1] if word)
                if words[0] == "cpu":
                    ticks.add(second)
    seconds = sorted(ticks)[WARM_UP_S:-1]
    return statistics.mean(cells[second] for second in seconds) if seconds else None


def report(found: list[Subject], missing: list[str], seconds: int) -> None:
    """Print the table."""
    base = next((s for s in found if s.name.startswith("sadc")), found[0])
    base_ms = statistics.mean(base.cpu_ms)
    print(
        f"{'program':18} {'CPU ms/s':>9} {'median':>7} {'p90':>6} {'x ' + base.name[:4]:>7}"
        f" {'PSS MiB':>8} {'first':>6} {'bytes/s':>8} {'values/s':>9}"
    )
    for s in found:
        mean = statistics.mean(s.cpu_ms)
        p90 = sorted(s.cpu_ms)[int(len(s.cpu_ms) * 0.9)]
        values = "-" if s.values_per_s is None else f"{s.values_per_s:.0f}"
        print(
            f"{s.name:18} {mean:9.2f} {statistics.median(s.cpu_ms):7.2f} {p90:6.2f}"
            f" {mean / base_ms:7.2f} {s.pss_mib:8.1f} {s.pss_main_mib:6.1f}"
            f" {s.written_bytes / seconds:8.0f} {values:>9}"
        )
    if missing:
        print("not installed:", ", ".join(missing))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=100, help="at least so many on the host")
    parser.add_argument(
        "--gpus", type=int, default=8, help="of a fake driver, in a second recorder"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="beside these peers only")
    options = parser.parse_args()
    there = sum(path.name.isdigit() for path in Path("/proc").iterdir())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        for _ in range(max(0, options.processes - there)):
            sleeper = subprocess.Popen(["sleep", "infinity"])
            stack.callback(sleeper.wait)
            stack.callback(sleeper.terminate)
        others, missing = peers(folder)
        found = [trainwreck(folder, "trainwreck", [], {})]
        if options.gpus:
            found.append(with_gpus(folder, options.gpus))
        found += [s for s in others if not options.only or s.name.split()[0] in options.only]
        before, begun_s = forks(), time.monotonic()
        run(found, options.seconds)
        per_s = (forks() - before) / (time.monotonic() - begun_s)
        print(
            f"{max(there, options.processes)} processes, {options.seconds} s;"
            f" the host started {per_s:.0f} processes and threads a second meanwhile"
        )
        report(found, missing, options.seconds)


if __name__ == "__main__":
    main()
