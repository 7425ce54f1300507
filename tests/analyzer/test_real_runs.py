"""Runs that really ended well or really died, and what must be said of each.

``real/clean.toml`` and ``real/crashed.toml`` say how each was made and what the right answer is; the
answer comes from the fault. ``python -m benchmarks.real_runs`` makes the logs anew.
"""

from __future__ import annotations

import csv
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
