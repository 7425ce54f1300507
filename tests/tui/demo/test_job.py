"""The training job is real: gradients are right, sums are sums, and who fails is told."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_tui.demo.children import child_environment
from trainwreck_tui.demo.job import checkpoint, config
from trainwreck_tui.demo.job.config import Flaw, JobConfig
from trainwreck_tui.demo.job.model import INPUT_WIDTH, OUTPUT_WIDTH, Model
from trainwreck_tui.demo.job.ring import Ring, RingError


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    model, rng = Model(1), np.random.default_rng(2)
    x = rng.normal(size=(8, INPUT_WIDTH)).astype(np.float32)
    y = rng.normal(size=(8, OUTPUT_WIDTH)).astype(np.float32)
    _, gradient, _ = model.loss_and_gradient(x, y)
    along = gradient / np.linalg.norm(gradient)
    width = np.float32(1e-2)
    model.weights += along * width
    above, _, _ = model.loss_and_gradient(x, y)
    model.weights -= 2 * along * width
    below, _, _ = model.loss_and_gradient(x, y)
    assert (above - below) / (2 * width) == pytest.approx(np.linalg.norm(gradient), rel=0.02)


def _rings(size: int, timeout_s: float) -> list[Ring]:
    listener, rings = socket.create_server(("127.0.0.1", 0)), dict[int, Ring]()
    master = listener.getsockname()

    def join(rank: int) -> None:
        rings[rank] = Ring(rank, size, master, timeout_s, None if rank else listener)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [rings[rank] for rank in range(size)]


@settings(max_examples=8, deadline=None)
@given(size=st.integers(2, 5), elements=st.integers(0, 300_000))
def test_all_reduce_gives_every_rank_the_same_sum(size: int, elements: int) -> None:
    rng = np.random.default_rng(elements)
    vectors = [rng.normal(size=elements).astype(np.float32) for _ in range(size)]
    expected = np.sum(vectors, axis=0, dtype=np.float64)
    rings = _rings(size, 60)
    threads = [
        threading.Thread(target=ring.all_reduce, args=(v,))
        for ring, v in zip(rings, vectors, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vector in vectors:
        np.testing.assert_array_equal(vector, vectors[0])
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    for ring in rings:
        ring.close()


def test_a_rank_that_stays_away_trips_the_watchdog_which_names_the_collective() -> None:
    absent, waiting = _rings(2, 0.5)
    with pytest.raises(
        RingError, match=r"SeqNum=1, OpType=ALLREDUCE.*timed out waiting for rank 0"
    ):
        waiting.all_reduce(np.ones(8, np.float32))
    absent.close()
    waiting.close()


def test_a_rank_that_is_gone_is_named_by_its_neighbour() -> None:
    gone, left = _rings(2, 60)
    gone.close()
    with pytest.raises(RingError, match="rank 0 failed"):
        left.all_reduce(np.ones(8, np.float32))
    left.close()


def test_checkpoints_hold_the_weights_and_old_ones_go(tmp_path: Path) -> None:
    model = Model(3)
    for step in (1, 2, 3):
        path = checkpoint.save(model, step, tmp_path, kept=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002.npz", "step-000003.npz"]
    np.testing.assert_array_equal(np.load(path)["weights"], model.weights)
    assert path.stat().st_size == pytest.approx(checkpoint.size_bytes(model), abs=1024)


def _launch(tmp_path: Path, *flaws: Flaw, steps: int = 100_000) -> tuple[int, str]:
    job = JobConfig(
        run_id="t",
        log_folder=str(tmp_path / "logs"),
        checkpoint_folder=str(tmp_path / "checkpoints"),
        workers=3,
        steps=steps,
        step_time_s=0.01,
        collective_timeout_s=2,
        flaws=flaws,
    )
    config.write(job, tmp_path / "job.json")
    command = [sys.executable, "-m", "trainwreck_tui.demo.launcher", str(tmp_path / "job.json")]
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, timeout=90, check=False
    )
    log = (tmp_path / "logs" / "train.log").read_text()
    assert done.stdout.decode() == log
    return done.returncode, log


def _root_cause(log: str) -> str:
    return log.split("Root Cause (first observed failure):")[1]


def test_a_job_without_flaw_learns_and_ends_with_0(tmp_path: Path) -> None:
    code, log = _launch(tmp_path, steps=80)
    assert code == 0
    losses = [
        float(line.split("loss ")[1].split()[0]) for line in log.splitlines() if "loss " in line
    ]
    assert losses[-1] < losses[0] / 2
    assert "FAILED" not in log
    assert "step 80/80" in (tmp_path / "logs" / "rank2.log").read_text()


@pytest.mark.parametrize(
    ("flaw", "exit_code", "wording"),
    [
        (Flaw("bad_pointer", 1, 5), -signal.SIGSEGV, "Connection"),
        (Flaw("bad_width", 1, 5), 1, "ValueError: matmul"),
        (Flaw("leak", 1, 5, 1 << 44), 1, "Unable to allocate"),
    ],
)
def test_the_rank_with_the_flaw_is_the_first_failure_of_the_summary(
    tmp_path: Path, flaw: Flaw, exit_code: int, wording: str
) -> None:
    code, log = _launch(tmp_path, flaw)
    assert code == 1
    assert "rank      : 1 (local_rank: 1)" in _root_cause(log)
    assert f"exitcode  : {exit_code} (pid:" in _root_cause(log)
    assert wording in log
    assert "RingError" in log  # the others saw it


def test_a_lock_taken_twice_ends_in_the_watchdog_of_the_others(tmp_path: Path) -> None:
    code, log = _launch(tmp_path, Flaw("lock_reentry", 1, 5))
    assert code == 1
    assert "[rank0]" in log
    assert "Watchdog caught collective operation timeout" in log
    assert "closing signal SIGTERM" in log
    assert not [line for line in log.splitlines() if line.startswith("[rank1]") and "Error" in line]


def test_a_record_out_of_scale_ends_every_rank_with_nan(tmp_path: Path) -> None:
    code, log = _launch(tmp_path, Flaw("bad_scale", 1, 5))
    assert code == 1
    for rank in range(3):
        assert f"[rank{rank}]: FloatingPointError: loss is nan" in log


def test_a_file_limit_fails_while_saving(tmp_path: Path) -> None:
    code, log = _launch(tmp_path, Flaw("file_limit", 0, 0, 100_000))
    assert code == 1
    assert f"[Errno {errno.EFBIG}]" in log


def test_a_job_description_with_a_slip_is_refused_with_the_field(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"run_id": "a", "log_folder": "b", "checkpoint_folder": "c", "step": 3}')
    with pytest.raises(config.msgspec.ValidationError, match="step"):
        config.read(path)
    assert os.environ.get("RANK") is None
