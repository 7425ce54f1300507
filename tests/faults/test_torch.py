"""The same with PyTorch: a DDP job of three ranks under torchrun, on CPU with gloo."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from trainwreck_tui.demo import children, folders, run, sandbox
from trainwreck_tui.demo.progress import Display

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trainwreck[torch]'")
pytestmark = [pytest.mark.fault, pytest.mark.torch, pytest.mark.timeout(240)]

RANKS = 3
MEMORY_LIMIT_BYTES = 1536 << 20
SCRIPT = Path(__file__).with_name("ddp.py")
Accident = Any
Train = Callable[..., Accident]


@pytest.fixture
def trained(tmp_path: Path, accident_type: Any) -> Train:
    """Records a DDP job until it has died, and diagnoses it."""

    def train(what: str, rank: int, *, memory_limit_bytes: int | None = None) -> Accident:
        display = Display()
        with ExitStack() as stack:
            where = stack.enter_context(folders.folders(tmp_path / "data", keep=True))
            prefix: tuple[str, ...] = ()
            if memory_limit_bytes:
                place = stack.enter_context(
                    sandbox.limited_memory(memory_limit_bytes, f"ddp-{os.getpid()}")
                )
                if place.kind == "limit":
                    pytest.skip("this user may not make a memory cgroup here")
                prefix = place.prefix
            stack.enter_context(children.recorder(where, display))
            command = [
                *prefix, sys.executable, "-m", "torch.distributed.run", "--standalone",
                f"--nproc-per-node={RANKS}", "--tee=3", f"--log-dir={where.job / 'ranks'}",
                "--monitor-interval=1", str(SCRIPT), what, str(rank), "40",
            ]  # fmt: skip
            with where.log.open("ab") as log:
                done = subprocess.run(
                    command, stdout=log, stderr=log, timeout=150, check=False,
                    env=children.child_environment() | {"OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            ended_us = time.time_ns() // 1000
            while not children.has_rows(where.data, {"cpu"}, ended_us + 1_500_000):
                time.sleep(0.1)
        return accident_type(where, done.returncode, run.diagnosed(where, display), rank)

    return train


def test_a_rank_killed_by_the_kernel_is_the_cause_and_gloo_errors_are_victims(
    trained: Train,
) -> None:
    accident = trained("leak", 1, memory_limit_bytes=MEMORY_LIMIT_BYTES)
    assert accident.exit_code == 1
    assert accident.cause == "host_oom", accident.told()
    assert accident.incident.verdict.component.rank == 1, accident.told()
    victims = [v for v in accident.incident.victims if v.rank in (0, 2)]
    assert {v.rank for v in victims} == {0, 2}, accident.incident.victims
    said = " ".join(v.text for v in victims).lower()
    assert "gloo" in said or "connection" in said, victims


def test_an_exception_in_one_rank(trained: Train) -> None:
    accident = trained("width", 2)
    assert accident.cause in ("python_exception", "data_error"), accident.told()
    assert accident.incident.verdict.component.rank == 2, accident.told()


def test_a_loss_that_becomes_nan(trained: Train) -> None:
    assert trained("scale", 1).cause == "nan_divergence"


def test_a_rank_that_hangs_until_gloo_times_out(trained: Train) -> None:
    accident = trained("lock", 1)
    assert accident.cause == "hang_software", accident.told()
    assert accident.incident.verdict.component.rank == 1, accident.told()
    assert any("next_shard" in e.text for e in accident.evidence), accident.told()
