"""The telemetry around the crash, the events in it, and the log beside it, moving together."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer, Static
from trainwreck_analyzer.verdict import Incident

from trainwreck_tui import units
from trainwreck_tui.logfile import LogFile
from trainwreck_tui.screen import BaseScreen
from trainwreck_tui.screens.absent import AbsentScreen
from trainwreck_tui.session import line_of
from trainwreck_tui.timeline import Timeline, moment
from trainwreck_tui.widgets.lanes import Lanes
from trainwreck_tui.widgets.logview import LogView

SIDE_BY_SIDE_FROM = 150
SHORTEST_S = 5.0


class TimelineScreen(BaseScreen):
    """Lanes, cursor and log."""

    HELP = """\
# The timeline
`←` `→` move the cursor, with `shift` ten times as far; the values stand in the lanes' titles and
the log follows. `+` `−` zoom around the cursor, `[` `]` move the window, `0` shows all of it, `c`
goes to the crash. `↑` `↓` show other lanes; those that matter for the cause come first. `n` `p` go
to the next and previous event, `page up` `page down` scroll the log. `u` switches between UTC and
local time. `a` tells what could not be recorded here, and why.

▲ kernel line, ✕ end of a process, ! alarming log line, … silence, ┃ the crash. A hole in a curve:
nothing was recorded then.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Cursor", key_display="←→"),
        Binding("right", "move(1)", show=False),
        Binding("shift+left", "move(-10)", show=False),
        Binding("shift+right", "move(10)", show=False),
        Binding("plus,equals_sign", "zoom(0.5)", "Zoom", key_display="+−"),
        Binding("minus", "zoom(2)", show=False),
        Binding("left_square_bracket", "pan(-0.5)", show=False),
        Binding("right_square_bracket", "pan(0.5)", show=False),
        Binding("up", "lane(-1)", show=False),
        Binding("down", "lane(1)", "Lanes", key_display="↑↓"),
        Binding("n", "event(1)", "Event", key_display="n p"),
        Binding("p", "event(-1)", show=False),
        Binding("c", "crash", "Crash"),
        Binding("a", "absent", "Absent"),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("0", "all", show=False),
        Binding("u", "zone", show=False),
    ]

    def __init__(self, incident: Incident | None) -> None:
        super().__init__()
        self.incident = incident
        self._timeline: Timeline | None = None
        self._file: LogFile | None = None

    def compose(self) -> ComposeResult:
        """Title, lanes, log."""
        yield Static("loading the telemetry …", id="moment")
        with Container(id="side"):
            lanes = Lanes(id="lanes")
            lanes.loading = True
            yield lanes
            log = LogView(id="log")
            log.can_focus = False  # the arrow keys are the cursor's
            yield log
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Load in a thread."""
        self.query_one(Lanes).local = self.trainwreck.session.local_time
        self._load()

    def on_resize(self, event: events.Resize) -> None:
        """Log beside the lanes where there is room, else below."""
        self.query_one("#side").set_class(event.size.width >= SIDE_BY_SIDE_FROM, "beside")

    @work(thread=True, exclusive=True)
    def _load(self) -> None:
        loaded = self.trainwreck.load_timeline(self.incident)
        path = self.trainwreck.session.log_of(self.incident)
        try:
            file = LogFile(path) if path is not None else None
        except OSError:
            file = None
        self.app.call_from_thread(self._show, loaded, file)

    def _show(self, loaded: Timeline | None, file: LogFile | None) -> None:
        self._timeline, self._file = loaded, file
        lanes, log = self.query_one(Lanes), self.query_one(LogView)
        lanes.loading = False
        lanes.show(loaded)
        log.display = file is not None
        if file is not None:
            log.show(file, line_of(self.incident, file.path))
        lanes.display = loaded is not None or file is None
        if loaded is not None:
            self._set_cursor(loaded.crash if loaded.crash is not None else loaded.end)
        self._tell()

    def _tell(self) -> None:
        line = self.query_one("#moment", Static)
        lanes, loaded = self.query_one(Lanes), self._timeline
        if loaded is None:
            given = self.trainwreck.session.data
            line.update(
                "No telemetry was recorded around it."
                if given
                else "No telemetry was given: --data DIR joins what the recorder saw."
            )
            return
        if lanes.cursor is None:
            return
        text = Text(units.clock(moment(lanes.cursor), local=lanes.local, date=True), "bold")
        if loaded.crash is not None:
            text.append(f"  {units.offset(lanes.cursor - loaded.crash)}", self.colour("error"))
        text.append(f"  host {loaded.host}", self.colour("quiet"))
        if loaded.absent and not loaded.lanes:
            text.append(f"  {units.count(len(loaded.absent), 'source')} not recorded (a)")
        if near := self._near(lanes.cursor):
            text.append(f"  {near}", self.colour("warning"))
        text.truncate(max(10, self.size.width - 2), overflow="ellipsis")
        line.update(text)

    def _near(self, time: float) -> str | None:
        lanes = self.query_one(Lanes)
        reach = (lanes.end - lanes.start) / lanes.plot_width
        marks = self._timeline.marks if self._timeline else ()
        close = [mark for mark in marks if abs(mark.time - time) <= reach]
        return min(close, key=lambda m: (not m.severe, abs(m.time - time))).text if close else None

    def _set_cursor(self, time: float) -> None:
        lanes = self.query_one(Lanes)
        assert self._timeline is not None
        time = min(max(time, self._timeline.start), self._timeline.end)
        width = lanes.end - lanes.start
        if not lanes.start <= time <= lanes.end:
            lanes.start = min(
                max(time - width / 2, self._timeline.start), self._timeline.end - width
            )
            lanes.end = lanes.start + width
        lanes.cursor = time
        self._tell()
        if self._file is not None:
            self.query_one(LogView).point(self._file.at(moment(time)))

    def action_move(self, cells: int) -> None:
        """Move the cursor by columns."""
        lanes = self.query_one(Lanes)
        if self._timeline is not None and lanes.cursor is not None:
            self._set_cursor(lanes.cursor + cells * (lanes.end - lanes.start) / lanes.plot_width)

    def action_zoom(self, factor: float) -> None:
        """Zoom around the cursor."""
        lanes, loaded = self.query_one(Lanes), self._timeline
        if loaded is None:
            return
        width = min(max((lanes.end - lanes.start) * factor, SHORTEST_S), loaded.end - loaded.start)
        middle = lanes.cursor if lanes.cursor is not None else (lanes.start + lanes.end) / 2
        lanes.start = min(max(middle - width / 2, loaded.start), loaded.end - width)
        lanes.end = lanes.start + width
        self._tell()

    def action_pan(self, share: float) -> None:
        """Move the window by a share of its width."""
        lanes, loaded = self.query_one(Lanes), self._timeline
        if loaded is None:
            return
        width = lanes.end - lanes.start
        lanes.start = min(max(lanes.start + share * width, loaded.start), loaded.end - width)
        lanes.end = lanes.start + width
        if lanes.cursor is not None:
            self._set_cursor(min(max(lanes.cursor, lanes.start), lanes.end))

    def action_all(self) -> None:
        """Show the whole window."""
        if self._timeline is not None:
            lanes = self.query_one(Lanes)
            lanes.start, lanes.end = self._timeline.start, self._timeline.end

    def action_lane(self, step: int) -> None:
        """Show other lanes."""
        lanes = self.query_one(Lanes)
        if self._timeline is not None:
            last = max(0, len(self._timeline.lanes) - lanes.fitting())
            lanes.first = min(max(lanes.first + step, 0), last)

    def action_event(self, step: int) -> None:
        """Go to the next or previous event."""
        lanes = self.query_one(Lanes)
        if self._timeline is None or lanes.cursor is None:
            return
        times = sorted({mark.time for mark in self._timeline.marks})
        if step > 0:
            found = next((t for t in times if t > lanes.cursor + 1e-3), None)
        else:
            found = next((t for t in reversed(times) if t < lanes.cursor - 1e-3), None)
        if found is not None:
            self._set_cursor(found)

    def action_crash(self) -> None:
        """Go to the crash."""
        if self._timeline is not None and self._timeline.crash is not None:
            self._set_cursor(self._timeline.crash)

    def action_page(self, step: int) -> None:
        """Scroll the log by a page."""
        log = self.query_one(LogView)
        log.scroll_relative(y=step * max(1, log.size.height - 1), animate=False)

    def action_absent(self) -> None:
        """Tell what was not recorded, and why."""
        if self._timeline is not None:
            self.app.push_screen(AbsentScreen(self._timeline.host, self._timeline.absent))

    def action_zone(self) -> None:
        """Switch between UTC and local time."""
        session, lanes = self.trainwreck.session, self.query_one(Lanes)
        session.local_time = lanes.local = not session.local_time
        self._tell()
