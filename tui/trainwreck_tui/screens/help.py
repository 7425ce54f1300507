"""What the keys of a screen do, and what its words mean."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Markdown

EVERYWHERE = """

---
Everywhere: `?` this help, `esc` back, `q` quit, `ctrl+p` all commands, `d` dark or light.
"""


class HelpScreen(ModalScreen[Any]):
    """The help of the screen below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "app.pop_screen", "Close")
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text, scrollable."""
        with VerticalScroll(id="help"):
            yield Markdown(self._text + EVERYWHERE)
