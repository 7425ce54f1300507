"""Every fault of the demo, so many times: ``python -m benchmarks.faults [--times 10]``.

Each turn is the real command (`trainwreck demo --fault F --no-tui`) with a seed of its own, so rank
and step of the fault differ. Right means: exactly one incident, with the cause that really happened.
Exit code 1 if one was wrong.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CAUSES = {
    "host-oom": "host_oom", "nan": "nan_divergence", "hang": "hang_software",
    "segfault": "segfault_software", "disk-full": "disk_full", "exception": "python_exception",
}  # fmt: skip


def one(fault: str, seed: int) -> tuple[str, float | None, float]:
    """``(answer, confidence, seconds)`` of one demo; the answer is a cause, or what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        begin = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "trainwreck_tui",
                "demo",
                "--fault",
                fault,
                "--no-tui",
                "--seed",
                str(seed),
                "--data",
                str(data),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        took = time.monotonic() - begin
        if done.returncode != 0:
            return f"exit {done.returncode}: {done.stderr.strip()[-200:]}", None, took
        log = next(data.rglob("train.log"))
        answer = subprocess.run(
            [
                sys.executable,
                "-m",
                "trainwreck_tui",
                "diagnose",
                "--json",
                "--data",
                str(data),
                str(log),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(answer.stdout)["incidents"]
    if len(found) != 1:
        return f"{len(found)} incidents: {[i['verdict']['cause'] for i in found]}", None, took
    return found[0]["verdict"]["cause"], found[0]["verdict"]["confidence"], took


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=CAUSES)
    options = parser.parse_args()
    wrong = 0
    print(f"{'fault':12} {'right':>9} {'confidence':>11} {'seconds':>8}")
    for fault in options.fault or CAUSES:
        answers = [one(fault, options.seed + n) for n in range(options.times)]
        right = [a for a in answers if a[0] == CAUSES[fault]]
        wrong += len(answers) - len(right)
        sure = [a[1] for a in right if a[1] is not None]
        print(
            f"{fault:12} {len(right):>3} of {len(answers):<3}"
            f" {statistics.mean(sure) if sure else 0:11.2f}"
            f" {statistics.mean(a[2] for a in answers):8.1f}",
            flush=True,
        )
        for answer, _, _ in answers:
            if answer != CAUSES[fault]:
                print(f"    wrong: {answer}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
