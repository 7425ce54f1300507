"""kill -9 at any moment: ``python -m benchmarks.kill [--times 200]``.

Starts the recorder on one directory again and again, kills it, or it and its children, a random time
after its start, its first tick, the beginning of a seal or its end, and after each kill reads
everything: the store must open, every tick that a reader had already seen must still be there, no
row may be there twice. Exit code 1 if not.
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
from collections import Counter
from pathlib import Path

from trainwreck_agent import store
from trainwreck_agent.layout import Layout

INTERVAL = "100ms"
WAIT_S = 60.0


def ticks(folder: Path) -> list[int]:
    """Times of all ticks that can be read, µs."""
    connection = store.connect([folder])
    found = connection.execute("SELECT epoch_us(ts) FROM memory ORDER BY ts").fetchall()
    return [ts for (ts,) in found]


def seen_of(folder: Path, what: str) -> int:
    """How much there is of what a kill waits for: bytes in journals, files being sealed, spans."""
    layout = Layout(folder)
    if what == "tick" and layout.journal.is_dir():
        return sum(path.stat().st_size for path in layout.journal.iterdir())
    if what == "seal" and layout.state.is_dir():
        return len(list(layout.state.glob("sealing.*")))
    if what == "sealed" and layout.sealed.is_dir():
        return len(layout.spans())
    return int(what == "prepared" and layout.prepared.exists())


def wait_for(folder: Path, what: str, wait_s: float = WAIT_S) -> None:
    """Until there is more of it than at the start; not for ever, for there may be no more."""
    before, until_s = seen_of(folder, what), time.monotonic() + wait_s
    while what != "start" and time.monotonic() < until_s:
        if seen_of(folder, what) > before:
            return
        time.sleep(0.005)


def main() -> None:
    """Kill, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    bad = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
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
        moments: Counter[str] = Counter()
        for turn in range(options.times):
            process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            moment = draw.choice(["start", "tick", "seal", "sealed"])
            wait_for(folder, moment)
            time.sleep(draw.uniform(0.0, 1.0))
            draw.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
            process.wait()
            moments[moment] += 1
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
            f"{options.times} kills (after {dict(moments)}), seed {options.seed}: {bad} bad;"
            f" {len(seen)} ticks, {len(layout.spans())} sealed spans,"
            f" {len(layout.journals())} journals"
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
