"""From the start of the process to the answer: ``python -m benchmarks.answer [LOG] [--data DIR]``.

Without a log: a small one is made (2,000 steps, a traceback). Beside it, in the same run, a bare
interpreter, the import of DuckDB, and ``grep`` over the same file: what the time is to be held against.
Modules are compiled by the first run, which is not counted; an installed one has them compiled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = 9


def made(folder: Path) -> Path:
    """A small log of a run that ends in an exception."""
    path = folder / "train.log"
    steps = [
        f"2026-01-02 03:04:05 INFO step {n} loss {2 - n / 3000:.4f} lr 1e-4" for n in range(2000)
    ]
    end = [
        "Traceback (most recent call last):",
        '  File "train.py", line 7, in <module>',
        "KeyError: 'x'",
    ]
    path.write_text("\n".join(steps + end) + "\n")
    return path


def median_ms(command: list[str], environment: dict[str, str]) -> float:
    """Median wall time of a command, ms; the first run is not counted."""
    times = []
    for _ in range(TIMES + 1):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=environment)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", nargs="?", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log = options.log or made(Path(name))
        python = sys.executable
        rows = {
            "python -c pass": [python, "-c", "pass"],
            "python -c 'import duckdb'": [python, "-c", "import duckdb"],
            "grep -c Traceback": ["grep", "-c", "Traceback", str(log)],
            "trainwreck diagnose LOG": [
                python,
                "-m",
                "trainwreck_tui",
                "diagnose",
                "--json",
                str(log),
            ],
        }
        if options.data:
            rows["trainwreck diagnose --data DIR LOG"] = [
                python,
                "-m",
                "trainwreck_tui",
                "diagnose",
                "--json",
                "--data",
                str(options.data),
                str(log),
            ]
        print(f"{log}: {log.stat().st_size / 1e3:.0f} kB; median of {TIMES}")
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(Path(name) / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for title, command in rows.items():
            print(f"  {title:36} {median_ms(command, environment):7.0f} ms")


if __name__ == "__main__":
    main()
