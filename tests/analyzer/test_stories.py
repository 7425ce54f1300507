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
    assert from_json(to_json(diagnosis)) == diagnosis


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_every_rendering_names_the_verdict(story: Path) -> None:
    diagnosis = run(story)
    for incident in diagnosis.incidents:
        assert incident.verdict.cause in to_text(diagnosis)
        assert incident.verdict.cause in to_html(diagnosis)
    if not diagnosis.incidents:
        assert "No incident" in to_text(diagnosis)
        assert "No incident" in to_html(diagnosis)
