"""What the demonstration makes of a diagnosis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from trainwreck_analyzer.verdict import Diagnosis, Incident, Input
from trainwreck_tui.demo.run import since_the_start


def test_what_happened_before_the_job_is_none_of_it(incident: Incident) -> None:
    assert incident.end is not None
    began = incident.end - timedelta(minutes=2)
    earlier = replace(incident, end=began - timedelta(minutes=5))
    undated = replace(incident, end=None)
    log = Input("train.log", "training_log", 100, began, incident.end)
    found = since_the_start(Diagnosis((log,), (earlier, incident, undated)))
    assert found.incidents == (incident, undated)
    undated_log = replace(log, first_time=None)
    found = since_the_start(Diagnosis((undated_log,), (earlier, incident)))
    assert found.incidents == (earlier, incident)
