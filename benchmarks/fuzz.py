"""Coverage-guided fuzzing of every reader: ``python -m benchmarks.fuzz [--seconds 180] [READER ...]``.

Needs ``atheris`` (``pip install atheris``). Each reader gets the examples of the tests as seeds, runs
in a process of its own for the time given, and may raise nothing but ``Unreadable``. Then each seed
and what the fuzzer found is repeated until it is 32, then 128 KiB large: a reader whose time grows
more than twice as fast as its input is named (``--growth`` does this part alone, without atheris).
The exit code is 1 when anything was found; ``--keep DIR`` holds the corpus and the crashes.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
LONGEST_BYTES = 8192
"""Of a made input: what goes wrong shows in a few kilobytes."""
SLOWEST_S = 20
GROWTH_BYTES = (32 << 10, 128 << 10)
MOST_GROWTH = 2.0
SHORTEST_S = 0.1
"""A faster answer is not called slow, however it grows."""

Reader = Callable[[bytes], object]


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader by its name, each over the bytes of a file; ``folder`` holds the file."""
    from trainwreck_analyzer import kernel, logs, source
    from trainwreck_analyzer.artefacts import bug_report, flight_recorder, nvidia_smi, sacct
    from trainwreck_analyzer.catalogue import built_in
    from trainwreck_analyzer.diagnose import diagnose
    from trainwreck_analyzer.errors import Unreadable

    def written(data: bytes) -> Path:
        path = folder / "input_0"
        path.write_bytes(data)
        return path

    def lines(data: bytes) -> list[str]:
        return [source.text(line) for line in data.split(b"\n")]

    def log(data: bytes) -> object:
        return logs.read(written(data), built_in())

    def kernel_log(data: bytes) -> object:
        return list(kernel.facts(lines(data), "f"))

    def dump(data: bytes) -> object:
        value = flight_recorder.parse(data)
        if value is None:
            return None
        here = Path("dump_0")
        first, second = (flight_recorder.to_dump(value, rank) for rank in (0, 1))
        return flight_recorder.facts([(here, first), (here, second)])

    def report(data: bytes) -> object:
        packed = data if data.startswith(b"\x1f\x8b") else gzip.compress(data, 1)
        return bug_report.read(written(packed))

    def whole(data: bytes) -> object:
        with suppress(Unreadable):
            return diagnose([written(data)])
        return None

    return {
        "training-log": log,
        "kernel-log": kernel_log,
        "journal-json": kernel_log,
        "flight-recorder-pickle": dump,
        "flight-recorder-json": dump,
        "nvidia-smi-text": lambda data: list(nvidia_smi.facts(enumerate(lines(data), 1), "f")),
        "nvidia-smi-xml": lambda data: list(nvidia_smi.facts(enumerate(lines(data), 1), "f")),
        "bug-report": report,
        "sacct": lambda data: list(sacct.facts(lines(data), "f")),
        "whole-file": whole,
    }


def seeds(reader: str) -> list[bytes]:
    """Inputs to start from: the examples that the tests and the data files hold."""
    texts: list[bytes] = []
    if reader in ("training-log", "whole-file"):
        texts += [path.read_bytes() for path in _stories("*.log")]
        texts += _together(_signature_examples())
    if reader in ("kernel-log", "bug-report", "whole-file"):
        texts += [path.read_bytes() for path in _stories("dmesg*")]
        texts += _together(_kernel_examples())
    if reader == "journal-json":
        texts += _together([_journal_entry(line) for line in _kernel_examples()])
    if reader.startswith("flight-recorder") or reader == "whole-file":
        tests = _tests("artefacts/test_flight_recorder.py")
        waiting = tests.dump(tests.call(8, state="completed"), tests.call(9), enqueued=9)
        odd = tests.dump(tests.call(9, "send 0->1"), tests.call(9, "broadcast"))
        if not reader.endswith("json"):
            texts += [pickle.dumps(d, protocol) for d in (waiting, odd) for protocol in (0, 2, 4)]
        if not reader.endswith("pickle"):
            texts += [json.dumps(d).encode() for d in (waiting, odd)]
    if reader in ("nvidia-smi-text", "nvidia-smi-xml", "bug-report", "sacct", "whole-file"):
        tests = _tests("artefacts/test_reports.py")
        names = {
            "nvidia-smi-text": ["SMI"], "nvidia-smi-xml": ["XML"], "bug-report": ["REPORT"],
            "sacct": ["TABLE", "PARSABLE"],
        }.get(reader, ["SMI", "XML", "REPORT", "TABLE", "PARSABLE"])  # fmt: skip
        texts += [getattr(tests, name).encode() for name in names]
    return [text[:LONGEST_BYTES] for text in texts]


def _stories(pattern: str) -> list[Path]:
    return sorted((ROOT / "tests" / "analyzer" / "stories").rglob(pattern))


def _signature_examples() -> list[str]:
    from trainwreck_analyzer.catalogue import built_in

    return [e.line for s in built_in().signatures.values() for e in (*s.examples, *s.look_alikes)]


def _kernel_examples() -> list[str]:
    from trainwreck_analyzer.kernel.family import lines

    return [f"[{n:5}.000000] {e}" for n, line in enumerate(lines()) for e in line.examples]


def _journal_entry(line: str) -> str:
    stamp = "1795507200000000"
    entry = {"MESSAGE": line.partition("] ")[2], "__REALTIME_TIMESTAMP": stamp, "_HOSTNAME": "n1"}
    return json.dumps(entry | {"_TRANSPORT": "kernel", "__MONOTONIC_TIMESTAMP": "12000000"})


def _together(lines: list[str], count: int = 8) -> list[bytes]:
    return ["\n".join(lines[i : i + count]).encode() for i in range(0, len(lines), count)]


def _tests(name: str) -> ModuleType:
    path = ROOT / "tests" / "analyzer" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuzz(reader: str, folder: Path, seconds: int) -> list[Path]:
    """Runs one reader in a process of its own; the inputs that crashed it."""
    corpus, crashes = folder / "corpus" / reader, folder / "crashes" / reader
    for place in (corpus, crashes):
        place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(reader)):
        (corpus / f"seed_{number:04}").write_bytes(seed)
    command = [
        sys.executable, "-m", "benchmarks.fuzz", "--child", reader, str(corpus),
        f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", f"-timeout={SLOWEST_S}",
        "-rss_limit_mb=2048", f"-artifact_prefix={crashes}/", "-print_final_stats=1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (folder / f"{reader}.txt").write_text(done.stdout + done.stderr)
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line]
    found = sorted(crashes.iterdir())
    if done.returncode and not found:
        raise RuntimeError(f"{reader}: {done.stderr[-1500:]}")
    print(f"  {reader:24} {runs[-1] if runs else '?':>9} runs, {len(found)} crashes", flush=True)
    return found


def child(reader: str, arguments: list[str]) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["trainwreck_analyzer"]):
        import trainwreck_analyzer.diagnose
        import trainwreck_analyzer.logs  # noqa: F401
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        read = readers(Path(name))[reader]

        def one(data: bytes) -> None:
            read(data)

        atheris.Setup([sys.argv[0], *arguments], one)
        atheris.Fuzz()


def _memory() -> Path | None:
    """A folder in memory, where there is one."""
    return Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def growth(reader: str, samples: list[bytes]) -> list[str]:
    """The inputs over which a reader's time grows faster than their size."""
    slow: list[str] = []
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        read = readers(Path(name))[reader]
        for number, sample in enumerate(samples):
            for form, data in _forms(sample):
                short, long = (_cpu_s(read, _repeated(data, size)) for size in GROWTH_BYTES)
                ratio = long / short / (GROWTH_BYTES[1] / GROWTH_BYTES[0])
                if long > SHORTEST_S and ratio > MOST_GROWTH:
                    slow.append(f"{reader}: input {number} as {form}: {short:.2f} → {long:.2f} s")
    return slow


def _forms(sample: bytes) -> Iterator[tuple[str, bytes]]:
    yield "lines", sample + b"\n"
    yield "one line", sample.replace(b"\n", b" ")


def _repeated(data: bytes, size: int) -> bytes:
    return (data * (size // max(1, len(data)) + 1))[:size]


def _cpu_s(read: Reader, data: bytes) -> float:
    best = float("inf")
    for _ in range(2):
        begin = time.process_time()
        read(data)
        best = min(best, time.process_time() - begin)
    return max(best, 1e-4)


def main() -> int:
    """Fuzz, look at growth, print; 1 when anything was found."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", nargs="*")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        names = options.reader or list(readers(folder))
        crashes: list[Path] = []
        slow: list[str] = []
        for reader in names:
            samples = seeds(reader)
            if not options.growth:
                crashes += fuzz(reader, folder, options.seconds)
            kept = folder / "corpus" / reader
            if kept.is_dir():
                found = sorted(kept.iterdir(), key=lambda p: p.stat().st_size, reverse=True)
                samples += [p.read_bytes() for p in found if not p.name.startswith("seed_")][:60]
            slow += growth(reader, samples[:: max(1, len(samples) // 80)])
        for line in (*map(str, crashes), *slow):
            print(line)
        print(f"{len(crashes)} crashes, {len(slow)} inputs whose time grows too fast")
        return 1 if crashes or slow else 0


if __name__ == "__main__":
    sys.exit(main())
