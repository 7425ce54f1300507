"""Takes the artefacts out of a list of files, and reads each kind with its own reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwreck_analyzer.artefacts import bug_report, flight_recorder, nvidia_smi, sacct
from trainwreck_analyzer.artefacts.collectives import Dump
from trainwreck_analyzer.artefacts.sniff import sniff
from trainwreck_analyzer.artefacts.text import lines_of
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.verdict import Input, InputKind

READERS: dict[str, Callable[[Path], list[Fact]]] = {
    "nvidia_smi": nvidia_smi.read,
    "nvidia_bug_report": bug_report.read,
    "sacct": sacct.read,
}
"""The reader of each kind that stands alone; dumps of one run are read together."""
_INPUT_KINDS: dict[str, InputKind] = {"nvidia_bug_report": "kernel_log"}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the artefacts among some files said."""

    facts: tuple[Fact, ...]
    inputs: tuple[Input, ...]
    rest: tuple[Path, ...]
    """The files that are no artefacts, in their order."""


def gather(paths: Sequence[Path]) -> Gathered:
    """The facts of all artefacts. The dumps of one folder are one run.

    A dump that is damaged is counted as one unparsed line and stops nothing: of a run that dies,
    half-written dumps are usual.

    Raises:
        Unreadable: A file cannot be opened.
    """
    facts: list[Fact] = []
    inputs: list[Input] = []
    rest: list[Path] = []
    runs: dict[Path, list[tuple[Path, Dump]]] = defaultdict(list)
    for path in paths:
        kind = sniff(path) if path.is_file() else None
        if kind is None:
            rest.append(path)
        elif kind == "flight_recorder":
            try:
                runs[path.parent].append((path, flight_recorder.load(path)))
                inputs.append(Input(str(path), "flight_recorder", 1))
            except Unreadable:
                inputs.append(Input(str(path), "unknown", 1, unparsed_lines=1))
        else:
            facts += READERS[kind](path)
            count = sum(1 for _ in lines_of(path))
            inputs.append(Input(str(path), _INPUT_KINDS.get(kind, "unknown"), count))
    for files in runs.values():
        facts += flight_recorder.facts(files)
    return Gathered(tuple(facts), tuple(inputs), tuple(rest))
