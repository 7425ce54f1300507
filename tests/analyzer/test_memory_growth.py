"""GPU memory that grows with the steps is a leak; memory that is full from the start is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer import memory_growth, series
from trainwreck_analyzer.diagnose import diagnose

OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total"
    " capacity of 79.10 GiB of which 101.00 MiB is free.\n"
)


def log(used_gib: list[float], end: str = OOM) -> str:
    steps = "".join(
        f"2026-11-20T10:{n // 60:02d}:{n % 60:02d}Z step: {n}  loss: {8 - n / 100:7.4f}"
        f"  memory: {gib:5.2f}GiB({gib / 0.8:.2f}%)  tps: 7,012\n"
        for n, gib in enumerate(used_gib, 1)
    )
    return steps + end


def causes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "train.log"
    path.write_text(text)
    return [incident.verdict.cause for incident in diagnose([path]).incidents]


def test_memory_that_grew_until_none_was_left_is_a_leak(tmp_path: Path) -> None:
    assert causes(tmp_path, log([40 + n * 0.6 for n in range(60)])) == ["gpu_memory_leak"]


@pytest.mark.parametrize(
    "used_gib",
    [[77.0] * 60, [20.0] * 3 + [77.0] * 57, [40.0 + 30 * (n > 30) for n in range(60)], [40, 78]],
    ids=["full from the start", "filled at the start", "one jump", "two steps"],
)
def test_memory_that_did_not_grow_evenly_is_too_little(
    tmp_path: Path, used_gib: list[float]
) -> None:
    assert causes(tmp_path, log(used_gib)) == ["gpu_oom"]


def test_a_run_whose_memory_grows_and_that_ends_well_is_no_incident(tmp_path: Path) -> None:
    end = "2026-11-20T10:02:00Z Training completed.\n"
    assert causes(tmp_path, log([40 + n * 0.6 for n in range(60)], end)) == []


@pytest.mark.parametrize(
    ("line", "mib"),
    [
        ("step: 10  loss: 8.01  memory: 40.50GiB(50.1%)  tps: 7,012", 40.5 * 1024),
        ("eta: 1:00  iter: 20  total_loss: 1.2  lr: 0.01  max_mem: 10234M", 10234.0),
        ("step 10 loss 1.2 gpu_mem=12.5GB", 12.5 * 1024),
        ("step 10 loss 1.2 max memory allocated: 812 MiB", 812.0),
        ("step 10 loss 1.2 peak memory: 812 MiB", 812.0),
        ("step 10 loss 1.2 cpu mem 31.0 GB", None),
        ("step 10 loss 1.2 memory: 12", None),
        ("step 10 loss 1.2 in memory", None),
    ],
)
def test_memory_of_the_field(line: str, mib: float | None) -> None:
    found = series.read(line, 1, None)
    assert found is not None
    assert found.gpu_memory_mib == mib


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40))
def test_any_figures_may_be_asked(used: list[float]) -> None:
    assert memory_growth.grows(used) in (True, False)


def host_log(used_mib: list[float], end: str) -> str:
    steps = "".join(
        f"2026-11-20T10:00:{n:02d}Z step {n} | loss {2 - n / 100:.4f} | rss {mib:.0f} MiB\n"
        for n, mib in enumerate(used_mib, 1)
    )
    return steps + end


@pytest.mark.parametrize(
    "end",
    ["run.sh: line 1: 4711 Killed     python train.py\n", "numpy.exceptions._ArrayMemoryError\n"],
)
def test_resident_memory_that_grew_until_the_kill_is_a_leak(tmp_path: Path, end: str) -> None:
    text = host_log([330.0 + 24 * n for n in range(20)], end)
    assert causes(tmp_path, text)[0] == "host_memory_leak"


def test_resident_memory_that_stayed_is_no_leak(tmp_path: Path) -> None:
    text = host_log([330.0] * 20, "run.sh: line 1: 4711 Killed     python train.py\n")
    assert "host_memory_leak" not in causes(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "mib"),
    [
        ("step 10 loss 1.2 | rss 331 MiB", 331.0),
        ("step 10 loss 1.2 RSS: 12.5GB", 12.5 * 1024),
        ("step 10 loss 1.2 host memory: 9 GiB", 9 * 1024.0),
        ("step 10 loss 1.2 cpu_mem=512M", 512.0),
        ("step 10 loss 1.2 memory: 40GiB", None),
        ("step 10 loss 1.2 crossing 3 M", None),
    ],
)
def test_resident_memory_of_the_field(line: str, mib: float | None) -> None:
    found = series.read(line, 1, None)
    assert found is not None
    assert found.resident_mib == mib
