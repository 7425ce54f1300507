"""What a tired person reads: numbers that agree, names spelt right, nothing said twice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import put, steps, timeout
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer import tell
from trainwreck_analyzer.catalogue import built_in
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.render.html import to_html
from trainwreck_analyzer.render.text import spans, to_text
from trainwreck_analyzer.verdict import Component, Victim
from trainwreck_analyzer.weigh import Support

ASSERTION = [
    "[rank0]: Traceback (most recent call last):",
    '[rank0]:   File "/w/train.py", line 99, in main',
    "[rank0]: FloatingPointError: Minimum loss scale reached (0.0001).",
]


def test_every_victim_is_counted_and_told_once(tmp_path: Path) -> None:
    for rank in range(64):
        put(tmp_path, f"rank{rank:02}.log", [*steps(rank), timeout(rank)])
    (incident,) = diagnose([tmp_path]).incidents
    assert len(incident.victims) == 64
    assert len({(v.source, v.line) for v in incident.victims}) == 64
    assert "64 loud lines are consequences" in incident.verdict.summary


def test_one_victim_is_one(tmp_path: Path) -> None:
    put(tmp_path, "rank3.log", [*steps(3), timeout(3)])
    found = diagnose([tmp_path])
    assert "Victims: 1 loud line is a consequence (rank 3)" in to_text(found)
    assert "1 loud line is a consequence</summary>" in to_html(found)
    assert "1 loud line is a consequence." in found.incidents[0].verdict.summary


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[rank1]: RuntimeError", "[rank1]: RuntimeError"),
        ("rank 1, pid 7 ended", "rank 1, pid 7 ended"),
        ("[rank12]: RuntimeError", "rank 1: [rank12]: RuntimeError"),
        ("exitcode: 1", "rank 1: exitcode: 1"),
    ],
)
def test_a_rank_is_named_once(text: str, told: str) -> None:
    victim = Victim(1, None, text, "")
    assert victim.line_of_rank(text) == told
    assert replace(victim, rank=None).line_of_rank(text) == text


def test_names_keep_their_letters(tmp_path: Path) -> None:
    bad = [line.replace("loss 2", "loss nan, was 2") for line in steps(0)]
    put(tmp_path, "rank0.log", [*steps(0), *bad[40:], *ASSERTION])
    put(tmp_path, "rank1.log", [*steps(1), timeout(1)])
    (incident,) = diagnose([tmp_path]).incidents
    assert incident.verdict.cause == "nan_divergence"
    assert any("a consequence of NaN or divergence" in v.why for v in incident.victims)


def test_many_files_are_one_line(tmp_path: Path) -> None:
    for rank in range(40):
        put(tmp_path, f"rank{rank:02}.log", steps(rank))
    text = to_text(diagnose([tmp_path]))
    read = [line for line in text.splitlines() if line.startswith("Read ")]
    assert len(read) == 1
    assert "40 training logs, 2400 lines" in read[0]
    assert "rank00.log … " in read[0]


@given(st.sets(st.integers(0, 200), max_size=60))
def test_spans_name_the_same_numbers(numbers: set[int]) -> None:
    text = spans(sorted(numbers)).removesuffix(" …")
    named: set[int] = set()
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named <= numbers
    if "…" not in spans(sorted(numbers)):
        assert named == numbers


def test_a_part_is_named_by_all_lines_that_tell_of_it(tmp_path: Path) -> None:
    """The rank's own line leads; the kernel's names the device and the host."""
    put(tmp_path, "rank1.log", [*steps(1), "[rank1]: RuntimeError: CUDA error: uncorrectable ECC "
        "error encountered"])  # fmt: skip
    put(tmp_path, "kern.log", "Nov 20 08:10:02 node5 kernel: NVRM: Xid (PCI:0000:9b:00): 94,"
        " pid=4731, name=python, Contained: CE User Channel (0x9). RST: No, D-RST: No\n")  # fmt: skip
    (incident,) = diagnose([tmp_path]).incidents
    known = replace(incident.verdict.component, gpu=None)
    assert (known.rank, known.host, known.pci) == (1, "node5", "0000:9b:00.0")
    assert re.search(r"Rank 1, host node5, device 0000:9b:00\.0\.", incident.verdict.summary)


def test_the_schedulers_own_word_is_not_asked_for_again(tmp_path: Path) -> None:
    """The log says who ended the job: no record of the scheduler would say more."""
    end = "slurmstepd: error: *** JOB 4242 ON n0 CANCELLED AT 2026-11-20T08:10:10 DUE TO TIME LIMIT ***"
    put(tmp_path, "train.log", [*steps(0), end])
    (incident,) = diagnose([tmp_path]).incidents
    assert incident.verdict.cause == "time_limit"
    assert not any("scheduler" in line for line in incident.not_measured)


@pytest.mark.parametrize(
    ("end", "cut"),
    [
        ("2026-11-20 08:10:00,000 INFO step 61 los", True),
        ("", False),
        ("Training completed.", False),
    ],
    ids=["mid-word", "whole", "finished without a line end"],
)
def test_a_log_that_stops_in_a_word_does_not_say_that_all_was_well(
    tmp_path: Path, end: str, cut: bool
) -> None:
    (tmp_path / "train.log").write_text("\n".join(steps(0)) + "\n" + end)
    found = diagnose([tmp_path])
    assert found.incidents == ()
    assert found.inputs[0].cut_off is cut
    for text in (" ".join(to_text(found).split()), to_html(found)):
        assert ("train.log stops in the middle of a line: how the run went on" in text) is cut


def test_a_kill_for_memory_is_not_placed_in_a_control_group() -> None:
    """Its name, of a container, is as long as the rest of the verdict."""
    catalogue = built_in()

    def support(kind: str, component: Component) -> Support:
        fact = Fact(kind, kind, "kernel", component=component)
        return Support(next(iter(catalogue.of_kind(kind))), fact, 4.0)

    group = Component(host="vm", rank=2, device=f"v1:/{'5' * 32}/job")
    kill = support("cgroup_oom_kill", Component(host="vm"))
    told = support("cgroup_oom_kill_counted", group)
    assert kill.signature.cause == told.signature.cause == "host_oom"
    facts = [kill.fact, told.fact]
    found = tell.component(kill, facts, "host_oom", [kill, told])
    assert (found.host, found.rank, found.device) == ("vm", 2, None)
