"""A probability as bar, number and word."""

from __future__ import annotations

from rich.text import Text

from trainwreck_tui import units


def bar(value: float, width: int = 10) -> str:
    """``████████░░`` for 0.8."""
    full = round(max(0.0, min(value, 1.0)) * width)
    return "█" * full + "░" * (width - full)


def confidence(value: float, colour: str, quiet: str, width: int = 10) -> Text:
    """``████████░░ 82 % very likely``."""
    text = Text()
    text.append(bar(value, width), colour)
    text.append(f" {units.probability(value)} ", f"bold {colour}")
    text.append(units.confidence_word(value), quiet)
    return text
