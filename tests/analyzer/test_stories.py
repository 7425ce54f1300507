"""Whole stories: a folder of logs, and the verdict that it must get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.render.html import to_html
from trainwreck_analyzer.render.json import from_json, to_json
from trainwreck_analyzer.render.text import to_text
from trainwreck_analyzer.verdict import Diagnosis

STORIES = sorted(p.parent for p in Path(__file__).with_name("stories").glob("*/expected.json"))


def run(story: Path) -> Diagnosis:
    return diagnose(sorted(p for p in story.rglob("*") if p.is_file() and p.suffix != ".json"))


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_verdict(story: Path) -> None:
    expected = json.loads((story / "expected.json").read_text())
    incidents = run(story).incidents
    causes = [i.verdict.cause for i in incidents]
    if "causes" in expected:
        assert causes == expected["causes"]
        return
    if expected["cause"] == "none":
        assert causes == []
        return
    assert causes == [expected["cause"]]
    verdict = incidents[0].verdict
    if "rank" in expected:
        assert verdict.component.rank == expected["rank"]
    if "framework" in expected:
        assert incidents[0].run.framework == expected["framework"]
    if "last_step" in expected:
        assert incidents[0].run.last_step == expected["last_step"]
    if "pci" in expected:
        assert verdict.component.pci == expected["pci"]
    if "among_first_three" in expected:
        ranked = [h.cause for h in incidents[0].hypotheses][:3]
        assert expected["among_first_three"] in ranked
    assert len(incidents[0].victims) >= expected.get("victims_at_least", 0)


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_the_document_keeps_the_contract(story: Path) -> None:
    diagnosis = run(story)
    for incident in diagnosis.incidents:
        assert sum(h.confidence for h in incident.hypotheses) <= 1.0 + 1e-9
        assert incident.hypotheses[0].cause == incident.verdict.cause
        assert "unknown" in [h.cause for h in incident.hypotheses]
        assert incident.actions
        for hypothesis in incident.hypotheses:
            for item in hypothesis.evidence:
                assert item.source is not None
                assert item.line is not None
                lines = Path(item.source).read_bytes().decode().split("\n")  # a bar has its \r
                assert item.text in lines[item.line - 1]
        leading = incident.hypotheses[0]
        told = {(e.source, e.line) for e in leading.evidence if leading.cause != "unknown"}
        for victim in incident.victims:
            assert (victim.source, victim.line) not in told
            assert victim.source is not None
            assert victim.line is not None
            lines = Path(victim.source).read_bytes().decode().split("\n")
            assert victim.text in lines[victim.line - 1]
            assert f"{victim.source}:{victim.line}" in to_html(diagnosis)
    assert from_json(to_json(diagnosis)) == diagnosis


def test_a_document_without_places_of_victims_is_read() -> None:
    """An incident that was kept before they were told."""
    diagnosis = next(d for d in map(run, STORIES) if d.incidents and d.incidents[0].victims)
    document = json.loads(to_json(diagnosis))
    for victim in document["incidents"][0]["victims"]:
        del victim["source"], victim["line"], victim["sql"]
    (read, *_) = from_json(json.dumps(document)).incidents
    assert [v.text for v in read.victims] == [v.text for v in diagnosis.incidents[0].victims]
    assert {v.line for v in read.victims} == {None}


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_every_rendering_names_the_verdict(story: Path) -> None:
    diagnosis = run(story)
    for incident in diagnosis.incidents:
        assert incident.verdict.cause in to_text(diagnosis)
        assert incident.verdict.cause in to_html(diagnosis)
    if not diagnosis.incidents:
        assert "No incident" in to_text(diagnosis)
        assert "No incident" in to_html(diagnosis)
