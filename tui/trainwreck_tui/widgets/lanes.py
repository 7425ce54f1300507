"""The stack of telemetry lanes, with the crash, the cursor and the events in it."""

from __future__ import annotations

import numpy as np
from rich.text import Text
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

from trainwreck_tui import units
from trainwreck_tui.fold import shortened
from trainwreck_tui.theme import series_colours
from trainwreck_tui.timeline import LaneData, Mark, Timeline, moment
from trainwreck_tui.widgets.braille import BLANK, Plot, Series, plot

AXIS_WIDTH = 10
PLOT_ROWS = 3
TALLER_MAX = 9
MARKS = {"kernel": "▲", "exit": "✕", "alarm": "!", "silence": "…"}
VALUE_AGE_S = 12.0
"""A value older than this is not the value at the cursor."""


class Lanes(Widget):
    """Draws as many lanes as fit. Times are s since 1970 UTC."""

    start: reactive[float] = reactive(0.0)
    end: reactive[float] = reactive(1.0)
    cursor: reactive[float | None] = reactive(None)
    first: reactive[int] = reactive(0)
    """Index of the topmost lane."""
    local: reactive[bool] = reactive(False)

    def __init__(self, timeline: Timeline | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._timeline = timeline
        if timeline is not None:
            self.start, self.end = timeline.start, timeline.end

    @property
    def timeline(self) -> Timeline | None:
        """What is drawn."""
        return self._timeline

    def show(self, timeline: Timeline | None) -> None:
        """Draw another timeline."""
        self._timeline = timeline
        if timeline is not None:
            self.start, self.end, self.cursor = timeline.start, timeline.end, timeline.crash
        self.refresh()

    @property
    def plot_width(self) -> int:
        """Columns of the charts."""
        return max(4, self.size.width - AXIS_WIDTH)

    def column(self, time: float) -> int | None:
        """The column of a time in the charts; None: outside."""
        if not self.start <= time <= self.end or self.end <= self.start:
            return None
        share = (time - self.start) / (self.end - self.start)
        return min(int(share * self.plot_width), self.plot_width - 1)

    def fitting(self) -> int:
        """How many lanes fit under each other."""
        return max(1, (self.size.height - 2) // (PLOT_ROWS + 1))

    def render(self) -> Text:
        """The whole stack."""
        timeline = self._timeline
        if timeline is None or not timeline.lanes:
            return self._nothing()
        shown = timeline.lanes[self.first : self.first + self.fitting()]
        spare = max(0, self.size.height - 2 - len(shown) * (PLOT_ROWS + 1))
        taller, over = divmod(spare, len(shown))
        lines: list[Text] = []
        for n, data in enumerate(shown):
            lines.append(self._title(data, self._place(len(shown)) if n == 0 else ""))
            # Every row is used: what does not divide goes to the first lanes.
            lines += self._plot(data, PLOT_ROWS + min(taller + (n < over), TALLER_MAX))
        lines += [self._events(timeline), self._axis(timeline)]
        return Text("\n").join(lines)

    def _nothing(self) -> Text:
        text = Text("no telemetry in this window", self._colour("quiet"))
        for one in self._timeline.absent if self._timeline else ():
            text.append(f"\n  {one}")
        return text

    def _place(self, shown: int) -> str:
        """Which of the lanes are in sight, where not all are: ``1–5 of 12 ↓``."""
        count = len(self._timeline.lanes) if self._timeline else 0
        if shown >= count:
            return ""
        up = "↑" if self.first else ""
        down = "↓" if self.first + shown < count else ""
        return f"  {self.first + 1}–{self.first + shown} of {count} {up}{down}"

    def _colour(self, name: str) -> str:
        return self.app.theme_variables.get(name, "white")

    def _title(self, data: LaneData, place: str) -> Text:
        colours = series_colours(dark=self.app.current_theme.dark)
        text = Text(f"{data.lane.title}  ", "bold", no_wrap=True, overflow="ellipsis")
        at = self.end if self.cursor is None else self.cursor
        for n, one in enumerate(data.series):
            value = value_at(one, at)
            label = f"{shortened(one.name)} " if one.name else ""
            text.append("● ", colours[n % len(colours)])
            text.append(f"{label}{units.value(value, data.lane.unit)}  ", self._colour("quiet"))
        if data.hidden:
            text.append(f"and {data.hidden} more", self._colour("quiet"))
        text.truncate(self.size.width - len(place), overflow="ellipsis", pad=bool(place))
        return text.append(place, f"not bold {self._colour('quiet')}")

    def _plot(self, data: LaneData, rows: int) -> list[Text]:
        lane = data.lane
        drawn = plot(data.series, self.plot_width, rows, self.start, self.end, lane.low, lane.high)
        labels = [""] * rows
        labels[0], labels[-1] = (
            units.fitted(drawn.high, lane.unit, AXIS_WIDTH - 2),
            units.fitted(drawn.low, lane.unit, AXIS_WIDTH - 2),
        )
        return [self._row(drawn, row, labels[row]) for row in range(rows)]

    def _row(self, drawn: Plot, row: int, label: str) -> Text:
        colours = series_colours(dark=self.app.current_theme.dark)
        text = Text(f"{label:>{AXIS_WIDTH - 2}} ┤", self._colour("faint"))
        text.stylize(self._colour("quiet"), 0, AXIS_WIDTH - 2)
        crash, cursor = self._crash_column(), self._cursor_column()
        for column, cell in enumerate(drawn.cells[row]):
            owner = int(drawn.owners[row, column])
            style = colours[owner % len(colours)] if owner >= 0 else ""
            character = " " if cell == BLANK else chr(cell)
            if column == crash:
                character, style = ("┃" if cell == BLANK else character), self._colour("error")
            elif column == cursor:
                character = "│" if cell == BLANK else character
                style = f"{style or self._colour('quiet')} on {self._colour('panel')}"
            text.append(character, style)
        return text

    def _crash_column(self) -> int | None:
        crash = self._timeline.crash if self._timeline else None
        return None if crash is None else self.column(crash)

    def _cursor_column(self) -> int | None:
        return None if self.cursor is None else self.column(self.cursor)

    def _events(self, timeline: Timeline) -> Text:
        text = Text(f"{'events':>{AXIS_WIDTH - 2}} ┤", self._colour("faint"))
        text.stylize(self._colour("quiet"), 0, AXIS_WIDTH - 2)
        cells: list[Mark | None] = [None] * self.plot_width
        for mark in timeline.marks:
            column = self.column(mark.time)
            if column is not None and (cells[column] is None or mark.severe):
                cells[column] = mark
        for column, here in enumerate(cells):
            if here is not None:
                colour = self._colour("error" if here.severe else "warning")
                text.append(MARKS.get(here.kind, "·"), colour)
            else:
                crash = column == self._crash_column()
                text.append("┃" if crash else " ", self._colour("error") if crash else "")
        return text

    def _axis(self, timeline: Timeline) -> Text:
        width = self.plot_width
        line = [" "] * width
        labels: list[tuple[int, str, str]] = []
        at = self._crash_column()
        if at is not None and timeline.crash is not None:
            label = f"crash {units.clock(moment(timeline.crash), local=self.local)}"
            labels.append((max(0, min(at - len(label) // 2, width - len(label))), label, "error"))
        for place in (0.0, 0.25, 0.5, 0.75, 1.0):
            time = self.start + place * (self.end - self.start)
            label = units.clock(moment(time), local=self.local)
            column = min(int(place * width), width - len(label))
            labels.append(
                (max(0, column - (len(label) // 2 if 0 < place < 1 else 0)), label, "quiet")
            )
        spans = []
        for column, label, colour in labels:
            free = line[max(0, column - 1) : column + len(label) + 1]
            if all(c == " " for c in free):
                line[column : column + len(label)] = label
                spans.append((column, column + len(label), colour))
        text = Text(
            f"{units.zone(None, local=self.local):>{AXIS_WIDTH - 2}}  ", self._colour("quiet")
        )
        body = Text("".join(line))
        for begin, finish, colour in spans:
            body.stylize(self._colour(colour), begin, finish)
        return text + body

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As tall as the container."""
        return container.height


def value_at(one: Series, time: float) -> float | None:
    """The last value at or before a time, if it is not too old; None: not known then."""
    position = int(np.searchsorted(one.times, time, side="right")) - 1
    if position < 0 or time - one.times[position] > VALUE_AGE_S:
        return None
    value = float(one.values[position])
    return value
