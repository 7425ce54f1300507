"""The list of signals: it names what exists, and leaves none of the catalogue's out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from trainwreck_agent import checkup, signals
from trainwreck_agent.collector import find
from trainwreck_agent.schema import tables

CATALOGUE = Path(__file__).parents[3] / "shared" / "reference" / "signals.md"
TABLED = ("B.1", "B.2", "B.4", "B.5", "B.6")
PROSE = ("B.3", "B.5", "B.7", "B.8", "B.9", "B.10", "B.11")
ENTRIES = signals.entries()


def ids(entry: signals.Entry) -> str:
    return f"{entry.section} {entry.row}"


@pytest.mark.parametrize("entry", ENTRIES, ids=ids)
def test_what_an_entry_names_is_there(entry: signals.Entry) -> None:
    views = tables()
    for column in entry.columns:
        view, _, name = column.partition(".")
        assert name in {c.name for c in views[view].columns}, column
    if entry.columns:
        assert entry.by.split("/")[0] in find().keys() | signals.SOURCES
    else:
        assert entry.why, "what is not recorded has a reason"
    assert entry.unit
    assert entry.source


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.by in find()], ids=ids)
def test_the_collector_writes_one_of_the_views(entry: signals.Entry) -> None:
    fills = {table.name for table in find()[entry.by].tables} | {"collector_health"}
    assert fills & {column.split(".")[0] for column in entry.columns}


def test_no_signal_stands_twice() -> None:
    names = [ids(entry) for entry in ENTRIES]
    assert sorted(set(names)) == sorted(names)


def sections() -> dict[str, str]:
    if not CATALOGUE.exists():
        pytest.skip(f"{CATALOGUE} is not here: the catalogue of signals is not part of the project")
    parts = re.split(r"^## ", CATALOGUE.read_text(), flags=re.M)
    return {part.split(" ", 1)[0]: part for part in parts}


@pytest.mark.parametrize("section", TABLED)
def test_every_row_of_the_catalogue_is_in_the_list(section: str) -> None:
    lines = [x for x in sections()[section].splitlines() if x.startswith("|")]
    rows = {line.split("|")[1].strip() for line in lines} - {"Signal", "Counter", "---"}
    assert len(rows) > 3
    assert rows <= {e.row for e in ENTRIES if e.section == section}


@pytest.mark.parametrize("section", PROSE)
def test_every_path_of_the_catalogue_is_named_as_a_source(section: str) -> None:
    """Where the catalogue is prose, the files that it names stand for its signals."""
    spans = re.findall(r"`([^`\n]+)`", sections()[section])
    paths = {re.split(r"[ :]|, ", span)[0] for span in spans if span.startswith("/")}
    named = " ".join(e.source for e in ENTRIES if e.section == section)
    pid = "/proc/<pid>/"
    missing = {p for p in paths if p not in named and not p.startswith(pid)}
    assert not missing
    for path in paths:
        if path.startswith(pid):
            for name in re.findall(r"[a-z]+", path.removeprefix(pid)):
                assert name in named, name
    assert any(e.section == section for e in ENTRIES)


def entry(by: str = "cpu", *columns: str, why: str | None = None) -> signals.Entry:
    return signals.Entry("B.0", "x", "%", "/x", columns, by, why)


HEALTH = {"cpu": ("ok", None), "edac": ("absent", "no ECC"), "kernel_log": ("ok", None)}


@pytest.mark.parametrize(
    ("one", "filled", "expected"),
    [
        (entry(why="because"), None, ("left out", "because")),
        (entry("cpu", "cpu.a"), None, ("recorded", None)),
        (entry("cpu", "cpu.a"), {"cpu.a"}, ("recorded", None)),
        (entry("cpu", "cpu.a", "cpu.b"), {"cpu.a"}, ("recorded", "nothing yet in cpu.b")),
        (entry("cpu", "cpu.a"), set(), ("absent", "nothing yet in cpu.a: not told by this machine")),
        (entry("edac", "edac.a"), {"edac.a"}, ("absent", "no ECC")),
        (entry("kernel_log", "kernel_event.text"), set(), ("recorded", None)),
    ],
)  # fmt: skip
def test_what_becomes_of_a_signal(
    one: signals.Entry,
    filled: set[str] | None,
    expected: tuple[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "entries", lambda: [one])
    told = None if filled is None else frozenset(filled)
    (outcome,) = signals.outcomes(HEALTH, told)
    assert (outcome.status, outcome.detail) == expected


def test_the_doctor_tells_of_every_signal(tmp_path: Path) -> None:
    report = checkup.look(tmp_path / "nothing")
    assert len(report.catalogue) == len(ENTRIES)
    by_row = {(o.entry.section, o.entry.row): o for o in report.catalogue}
    assert by_row["B.6", "Utilization"].status == "recorded"
    assert by_row["B.1", "Power smoothing"].status == "left out"
    for outcome in report.catalogue:
        assert outcome.status == "recorded" or outcome.detail, outcome
    told = json.loads(checkup.to_json(report))["catalogue"]
    keys = ["section", "row", "unit", "source", "columns", "by", "status", "detail"]
    assert [list(one) for one in told] == [keys] * len(ENTRIES)
