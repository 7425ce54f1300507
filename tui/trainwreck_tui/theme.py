"""Two themes, dark and light, from a palette that colour-blind people tell apart.

Colour never says anything alone: every coloured mark has a sign or a word beside it.

Source: Okabe and Ito, https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from textual.theme import Theme

SERIES_DARK = (
    "#56b4e9",
    "#e69f00",
    "#2fbf93",
    "#f0e442",
    "#cc79a7",
    "#9ad4f5",
    "#ffb787",
    "#b9b4d0",
)
SERIES_LIGHT = (
    "#0072b2",
    "#a35c00",
    "#00745a",
    "#7a6f00",
    "#a03f78",
    "#3b6f94",
    "#b54708",
    "#5d5877",
)

DARK = Theme(
    name="trainwreck-dark",
    dark=True,
    primary="#56b4e9",
    secondary="#8fa3b8",
    accent="#e69f00",
    warning="#e69f00",
    error="#ff7a45",
    success="#2fbf93",
    foreground="#dfe6ee",
    background="#10151c",
    surface="#161d27",
    panel="#1e2835",
    variables={
        "footer-key-foreground": "#e69f00",
        "footer-background": "#161d27",
        "footer-description-foreground": "#9fb0c3",
        "quiet": "#8496aa",
        "faint": "#3a4859",
        "block-cursor-background": "#2a3a4f",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "scrollbar": "#2a3646",
        "scrollbar-background": "#10151c",
        "scrollbar-hover": "#3a4859",
        "scrollbar-active": "#56b4e9",
    },
)

LIGHT = Theme(
    name="trainwreck-light",
    dark=False,
    primary="#0072b2",
    secondary="#54657a",
    accent="#a35c00",
    warning="#a35c00",
    error="#b8400f",
    success="#00745a",
    foreground="#1b2430",
    background="#fbfaf7",
    surface="#f2f0ea",
    panel="#e6e3da",
    variables={
        "footer-key-foreground": "#a35c00",
        "footer-background": "#f2f0ea",
        "footer-description-foreground": "#54657a",
        "quiet": "#66778a",
        "faint": "#c3c6c9",
        "block-cursor-background": "#d5e4ef",
        "block-cursor-foreground": "#10151c",
        "block-cursor-text-style": "bold",
        "scrollbar": "#cfd2d4",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-hover": "#b7bcc1",
        "scrollbar-active": "#0072b2",
    },
)


def series_colours(*, dark: bool) -> tuple[str, ...]:
    """Colours of the lines of a chart, in order."""
    return SERIES_DARK if dark else SERIES_LIGHT
