"""What belongs to one incident: an attempt that was started again is another one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer import restarts, series
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.reading import Reading
from trainwreck_analyzer.verdict import Input

START = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
KEY = (
    "Traceback (most recent call last):\n"
    '  File "/opt/job/train.py", line 61, in main\n'
    "    loss = step(batch)\n"
    "KeyError: 'labels'\n"
)
DISK = KEY.replace("KeyError: 'labels'", "OSError: [Errno 28] No space left on device")
TORCHRUN = (
    "*****************************************\n"
    "Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid"
    " your system being overloaded\n"
    "*****************************************\n"
)


def steps(minute: float, first: int, count: int, *, more: str = "", dated: bool = True) -> str:
    """Lines of steps, one a second."""
    lines = []
    for n in range(first, first + count):
        at = START + timedelta(minutes=minute, seconds=n - first)
        stamp = f"{at:%Y-%m-%dT%H:%M:%SZ} INFO " if dated else ""
        lines.append(f"{stamp}{more}step {n} loss {2.5 - n / 1000:.4f}\n")
    return "".join(lines)


def causes(tmp_path: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (tmp_path / f"{name}.log").write_text(text)
    found = diagnose([tmp_path / f"{name}.log" for name in files])
    return [incident.verdict.cause for incident in found.incidents]


@pytest.mark.parametrize("launch", ["", TORCHRUN, "Resuming from checkpoint step_100\n"])
def test_a_restart_within_half_an_hour_begins_a_new_incident(tmp_path: Path, launch: str) -> None:
    text = steps(0, 101, 30) + KEY + launch + steps(28, 101, 20) + DISK
    assert causes(tmp_path, train=text) == ["python_exception", "disk_full"]


def test_without_times_the_lines_tell_of_the_restart(tmp_path: Path) -> None:
    text = steps(0, 1, 30, dated=False) + KEY + TORCHRUN + steps(28, 1, 20, dated=False) + DISK
    assert causes(tmp_path, train=text) == ["python_exception", "disk_full"]


def test_the_next_attempt_in_a_file_of_its_own_is_a_new_incident(tmp_path: Path) -> None:
    found = causes(tmp_path, one=steps(0, 1, 30) + KEY, two=steps(20, 1, 30) + DISK)
    assert found == ["python_exception", "disk_full"]


def test_what_stands_far_below_a_time_is_of_its_attempt(tmp_path: Path) -> None:
    """Forty lines without a time lie between the last step and the error: interleaved frames."""
    frames = "".join(f"[rank{n % 4}]:     {'f' * n}()\n" for n in range(80))
    tail = DISK.replace("Traceback (most recent call last):\n", "")
    text = steps(0, 1, 30) + KEY + TORCHRUN + steps(28, 1, 20) + KEY + frames + tail
    assert causes(tmp_path, train=text) == ["python_exception", "disk_full"]


def test_ranks_that_start_late_are_one_incident(tmp_path: Path) -> None:
    """Rank 5 dies while rank 7 is still being launched and then waits in vain."""
    late = (
        "2026-11-20T10:00:03Z INFO Initializing distributed: GLOBAL_RANK: 7, MEMBER: 8/8\n"
        "2026-11-20T10:20:03Z ERROR torch.distributed.DistStoreError: Timed out after 1201 seconds"
        " waiting for clients. 7/8 clients joined.\n"
    )
    first = "2026-11-20T10:00:01Z ERROR start\n" + KEY
    assert causes(tmp_path, rank5=first, rank7=late) == ["python_exception"]


def test_an_attempt_that_fails_at_once_is_the_same_incident(tmp_path: Path) -> None:
    text = steps(0, 1, 30) + KEY + TORCHRUN + "2026-11-20T10:00:50Z INFO again\n" + KEY
    assert causes(tmp_path, train=text) == ["python_exception"]


def test_steps_that_count_anew_in_each_epoch_are_no_restart(tmp_path: Path) -> None:
    ecc = "2026-11-20T10:00:31Z node7 kernel: NVRM: Xid (PCI:0000:4e:00): 48, DBE\n"
    text = steps(0, 1, 30, more="epoch 1 ") + ecc + steps(1, 1, 20, more="epoch 2 ") + (
        "2026-11-20T10:01:25Z RuntimeError: CUDA error: uncorrectable ECC error encountered\n"
    )  # fmt: skip
    assert len(causes(tmp_path, train=text)) == 1


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 50),
            st.none() | st.integers(0, 2),
            st.none() | st.floats(0, 9),
        ),
        max_size=40,
    ),
    st.lists(st.integers(1, 60), max_size=5),
)
def test_any_steps_may_be_asked_for_restarts(
    said: list[tuple[int | None, int | None, float | None]], starts: list[int]
) -> None:
    reading = Reading(Input("a", "training_log", 60), starts=[(line, None) for line in starts])
    reading.steps = [
        series.Step(line, "", None, rank, step, 1.0, epoch=epoch)
        for line, (step, rank, epoch) in enumerate(said, 1)
    ]
    found = list(restarts.find(reading))
    assert [r.line for r in found] == sorted({r.line for r in found})
    for restart in found:
        assert restart.going_line is None or restart.going_line >= restart.line


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        ([0.67, 0.16, 0.04, 0.12, 0.66, 2.04, 0.71, 0.02, 1.37, 0.004, 0.3, 1.05, 0.01], []),
        ([2.31, 2.30, 2.32, 2.29, 2.30, 2.28, 4.9, 4.1, 2.6, 2.31, 2.29], ["loss_spike"]),
    ],
)
def test_losses_of_single_batches_that_are_uneven_have_no_spike(
    tmp_path: Path, losses: list[float], found: list[str]
) -> None:
    text = "".join(f"step {n} loss {loss}\n" for n, loss in enumerate(losses))
    assert causes(tmp_path, train=text) == found
