"""A log of any size on the screen: only the lines in sight are read."""

from __future__ import annotations

import re

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from trainwreck_tui.logfile import LogFile

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]{0,200}\x07|[\x00-\x08\x0b-\x1f\x7f]")
_SEVERE = re.compile(
    r"(?i)\b(error|fatal|critical|panic|traceback|killed|segfault|oom|exception|abort\w*)\b|Xid"
)
_WARNING = re.compile(r"(?i)\b(warn\w*|timeout|timed out|retry\w*)\b")


class LogView(ScrollView, can_focus=True):
    """Shows a ``LogFile``; one line can be marked."""

    DEFAULT_CSS = "LogView { overflow-x: hidden; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log_file: LogFile | None = None
        self.marked: int | None = None
        """The line that matters, from 1."""
        self.pointer: int | None = None
        """The line at the cursor of the timeline, from 1."""
        self.shift = 0
        """Columns scrolled to the right."""

    @property
    def file(self) -> LogFile | None:
        """What is shown."""
        return self._log_file

    def show(self, file: LogFile, marked: int | None = None) -> None:
        """Show a file, with one line marked and in the middle."""
        self._log_file, self.marked, self.shift = file, marked, 0
        self.virtual_size = Size(self.size.width, len(file))
        if marked is not None:
            self.go_to(marked)
        self.refresh()

    def go_to(self, number: int) -> None:
        """Scroll so that a line is in the middle."""

        def scroll() -> None:
            self.scroll_to(y=max(0, number - 1 - self.size.height // 2), animate=False, force=True)

        self.call_after_refresh(scroll)  # once the size is known

    def point(self, number: int | None) -> None:
        """Mark the line at the timeline's cursor, and bring it into sight."""
        self.pointer = number
        if number is not None:
            self.go_to(number)
        self.refresh()

    def action_scroll_right(self) -> None:
        """Show what is further right."""
        self.shift += 20
        self.refresh()

    def action_scroll_left(self) -> None:
        """Show what is further left."""
        self.shift = max(0, self.shift - 20)
        self.refresh()

    def find(self, words: str, after: int) -> int | None:
        """Number of the next line that holds the words, from ``after`` on, around the end."""
        file = self._log_file
        if file is None or not words:
            return None
        wanted, count = words.lower(), len(file)
        for step in range(count):
            number = (after + step) % count + 1
            if wanted in file.line(number).lower():
                return number
        return None

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        width = self.size.width
        number = y + int(self.scroll_offset.y) + 1
        file = self._log_file
        if file is None or number > len(file):
            return Strip.blank(width, self.rich_style)
        digits = max(3, len(str(len(file))))
        text = _ANSI.sub("", file.line(number).expandtabs(4))[self.shift :]
        style, sign = self._style(number, text)
        number_style = self.rich_style + Style.parse(self._variable("quiet"))
        segments = [
            Segment(f"{number:>{digits}} {sign} ", style if sign != " " else number_style),
            Segment(text, style),
        ]
        return Strip(segments).adjust_cell_length(width, style).crop(0, width)

    def _variable(self, name: str) -> str:
        return self.app.theme_variables.get(name, "white")

    def _style(self, number: int, text: str) -> tuple[Style, str]:
        base = self.rich_style
        if number == self.marked:
            colour = f"bold {self._variable('background')} on {self._variable('error')}"
            return base + Style.parse(colour), "▶"
        if number == self.pointer:
            return base + Style.parse(f"on {self._variable('panel')}"), "│"
        if _SEVERE.search(text[:400]):
            return base + Style.parse(self._variable("error")), " "
        if _WARNING.search(text[:400]):
            return base + Style.parse(self._variable("warning")), " "
        return base, " "
