"""Runs that really ended well or really died, and what must be said of each.

``real/clean.toml`` and ``real/crashed.toml`` say how each was made and what the right answer is; the
answer comes from the fault. ``python -m benchmarks.real_runs`` makes the logs anew.
"""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from trainwreck_analyzer.causes import causes as codes
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.verdict import Verdict

REAL = Path(__file__).with_name("real")
LOGS = REAL / "logs"


def recorded(file: str) -> list[dict[str, Any]]:
    runs = tomllib.loads((REAL / file).read_text())["run"]
    return [run for run in runs if (LOGS / run["name"]).is_dir()]


CLEAN = recorded("clean.toml")
CRASHED = recorded("crashed.toml")


def told(name: str) -> list[Verdict]:
    """What is told of a run; nothing of one that left no word."""
    try:
        incidents = diagnose([LOGS / name]).incidents
    except Unreadable:
        return []
    return [i.verdict for i in incidents]


@pytest.mark.parametrize("run", CLEAN, ids=lambda r: r["name"])
def test_a_run_that_ended_well_raises_nothing(run: dict[str, Any]) -> None:
    assert told(run["name"]) == []


@pytest.mark.parametrize("run", CRASHED, ids=lambda r: r["name"])
def test_a_run_that_died_is_called_what_was_done_to_it(run: dict[str, Any]) -> None:
    right = set(run["cause"])
    verdicts = told(run["name"])
    causes = [v.cause for v in verdicts]
    if "known_miss" in run:
        assert not (len(causes) == 1 and causes[0] in right), "right by now: drop known_miss"
        pytest.xfail(run["known_miss"])
    assert len(causes) == 1, causes
    assert causes[0] in right
    if "rank" in run:
        assert verdicts[0].component.rank == run["rank"]


@pytest.mark.parametrize("run", CLEAN, ids=lambda r: r["name"])
def test_a_clean_run_whose_log_is_cut_short_raises_nothing(
    run: dict[str, Any], tmp_path: Path
) -> None:
    if run["kind"] in ("restart that succeeds", "noisy loss"):
        pytest.skip("what it recovered from stands in the first part, the recovery after it")
    for path in (LOGS / run["name"]).iterdir():
        whole = path.read_bytes()
        (tmp_path / path.name).write_bytes(whole[: len(whole) * 2 // 3])
    assert diagnose([tmp_path]).incidents == ()


def test_sixty_four_ranks_interleaved_in_one_file_name_the_first(tmp_path: Path) -> None:
    folder = LOGS / "ddp-sixty-four-ranks"
    lines: list[tuple[str, str]] = []
    for path in sorted(folder.glob("rank*.log")):
        time = ""
        for line in path.read_text().splitlines(keepends=True):
            time = line[:23] if line.startswith("20") else time
            lines.append((time, line))
    ranks = "".join(line for _, line in sorted(lines, key=lambda pair: pair[0]))
    (tmp_path / "train.log").write_text(ranks + (folder / "train.log").read_text())
    shutil.copy(folder / "dmesg.txt", tmp_path)
    incidents = diagnose([tmp_path]).incidents
    assert [i.verdict.cause for i in incidents] == ["host_oom"]
    assert incidents[0].verdict.component.rank == 37
    assert len({v.rank for v in incidents[0].victims}) >= 2


def test_there_are_enough_of_them() -> None:
    assert len(CLEAN) >= 50
    assert len(CRASHED) >= 50
    assert len({run["kind"] for run in CRASHED}) >= 20
    assert len({run["framework"] for run in CLEAN}) >= 5


def test_every_answer_is_a_code_and_every_latitude_has_its_reason() -> None:
    for run in (*CLEAN, *CRASHED):
        assert set(run["cause"]) <= set(codes())
        assert len(run["cause"]) == 1 or run["why"], run["name"]


def test_each_log_is_of_a_run_that_ended_as_it_says() -> None:
    rows = {row["name"]: row for row in csv.DictReader((REAL / "outcomes.csv").open())}
    for run in (*CLEAN, *CRASHED):
        well = int(rows[run["name"]]["exit_status"]) == 0
        assert well == (run["cause"] == ["none"] or run.get("ends") == "well"), run["name"]
