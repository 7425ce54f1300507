"""How much a piece of evidence weighs, as signs that are read at a glance."""

from __future__ import annotations

from trainwreck_analyzer.verdict import Evidence

WIDTH = 4
"""Cells of the signs, the space behind them included."""
_DECIDES, _SPEAKS = 3.0, 1.0


def signs(evidence: Evidence) -> str:
    """``+++`` decides, ``++`` speaks clearly, ``+`` hints; ``−`` is against; ``·`` repeats."""
    sign = "+" if evidence.supports else "−"
    size = abs(evidence.weight)
    if size == 0:
        return ("·" if evidence.supports else sign).ljust(WIDTH)
    return (sign * (3 if size >= _DECIDES else 2 if size >= _SPEAKS else 1)).ljust(WIDTH)


def number(evidence: Evidence) -> str:
    """The weight in nats: ``4.0``; '' where it adds nothing."""
    return f"{abs(evidence.weight):.1f}" if evidence.weight else ""
