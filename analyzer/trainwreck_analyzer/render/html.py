"""The diagnosis as one HTML file that needs nothing from the net."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from trainwreck_analyzer.causes import causes
from trainwreck_analyzer.render.text import clean, cut_off, percent
from trainwreck_analyzer.tell import consequences
from trainwreck_analyzer.verdict import Diagnosis

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def to_html(diagnosis: Diagnosis, *, svg: str = "") -> str:
    """The page; ``svg`` is a picture of the telemetry that is put in as it is."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["clean"] = clean
    environment.filters["percent"] = percent
    environment.filters["consequences"] = consequences
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    cut = cut_off(diagnosis.inputs)
    return template.render(diagnosis=diagnosis, causes=causes(), svg=svg, cut=cut)
