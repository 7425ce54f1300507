"""``trainwreck incidents``: what is kept, and what is pinned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trainwreck_agent import pins
from trainwreck_agent.layout import Layout
from trainwreck_analyzer import archive
from trainwreck_analyzer.verdict import Diagnosis, Incident
from trainwreck_tui.cli import cli


@pytest.fixture
def layouts(tmp_path: Path, incident: Incident) -> list[Layout]:
    """Two hosts with the story kept in both, and an incident without a time."""
    made = [Layout(tmp_path / name) for name in ("a", "b")]
    for layout in made:
        layout.create()
    timeless = replace(incident, id="timeless", start=None, end=None)
    archive.keep(Diagnosis((), (incident, timeless)), [layout.root for layout in made])
    return made


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["incidents", *map(str, arguments)])


def data(layouts: list[Layout]) -> list[str]:
    return [word for layout in layouts for word in ("--data", str(layout.root))]


def test_what_is_kept_is_pinned_where_it_has_a_time(
    layouts: list[Layout], incident: Incident
) -> None:
    assert [pins.names(layout) for layout in layouts] == [[incident.id]] * 2
    done = run("--json", *data(layouts))
    listed = [(i["id"], i["pinned"]) for i in json.loads(done.stdout)["incidents"]]
    assert listed == [("timeless", False)] * 2 + [(incident.id, True)] * 2
    lines = run(*data(layouts[:1])).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["timeless", incident.id]
    assert "pinned" in lines[1]
    assert incident.verdict.summary in lines[1]


@pytest.mark.parametrize("behind", [True, False])
def test_a_pin_that_was_taken_off_stays_off(
    layouts: list[Layout], incident: Incident, behind: bool
) -> None:
    words = data(layouts)
    done = run("unpin", incident.id, *words) if behind else run(*words, "unpin", incident.id)
    assert done.exit_code == 0, done.output
    assert [pins.names(layout) for layout in layouts] == [[], []]
    archive.keep(Diagnosis((), (incident,)), [layout.root for layout in layouts])  # found again
    assert [pins.names(layout) for layout in layouts] == [[], []]
    assert run("pin", incident.id, *data(layouts[1:])).exit_code == 0
    assert [pins.names(layout) for layout in layouts] == [[], [incident.id]]
    assert run("unpin", incident.id, *words).exit_code == 0


@pytest.mark.parametrize("name", ["nothing", "../a/incidents/timeless", ""])
def test_an_incident_that_is_not_kept_is_refused(layouts: list[Layout], name: str) -> None:
    done = run("pin", name, *data(layouts))
    assert done.exit_code != 0
    assert "kept are" in str(done.exception)


def test_a_directory_without_incidents_says_how_to_get_some(tmp_path: Path) -> None:
    Layout(tmp_path / "data").create()
    done = run("--data", tmp_path / "data")
    assert done.exit_code == 0
    assert "trainwreck diagnose" in done.stderr
    assert done.stdout == ""
