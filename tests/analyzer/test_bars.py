"""Steps out of progress bars and blocks of lines, told from the bars of everything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.progress_bar import Bar
from trainwreck_analyzer import bars, logs
from trainwreck_analyzer.catalogue import built_in
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.series import Step

LOSS = "{'loss': 2.31, 'grad_norm': 1.02, 'learning_rate': 5e-05, 'epoch': 0.1}"


def bar(step: int, total: int, label: str = "", more: str = "", unit: str = "it/s") -> str:
    taken, left = step, total - step
    return (
        f"{label}{100 * step // total:3d}%|{'#' * (10 * step // total):10}| {step}/{total}"
        f" [{taken // 60:02d}:{taken % 60:02d}<{left // 60:02d}:{left % 60:02d},  1.00{unit}{more}]"
    )


def read(tmp_path: Path, *lines: str, end: str = "\n") -> list[Step]:
    path = tmp_path / "train.log"
    path.write_text("".join(line + end for line in lines), newline="")
    return logs.read(path, built_in()).steps


def numbers(steps: list[Step]) -> list[int | None]:
    return [step.step for step in steps]


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_bare_bar_gives_steps(tmp_path: Path, end: str) -> None:
    found = read(tmp_path, *(bar(n, 1000) for n in range(51)), end=end)
    assert numbers(found)[-3:] == [48, 49, 50]
    assert len(found) >= 50


def test_bars_of_everything_else_give_none(tmp_path: Path) -> None:
    """As the Trainer writes a log: of seven bars one is the training's, which has no name."""
    prepare = [bar(n, 4000, "Map: ", unit=" examples/s") for n in (1000, 4000)]
    prepare += [bar(n, 30) for n in (1, 15, 30)] + [bar(n, 2, "Loading checkpoint shards: ")
                                                  for n in (1, 2)]  # fmt: skip
    train: list[str] = []
    for n in range(1, 101):
        train.append(bar(n, 100))
        if n % 10 == 0:
            train.append(LOSS)
        if n % 50 == 0:
            train += [bar(m, 700) for m in (1, 350, 700)]  # an evaluation that takes longer
    after = [bar(m, 700) for m in (1, 350, 700)]
    found = read(tmp_path, *prepare, *train, *after)
    assert [s.step for s in found if s.loss is None] == list(range(1, 101))
    assert sum(s.loss is not None for s in found) == 10


def test_a_bar_with_a_loss_has_step_and_loss(tmp_path: Path) -> None:
    lines = [bar(n, 50, f"Epoch {e}: ", f", v_num=0, train_loss={2 - n / 100}")
             for e in range(2) for n in (1, 25, 50)]  # fmt: skip
    found = read(tmp_path, *lines, bar(3, 10, "Validation DataLoader 0: "))
    assert numbers(found) == [1, 25, 50, 51, 75, 100]
    assert found[0].loss == pytest.approx(1.99)


def test_the_last_step_of_a_run_is_that_of_its_bar(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(
        "".join("\r" + bar(n, 1000) for n in range(300)).encode()
        + b"\nOSError: [Errno 28] No space left on device\n"
    )
    (incident,) = diagnose([path]).incidents
    assert incident.verdict.cause == "disk_full"
    assert incident.run.last_step == 299


def test_a_large_log_of_bars_keeps_its_losses(tmp_path: Path) -> None:
    lines = [f"{bar(n, 60_000)}\r{LOSS}" if n % 100 == 0 else bar(n, 60_000) for n in range(60_000)]
    found = read(tmp_path, *lines)
    assert sum(s.loss is not None for s in found) == 600
    assert found[-1].step == 59_999
    assert len(found) < 4000


def test_a_step_in_several_lines_has_its_number(tmp_path: Path) -> None:
    lines = [
        f"[epoch=1][batch={n}/480]:\n\t Train time/batch: {479 + n}\n\t Train loss/train/total: 2.5"
        for n in (1, 2, 3)
    ]
    assert numbers(read(tmp_path, *lines)) == [480, 481, 482]
    story = Path(__file__).parent / "stories" / "composer_worker_killed"
    (incident,) = diagnose(sorted(story.glob("*.log"))).incidents
    assert incident.run.last_step == json.loads((story / "expected.json").read_text())["last_step"]


STEPS = st.builds(
    Step, st.integers(1, 20), st.just(""), st.none(), st.none(), st.none(),
    st.none() | st.floats(), bar=st.none() | st.builds(
        Bar, st.sampled_from(["", "train"]), st.integers(0, 9), st.integers(1, 9), st.floats(0.1, 9),
        st.none() | st.floats(0, 99), st.booleans()),
)  # fmt: skip


@given(st.lists(STEPS, max_size=30))
def test_any_bars_may_stand_in_a_log(steps: list[Step]) -> None:
    found = bars.training(steps)
    assert all(step.bar is None for step in found)
    assert sum(s.loss is not None for s in found) == sum(s.loss is not None for s in steps)
    assert all(step.step is None or step.step >= 0 for step in found)
