"""Real runs that end well or really die: ``python -m benchmarks.real_runs [--only PATTERN]``.

Needs root (cgroups, mounts) and Linux. Writes ``tests/analyzer/real/logs`` and ``outcomes.csv``.
``--python deepspeed=/opt/env/bin/python`` names the interpreter that has a framework; without it
this one is used. Runs whose framework is missing are told and left out. ``--missing`` makes only
the logs that are not there yet. Several may run side by side. Exit code 1 if a run did not end as planned.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import fnmatch
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.real_runs import launch, plan
from benchmarks.real_runs.plan import Run

REAL = Path(__file__).parents[2] / "tests" / "analyzer" / "real"
LARGEST_BYTES = 100_000
FIELDS = ("name", "version", "exit_status", "seconds", "bytes")


def version(module: str, python: str) -> str | None:
    """Version of a framework in an interpreter; None where it cannot be imported."""
    code = f"import {module}; print({module}.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.returncode == 0 else None


def keep(run: Run, files: dict[str, str], logs: Path) -> int:
    """Writes a run's logs; how many bytes.

    Raises:
        ValueError: They are too long to keep.
    """
    total = sum(len(text.encode()) for text in files.values())
    if total > LARGEST_BYTES and len(files) < 8:
        raise ValueError(f"{run.name}: {total} bytes of log; make the run shorter")
    folder = logs / run.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return total


def one(run: Run, python: str, found: str, scratch: Path) -> dict[str, str]:
    """Plays a run and keeps its logs; its line of ``outcomes.csv``.

    Raises:
        ValueError: It ended otherwise than planned.
        TimeoutError: It did not end.
    """
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name) / "run"
        folder.mkdir()
        outcome = launch.play(run, python, folder)
    well = outcome.exit_status == 0
    if well != (run.cause == ("none",) or run.ends == "well"):
        tail = "".join(outcome.files.values())[-2000:]
        raise ValueError(f"{run.name}: ended with {outcome.exit_status}\n{tail}")
    text = "".join(outcome.files.values())
    if not re.search(run.shows, text):
        raise ValueError(f"{run.name}: no {run.shows!r} in its log\n{text[-2000:]}")
    size = keep(run, outcome.files, REAL / "logs")
    values = (run.name, found, outcome.exit_status, f"{outcome.seconds:.1f}", size)
    return dict(zip(FIELDS, map(str, values), strict=True))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds a lock that other generators on this machine respect."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(run: Run, scratch: Path) -> Iterator[None]:
    """Keeps runs apart that would meet: in the kernel's log, on a port, in a time limit."""
    if (
        run.kernel
        or run.memory_mib
        or run.rank_memory_mib
        or run.launcher == "processes"
        or "gcc" in run.prepare
    ):
        with locked(scratch / "trainwreck-real-runs.lock"):
            yield
    else:
        yield


def note(line: dict[str, str], order: list[str], scratch: Path) -> None:
    """Puts a run's line into the table, in the order of the runs."""
    table = REAL / "outcomes.csv"
    with locked(scratch / "trainwreck-outcomes.lock"):
        done = {r["name"]: r for r in csv.DictReader(table.open())} if table.exists() else {}
        done[line["name"]] = line
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            rank = {name: place for place, name in enumerate(order)}
            writer.writerows(sorted(done.values(), key=lambda r: rank.get(r["name"], len(rank))))


def main() -> int:
    """Play the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # so that runs are cleaned up
    pythons = dict(entry.split("=", 1) for entry in options.python)
    runs = [run for file in ("clean", "crashed") for run in plan.read(REAL / f"{file}.toml")]
    versions: dict[str, str | None] = {}
    failed = 0
    for run in runs:
        there = (REAL / "logs" / run.name).exists()
        if not fnmatch.fnmatch(run.name, options.only) or (options.missing and there):
            continue
        python = pythons.get(run.framework, sys.executable)
        if run.framework not in versions:
            versions[run.framework] = version(plan.FRAMEWORKS[run.framework], python)
        found = versions[run.framework]
        if found is None:
            print(f"{run.name}: left out, {python} has no {run.framework}", flush=True)
            continue
        try:
            with alone(run, options.scratch):
                line = one(run, python, found, options.scratch)
        except (ValueError, TimeoutError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAILED {error}", flush=True)
            continue
        print(" ".join(line.values()), flush=True)
        note(line, [r.name for r in runs], options.scratch)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
