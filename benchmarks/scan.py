"""How fast logs are read: ``python -m benchmarks.scan [--megabytes 64]``.

Three logs are made: hits are sparse, 5 % of the lines hit, and one in which no line has the shape of
another. In one run, each as CPU time of one core: a plain read, the cut into shapes, the signature
scan (which lines does any signature match) and the whole reading, both with the accelerator and
without it, and ``rg -j1 --no-unicode`` with the same patterns as one alternation (those with
look-around, which it does not know, left out) and with their literals. Of two runs the faster counts,
so what is made once for a process or kept on disk is there; what making it costs is said apart.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trainwreck_analyzer import logs, looks, source
from trainwreck_analyzer.accelerator import Accelerator, accelerator
from trainwreck_analyzer.catalogue import Catalogue, Possible, built_in
from trainwreck_analyzer.scan import Lines, Scanner

HITS = (
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "[rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "[rank0]:[E ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog caught collective operation timeout:"
    " WorkNCCL(SeqNum=1, OpType=ALLREDUCE, Timeout(ms)=600000)",
    "OSError: [Errno 28] No space left on device",
)
WORDS = (
    "tokens",
    "batch",
    "layer",
    "dtype",
    "cache",
    "worker",
    "queue",
    "epoch",
    "optimizer",
    "saved",
)


def lines(rate: float, *, unlike: bool, rng: random.Random) -> Iterator[str]:
    """Lines of a run without end; ``rate`` of them are hits."""
    number = 0
    while True:
        number += 1
        clock = f"2026-01-02 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
        clock += f",{rng.randrange(1000):03}"
        kind, part = rng.random(), rng.randrange(100)
        if rng.random() < rate:
            yield f"{clock} {rng.choice(HITS)}"
        elif unlike:
            yield f"{clock} {' '.join(rng.choices(WORDS, k=8))} {rng.randrange(1 << 48):x}"
        elif kind < 0.75:
            yield (
                f"{clock} [INFO] iteration {number:8}/ 5000000 | consumed samples: {number * 256} |"
                f" elapsed time per iteration (ms): {rng.gauss(500, 5):.1f} | learning rate:"
                f" {rng.random() / 1000:.3E} | lm loss: {2 + rng.random() / 10:.6E} | grad norm:"
                f" {rng.random():.3f} |"
            )
        elif kind < 0.85:
            yield f"/opt/torch/utils/checkpoint.py:{part}: pass use_reentrant explicitly"
        elif kind < 0.93:
            bar = "█" * (part // 10) + " " * (10 - part // 10)
            yield f"Epoch {number % 9}: {part:3}%|{bar}| {part * 10}/1000 [00:12<01:30, 9.12it/s]"
        else:
            yield f"{clock} INFO données chargées : échantillon {rng.randrange(10**9):x}, ok"


def write(path: Path, megabytes: int, rate: float, *, unlike: bool = False) -> Path:
    """The made file; the same for the same arguments."""
    size = 0
    with path.open("wb") as out:
        for line in lines(rate, unlike=unlike, rng=random.Random(1)):
            size += out.write(line.encode() + b"\n")
            if size >= megabytes * 1_000_000:
                return path
    raise AssertionError


def read(path: Path) -> int:
    """Bytes of the file, in the reader's own blocks."""
    return sum(len(block) for block, _ in source.blocks(path))


def cut(path: Path) -> int:
    """Lines of the file, each with its shape."""
    return sum(len(Lines.of(block).shapes) for block, _ in source.blocks(path))


def search(catalogue: Catalogue) -> Accelerator | None:
    """The accelerator, where it is installed."""
    return accelerator(tuple(catalogue.expressions), ())


def scan(path: Path, catalogue: Catalogue, *, fast: bool) -> int:
    """How many lines a signature matches."""

    def classify(shape: bytes) -> Possible | None:
        found = catalogue.possible(source.text(shape))
        return found if found.patterns else None

    scanner = Scanner(
        catalogue.literals,
        classify,
        lambda: search(catalogue) if fast else None,
        lambda: catalogue.needles,
    )
    found = 0
    for block, _ in source.blocks(path):
        of_block = Lines.of(block)
        for index, possible in scanner.matter(of_block):
            found += catalogue.matches(source.text(of_block.raw[index]), possible)
    return found


def whole(path: Path, catalogue: Catalogue, *, fast: bool) -> int:
    """How many facts the whole reading gives."""
    original = looks.accelerator_of
    if not fast:
        looks.accelerator_of = lambda *_: None
    try:
        return len(logs.read(path, catalogue).facts)
    finally:
        looks.accelerator_of = original


RG_S = 60
"""With so many patterns ripgrep may need a quarter of an hour for lines that are all unlike."""


def rg(path: Path, patterns: Path, *options: str) -> int:
    """How many lines ripgrep counts."""
    command = ["rg", "-j1", "--no-unicode", "-a", "-c", *options, "-f", str(patterns), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RG_S)
    if done.returncode > 1:
        raise RuntimeError(done.stderr[:500])
    return int(done.stdout or 0)


def cpu_s(what: Callable[[], int], times: int = 2) -> tuple[float, int]:
    """The lowest CPU time of some runs, children's included, and what the run returned."""
    best, got = float("inf"), 0
    for _ in range(times):
        before = _used_s()
        got = what()
        best = min(best, _used_s() - before)
    return best, got


def _used_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    megabytes = parser.parse_args().megabytes
    catalogue = built_in()
    patterns = [p for s in catalogue.signatures.values() for p in s.logs]
    # One alternation must not hold a group's name twice.
    plain = [re.sub(r"\(\?P<\w+>", "(?:", p) for p in patterns if not re.search(r"\(\?<?[=!]", p)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "patterns").write_text("\n".join(plain) + "\n")
        (folder / "literals").write_text("\n".join(catalogue.literals) + "\n")
        print(
            f"{len(patterns)} patterns, {len(plain)} of them for rg; {megabytes} MB; CPU of a core"
        )
        made_s, _ = cpu_s(lambda: len(catalogue.needles), times=1)
        print(f"long texts found in {made_s:.2f} s")
        made_s, _ = cpu_s(lambda: search(catalogue) is not None, times=1)
        print(f"accelerator {'ready' if search(catalogue) else 'not there'} in {made_s:.2f} s")
        files = {
            "sparse hits": write(folder / "sparse.log", megabytes, 0.0001),
            "5 % hits": write(folder / "five.log", megabytes, 0.05),
            "no two lines alike": write(folder / "unlike.log", megabytes, 0.0001, unlike=True),
        }
        for title, path in files.items():
            rows: dict[str, Callable[[], int]] = {
                "plain read": lambda path=path: read(path),
                "cut into shapes": lambda path=path: cut(path),
                "scan, accelerated": lambda path=path: scan(path, catalogue, fast=True),
                "scan without": lambda path=path: scan(path, catalogue, fast=False),
                "whole, accelerated": lambda path=path: whole(path, catalogue, fast=True),
                "whole without": lambda path=path: whole(path, catalogue, fast=False),
            }
            if search(catalogue) is None:
                del rows["scan, accelerated"], rows["whole, accelerated"]
            if shutil.which("rg"):
                rows["rg patterns"] = lambda path=path: rg(path, folder / "patterns")
                rows["rg -F literals"] = lambda path=path: rg(path, folder / "literals", "-F")
            print(f"{title}:")
            speeds = {}
            for row, what in rows.items():
                try:
                    seconds, got = cpu_s(what)
                except subprocess.TimeoutExpired:
                    print(f"  {row:18} stopped after {RG_S} s", flush=True)
                    continue
                speeds[row] = path.stat().st_size / 1e6 / seconds
                print(f"  {row:18} {speeds[row]:8.0f} MB/s   ({got})", flush=True)
            for row in ("scan, accelerated", "scan without"):
                if row in speeds and "rg patterns" in speeds:
                    print(f"  {row:18} {speeds[row] / speeds['rg patterns']:8.2f} × rg patterns")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory {peak_mib:.0f} MiB; Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
