"""The fuzzer's own parts; a long run is ``python -m benchmarks.fuzz``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import fuzz

NAMES = (
    "training-log", "kernel-log", "journal-json", "flight-recorder-pickle", "flight-recorder-json",
    "nvidia-smi-text", "nvidia-smi-xml", "bug-report", "sacct", "whole-file",
)  # fmt: skip


def test_every_reader_is_fuzzed(tmp_path: Path) -> None:
    assert set(fuzz.readers(tmp_path)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_reader_takes_its_seeds_and_their_halves(name: str, tmp_path: Path) -> None:
    read = fuzz.readers(tmp_path)[name]
    seeds = fuzz.seeds(name)
    assert seeds
    for seed in seeds[:: max(1, len(seeds) // 8)]:
        read(seed)
        read(seed[: len(seed) // 2])


def test_time_that_grows_with_the_square_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = {size: (size / 2**15) ** 2 for size in fuzz.GROWTH_BYTES}
    monkeypatch.setattr(fuzz, "_cpu_s", lambda read, data: times[len(data)])
    assert len(fuzz.growth("sacct", [b"a\nb"])) == 2
    monkeypatch.setattr(fuzz, "_cpu_s", lambda read, data: len(data) / 2**15)
    assert fuzz.growth("sacct", [b"a\nb"]) == []


def test_a_few_seconds_of_fuzzing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="fuzzing is optional: pip install .[fuzz]")
    assert fuzz.fuzz("sacct", tmp_path, 3) == []
