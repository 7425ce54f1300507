"""What could not be recorded on a host, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static


class AbsentScreen(ModalScreen[Any]):
    """Each source with its reason, over the screen below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,a,q", "app.pop_screen", "Close")]

    def __init__(self, host: str, absent: Sequence[str]) -> None:
        super().__init__()
        self._host, self._absent = host, absent

    def compose(self) -> ComposeResult:
        """The list, scrollable."""
        with VerticalScroll(id="help"):
            yield Static(self._text())

    def _text(self) -> Text:
        theme = self.app.theme_variables
        if not self._absent:
            return Text(f"Everything that can be recorded on {self._host} was.")
        text = Text(f"Not recorded on {self._host}", f"bold {theme.get('primary', 'white')}")
        quiet = theme.get("quiet", "white")
        for one in self._absent:
            name, _, why = one.partition(": ")
            text.append(f"\n{name}", "not bold " + theme.get("foreground", "white"))
            text.append(f"  {why}", f"not bold {quiet}")
        text.append("\n\ntrainwreck doctor tells what would change that.", f"not bold {quiet}")
        return text
