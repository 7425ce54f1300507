"""kill -9 at any moment: ``python -m benchmarks.kill [--times 200]``.

Starts the recorder on one directory again and again, kills it after a random time (also while it
starts, seals or merges), and after each kill reads everything: the store must open, every tick
that a reader had already seen must still be there, no row may be there twice. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trainwreck_agent import store
from trainwreck_agent.layout import Layout

INTERVAL = "100ms"


def ticks(folder: Path) -> list[int]:
    """Times of all ticks that can be read, µs."""
    connection = store.connect([folder])
    found = connection.execute("SELECT epoch_us(ts) FROM memory ORDER BY ts").fetchall()
    return [ts for (ts,) in found]


def main() -> None:
    """Kill, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        command = [
            sys.executable,
            "-m",
            "trainwreck_agent",
            "record",
            "--data",
            str(folder),
            "--interval",
            INTERVAL,
        ]
        seen: set[int] = set()
        for turn in range(options.times):
            process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.05, 1.5))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            if not (folder / "meta.json").exists():
                continue
            try:
                now = ticks(folder)
            except Exception as error:  # noqa: BLE001 — whatever it is, it is the finding
                bad += 1
                print(f"turn {turn}: unreadable: {error}")
                continue
            if len(set(now)) != len(now):
                bad += 1
                print(f"turn {turn}: {len(now) - len(set(now))} ticks are there twice")
            if lost := seen - set(now):
                bad += 1
                print(f"turn {turn}: {len(lost)} ticks were there and are not any more")
            seen |= set(now)
        layout = Layout(folder)
        print(
            f"{options.times} kills, seed {options.seed}: {bad} bad; {len(seen)} ticks,"
            f" {len(layout.spans())} sealed spans, {len(layout.journals())} journals"
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
