"""A whole log file, with the line that matters."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from trainwreck_tui import units
from trainwreck_tui.fold import fold
from trainwreck_tui.logfile import LogFile
from trainwreck_tui.screen import BaseScreen
from trainwreck_tui.widgets.logview import LogView

MARKED_LINES = 4


class LogScreen(BaseScreen):
    """The file, scrollable and searchable."""

    HELP = """\
# The log
`/` searches, `n` goes on, `m` goes back to the marked line (▶), `home` `end` to the ends, `←` `→`
show long lines. Red: errors; orange: warnings and time-outs.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "next", "Next"),
        Binding("m", "mark", "Marked line"),
    ]

    def __init__(self, path: Path, line: int | None) -> None:
        super().__init__()
        self._path, self._line = path, line
        self._words, self._found = "", line or 0

    def compose(self) -> ComposeResult:
        """Title, text, and a box for searching."""
        yield Static(f"reading {self._path} …", id="moment")
        yield LogView(id="log")
        yield Input(placeholder="search", id="search")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Index the file in a thread."""
        self.query_one("#search").display = False
        self.query_one(LogView).focus()
        self._load()

    @work(thread=True, exclusive=True)
    def _load(self) -> None:
        try:
            file = LogFile(self._path)
        except OSError as error:
            message = f"{self._path}: {error.strerror}"
            self.app.call_from_thread(self.query_one("#moment", Static).update, message)
            return
        self.app.call_from_thread(self._show, file)

    def _show(self, file: LogFile) -> None:
        self.query_one(LogView).show(file, self._line)
        text = Text(f"{self._path}  {units.count(len(file), 'line')}", self.colour("quiet"))
        if self._line:
            text.append(f", line {self._line} marked")
            words = file.line(self._line).strip()
            if len(words) > self.size.width - 10:  # what is cut off below stands here in full
                lines = fold(words, max(20, self.size.width - 4))[:MARKED_LINES]
                text.append("\n" + "\n".join(lines), self.colour("error"))
        self.query_one("#moment", Static).update(text, layout=True)

    def action_search(self) -> None:
        """Open the box."""
        box = self.query_one("#search", Input)
        box.display = True
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search."""
        event.input.display = False
        self._words = event.value
        self.query_one(LogView).focus()
        self.action_next()

    def action_next(self) -> None:
        """Go to the next place."""
        self._search(self.query_one(LogView), self._words, self._found)

    @work(thread=True, exclusive=True)
    def _search(self, view: LogView, words: str, after: int) -> None:
        """Look through the file without holding the screen."""
        self.app.call_from_thread(self._go, view, view.find(words, after))

    def _go(self, view: LogView, number: int | None) -> None:
        if number is None:
            self.notify(f"{self._words!r} is not in this file" if self._words else "/ searches")
            return
        self._found = number
        view.point(number)

    def action_mark(self) -> None:
        """Go back to the marked line."""
        if self._line is not None:
            self.query_one(LogView).go_to(self._line)

    def action_back(self) -> None:
        """Close the box, or the screen."""
        box = self.query_one("#search", Input)
        if box.display:
            box.display = False
            self.query_one(LogView).focus()
        else:
            super().action_back()
