"""What all screens share: a place for a load in a thread, colours of the theme, keys for help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

if TYPE_CHECKING:
    from trainwreck_tui.app import TrainwreckApp


class BaseScreen(Screen[Any]):
    """A screen of the app. ``HELP`` is what ``?`` shows of it, Markdown."""

    HELP: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q", "app.quit", "Quit"),
    ]

    @property
    def trainwreck(self) -> TrainwreckApp:
        """The app, with its own type."""
        return cast("TrainwreckApp", self.app)

    def colour(self, name: str) -> str:
        """A colour of the theme."""
        return self.app.theme_variables.get(name, "white")

    def action_back(self) -> None:
        """Leave this screen; the first one stays."""
        if len(self.app.screen_stack) > 2:
            self.app.pop_screen()
