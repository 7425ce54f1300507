"""The search before the search: it may pass too much, never too little."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from trainwreck_analyzer.catalogue import built_in
from trainwreck_analyzer.literals import blind_to_digits, literals, shape
from trainwreck_analyzer.scan import ExpressionGate, Lines, Scanner

CATALOGUE = built_in()
LINES = sorted(
    {
        shape(line)
        for signature in CATALOGUE.signatures.values()
        for example in (*signature.examples, *signature.look_alikes)
        for line in example.line.splitlines()
    }
)
SPEAKING = {line.encode() for line in LINES if CATALOGUE.possible(line).patterns}


def test_the_gate_without_accelerator_loses_no_line() -> None:
    assert set(ExpressionGate(sorted(CATALOGUE.literals))(_bytes(LINES))) >= SPEAKING


def test_every_line_of_a_known_shape_is_found() -> None:
    asked: list[bytes] = []

    def classify(line: bytes) -> str | None:
        asked.append(line)
        return "loss" if b"loss" in line else None

    scanner = Scanner(["loss"], classify)
    lines = Lines.of(b"step 1 loss 2.5\nquiet\nstep 7 loss 1.5\r\nbar 1\rstep 8 loss 0.1\rbar 3\n")
    assert [(i, lines.number(i)) for i, _ in scanner.matter(lines)] == [
        (0, 0), (2, 2), (4, 3),
    ]  # fmt: skip
    assert lines.count == 4
    assert asked.count(b"step 0 loss 0.0") == 1


@pytest.mark.parametrize(
    ("pattern", "blind"),
    [(r"exit code \d{1,3}", True), (r"exit code 137", False), (r"rank [0-9]+", True),
     (r"code [1-9]", False), (r"(?P<gpu>\d+) lost", True)],
)  # fmt: skip
def test_patterns_that_name_digits_are_tried_on_each_line(pattern: str, blind: bool) -> None:
    assert blind_to_digits(pattern) is blind


def test_of_several_texts_the_rarest_is_searched_for() -> None:
    assert literals(r" rank (?:NVLink|Xid) ") == ("NVLink", "Xid")


def _bytes(lines: Sequence[str]) -> list[bytes]:
    return [line.encode() for line in lines]
