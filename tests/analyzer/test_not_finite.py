"""A loss that is no number: one that was got over is no incident, one that stays is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import put, steps
from trainwreck_analyzer.diagnose import diagnose

ASSERT = ["Traceback (most recent call last):", '  File "train.py", line 9, in main',
          "AssertionError: loss is not finite"]  # fmt: skip


def _nan(lines: list[str], *numbers: int) -> list[str]:
    return [
        f"{line.partition(' loss ')[0]} loss nan grad_norm nan" if n in numbers else line
        for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("lines", "causes"),
    [
        (_nan(steps(0), 30), []),
        (_nan(steps(0), 30, 31), []),
        (_nan(steps(0), *range(30, 60)), ["nan_divergence"]),
        (_nan(steps(0)[:33], 30, 31, 32) + ASSERT, ["nan_divergence"]),
        (_nan(steps(0), 57), ["nan_divergence"]),
        (_nan(steps(0), 30)[:31] + ASSERT + steps(0)[25:], ["nan_divergence"]),
        ([*_nan(steps(0), 30), "ERROR loss is nan, stopping"], ["nan_divergence"]),
    ],
    ids=["one", "two", "stays", "asserts", "too late to tell", "began anew", "told again"],
)
def test_a_loss_that_is_no_number(tmp_path: Path, lines: list[str], causes: list[str]) -> None:
    put(tmp_path, "train.log", lines)
    assert [i.verdict.cause for i in diagnose([tmp_path]).incidents] == causes
