"""Steps of a followed log: in one line, in several, and as the states of a progress bar."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent import progress_bar, step_blocks, training_log
from trainwreck_agent.host import Host
from trainwreck_agent.step_lines import StepLines, StepTold
from trainwreck_agent.training_log import TrainingLog

BARS = tomllib.loads(progress_bar.FILE.read_text())
BLOCKS = tomllib.loads(step_blocks.FILE.read_text())["blocks"]
NAMES = ("step", "loss", "grad_norm", "learning_rate", "step_time_s", "tokens_per_s")


def told(*lines: str) -> list[StepTold]:
    reader = StepLines()
    found = [one for n, line in enumerate(lines, 1) for one in reader.feed(n, line).steps]
    return found + reader.flush()


def bar(step: int, total: int, label: str = "", more: str = "", unit: str = "it/s") -> str:
    taken, left = step, total - step
    return (
        f"{label}{100 * step // total:3d}%|{'#' * (10 * step // total):10}| {step}/{total}"
        f" [{taken // 60:02d}:{taken % 60:02d}<{left // 60:02d}:{left % 60:02d},  1.00{unit}{more}]"
    )


def steps(lines: Sequence[str]) -> list[int]:
    return [one.values[0] for one in told(*lines)]


@pytest.mark.parametrize("example", BARS["examples"], ids=lambda e: e["line"][:30])
def test_a_bar_of_the_training_gives_its_step(example: dict[str, Any]) -> None:
    (one,) = told(example["line"])
    assert one.values[0] == example["step"]
    assert one.values[1] == pytest.approx(example.get("loss"), nan_ok=True)
    assert one.values[4] is not None


@pytest.mark.parametrize("example", BARS["not"], ids=lambda e: e["line"][:30])
def test_a_bar_of_something_else_gives_none(example: dict[str, Any]) -> None:
    assert told(example["line"]) == []


@pytest.mark.parametrize("example", [e for b in BLOCKS for e in b["examples"]])
def test_a_step_in_several_lines_is_one(example: dict[str, Any]) -> None:
    (one,) = told("a line before", *example["text"].strip().split("\n"))
    assert one.line == 2
    for name, value in zip(NAMES, one.values, strict=True):
        assert value == pytest.approx(example.get(name), nan_ok=True), name
    again = told(*example["text"].strip().split("\n"), "a line behind it", "another")
    assert [a.values[0] for a in again] == [example["step"]]


@pytest.mark.parametrize("example", [e for b in BLOCKS for e in b["not"]])
def test_other_lines_are_no_block(example: dict[str, Any]) -> None:
    assert told(*example["text"].strip().split("\n")) == []


def test_an_evaluation_between_two_steps_is_none_of_them() -> None:
    """As the Trainer does it: neither bar has a name."""
    lines = [bar(1, 100), bar(2, 100), *(bar(n, 25) for n in range(1, 26)), bar(3, 100)]
    assert steps(lines) == [1, 2, 3]


def test_what_comes_before_and_after_the_training_is_none_of_it() -> None:
    prepare = [bar(n, 10) for n in (1, 5, 10)]
    train = [bar(n, 1000) for n in (1, 500, 1000)]
    evaluate = [bar(n, 25) for n in (1, 25)]
    found = steps([*prepare, *train, *evaluate])
    assert found[-3:] == [1, 500, 1000]
    named = [bar(n, 1000, "Training: ") for n in (2, 3)]
    assert steps([*prepare[:1], *named, *evaluate]) == [1, 2, 3]


def test_a_bar_for_each_epoch_counts_on() -> None:
    lines = [bar(n, 50, f"Epoch {e}: ") for e in range(3) for n in (1, 25, 50)]
    assert steps(lines) == [1, 25, 50, 51, 75, 100, 101, 125, 150]


def test_a_run_that_begins_again_counts_anew() -> None:
    assert steps([bar(70, 100), bar(10, 100), bar(11, 100)]) == [70, 10, 11]


def test_of_many_states_some_are_told_and_the_last() -> None:
    found = steps([bar(n, 5000) for n in range(1, 1234)])
    assert len(found) <= 51
    assert found[-1] == 1233


def row_steps(log: TrainingLog, kind: str = "step") -> list[tuple[int, int]]:
    rows = [row.values for row in log.collect()]
    return [(int(str(v[1])), int(str(v[4]))) for v in rows if v[2] == kind]


def test_a_bar_that_never_ends_its_line_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("start\r\n")
    log = TrainingLog(Host("/"), [str(path)])
    list(log.collect())
    found = []
    for n in (1, 2, 3):
        with path.open("a") as file:
            file.write("\r" + bar(n, 100))
        found += row_steps(log)
    with path.open("a") as file:
        file.write("\r\nstep 4 loss 2.5\r\n")
    found += row_steps(log)
    assert found == [(2, 1), (2, 2), (2, 3), (3, 4)]  # each state when the next has begun


def ten_states(
    folder: Path, monkeypatch: pytest.MonkeyPatch, of: int, then_s: float
) -> tuple[Path, TrainingLog]:
    """A log in which a bar of so many steps came to its tenth, a second each, and then stood."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = folder / "train.log"
    log = TrainingLog(Host("/"), [str(path)])
    for n in range(1, 11):
        with path.open("a") as file:
            file.write(bar(n, of) + "\n")
        list(log.collect())
        now[0] += 1
    now[0] += then_s
    return path, log


def test_the_end_of_a_bar_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, log = ten_states(tmp_path, monkeypatch, of=10, then_s=600)
    assert row_steps(log, "silence") == []
    with path.open("a") as file:
        file.write("".join(bar(n, 5) + "\n" for n in (1, 2)))  # an evaluation
    assert row_steps(log) == []


def test_a_bar_that_stands_is_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, log = ten_states(tmp_path, monkeypatch, of=100, then_s=2 * training_log.SILENT_MIN_S)
    assert [step for _, step in row_steps(log, "silence")] == [10]


PIECES = (
    "%|", "|", "1/2", " [00:01<00:02, ", "1it/s", "]", "9", "[batch=1/2]:",
    "\t Train loss/train/total: 1",
)  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=20)).map("".join), max_size=20))
def test_any_lines_are_heard(lines: list[str]) -> None:
    for one in told(*lines):
        assert one.values[0] >= 0
        assert all(v is None or isinstance(v, float) for v in one.values[1:])


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["%|", "1%|", "[", "1: ", "9", " ", "a%|#| 1/2 ", "[batch=1/"])
def test_a_long_line_takes_no_longer_than_it_is(piece: str) -> None:
    for _ in range(200):
        told(piece * (4000 // len(piece)))
