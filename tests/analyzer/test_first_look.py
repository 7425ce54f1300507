"""Only victims speak: the verdict is unknown, and names the rank or host to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import put, steps, timeout
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.first_look import RankEnd, first_look
from trainwreck_analyzer.verdict import Component, Incident

RANKS = 16


def _told(folder: Path) -> Incident:
    (incident,) = diagnose([folder]).incidents
    assert incident.verdict.cause == "unknown"
    return incident


def _victims(folder: Path, *, but: int | None = None) -> None:
    for rank in range(RANKS):
        if rank != but:
            put(folder, f"rank{rank:02}.log", [*steps(rank), timeout(rank)])


def test_the_rank_whose_log_says_nothing(tmp_path: Path) -> None:
    _victims(tmp_path, but=6)
    put(tmp_path, "rank06.log", steps(6))
    incident = _told(tmp_path)
    assert "Look at rank 6 first: the others complain, and its log says nothing." in (
        incident.verdict.summary
    )
    assert incident.actions[0] == "Give the kernel log of the hosts to trainwreck diagnose."


def test_the_rank_whose_log_was_not_given(tmp_path: Path) -> None:
    _victims(tmp_path, but=6)
    assert "Look at rank 6 first: the others complain, and its log was not given." in (
        _told(tmp_path).verdict.summary
    )


def test_the_rank_that_is_behind_in_the_collectives(tmp_path: Path) -> None:
    _victims(tmp_path, but=6)
    put(tmp_path, "rank06.log", [*steps(6), timeout(6, seq=1201)])
    assert "Look at rank 6 first: at collective 1201, the others at 1234." in (
        _told(tmp_path).verdict.summary
    )


def test_the_rank_that_stopped_earlier(tmp_path: Path) -> None:
    _victims(tmp_path, but=6)
    put(tmp_path, "rank06.log", [*steps(6, count=33), timeout(6)])
    assert "Look at rank 6 first: the last step told is 33, the others' 60." in (
        _told(tmp_path).verdict.summary
    )


def test_nobody_is_singled_out_where_all_complain_alike(tmp_path: Path) -> None:
    _victims(tmp_path)
    assert "Look at" not in _told(tmp_path).verdict.summary


@pytest.mark.parametrize(
    ("line", "look"),
    [
        ("socketProgress: Connection closed by remote peer node3.site<45678>", "node3.site"),
        ("srun: error: Node failure on node5", "node5"),
    ],
)
def test_the_host_that_the_others_lost(tmp_path: Path, line: str, look: str) -> None:
    """A peer that went away is no wrong network setting: the run had trained."""
    remote = "ncclRemoteError: A call failed possibly due to a network error or a remote process"
    error = (
        "[rank0]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970,"
        " remote process exited or there was a network error, NCCL version 2.21.5"
    )
    put(tmp_path, "train.log", [*steps(0), error, f"{remote} exiting prematurely.", line])
    assert f"Look at {look} first: " in _told(tmp_path).verdict.summary


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 9), st.text(max_size=60)), max_size=12),
    st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 50)), max_size=12),
    st.none() | st.integers(1, 12),
)
def test_any_lines_single_out_somebody_or_nobody(
    said: list[tuple[int | None, str]], ended: list[tuple[int, int | None]], ranks: int | None
) -> None:
    facts = [Fact("a", text, "log", component=Component(rank=rank)) for rank, text in said]
    look = first_look(facts, facts, [RankEnd(*end) for end in ended], ranks)
    assert look is None or look.startswith("Look at ")
