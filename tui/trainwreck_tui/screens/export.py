"""Which file the verdict goes into."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

KINDS = {
    "html": ("HTML", "a report to read and to send"),
    "json": ("JSON", "the diagnosis for programs"),
    "txt": ("Text", "as trainwreck diagnose prints it"),
    "duckdb": ("DuckDB", "the rows of the window as tables"),
}
"""What can be written, by the ending of the file; the last one needs recorded data."""


class ExportScreen(ModalScreen[str | None]):
    """Gives the ending that was chosen; None: nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close"),
        Binding("h", "dismiss('html')"),
        Binding("j", "dismiss('json')"),
        Binding("t", "dismiss('txt')"),
        Binding("d", "dismiss('duckdb')"),
    ]

    def __init__(self, folder: str, *, with_data: bool) -> None:
        super().__init__()
        self._folder = folder
        self._kinds = [kind for kind in KINDS if with_data or kind != "duckdb"]

    def compose(self) -> ComposeResult:
        """Where it goes, and the choice."""
        with Vertical(id="choice"):
            yield Static(Text(f"Export into {self._folder}", overflow="ellipsis", no_wrap=True))
            yield OptionList(
                *(
                    Option(f"{KINDS[kind][0].lower()[0]}  {KINDS[kind][0]:8}{KINDS[kind][1]}", kind)
                    for kind in self._kinds
                )
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take the one that was chosen."""
        self.dismiss(event.option_id)

    async def action_dismiss(self, result: str | None = None) -> None:
        """Close with a choice; one that is not offered here closes with none."""
        self.dismiss(result if result in self._kinds else None)
