"""The shell: opens screens, reads in a thread, hands out connections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.verdict import Diagnosis, Incident

from trainwreck_tui import report, timeline
from trainwreck_tui.screen import BaseScreen
from trainwreck_tui.screens.export import ExportScreen
from trainwreck_tui.screens.help import HelpScreen
from trainwreck_tui.screens.incident import IncidentScreen
from trainwreck_tui.screens.incidents import IncidentsScreen
from trainwreck_tui.screens.log import LogScreen
from trainwreck_tui.screens.reading import ReadingScreen
from trainwreck_tui.screens.sql import SqlScreen
from trainwreck_tui.screens.timeline import TimelineScreen
from trainwreck_tui.session import Session
from trainwreck_tui.theme import DARK, LIGHT

if TYPE_CHECKING:
    import duckdb


class TrainwreckApp(App[None]):
    """Incidents, verdict, timeline, log, SQL."""

    TITLE = "trainwreck"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", show=False),
        Binding("d", "theme", "Dark/light", show=False),
        Binding("q", "quit", "Quit", show=False),
    ]

    def __init__(
        self,
        data: Sequence[Path] = (),
        paths: Sequence[Path] = (),
        diagnosis: Diagnosis | None = None,
    ) -> None:
        super().__init__()
        self.session = Session(tuple(data), tuple(paths), diagnosis)
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colours, for themes that do not name them."""
        return {name: DARK.variables[name] for name in ("quiet", "faint")}

    def on_mount(self) -> None:
        """Show what is known, or find it out."""
        if self.session.diagnosis is None:
            self.start_reading()
        else:
            self._show_result()

    def start_reading(self) -> None:
        """Diagnose in a thread, with a bar."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        reading = ReadingScreen()
        self.push_screen(reading)
        self._read(reading)

    @work(thread=True, exclusive=True)
    def _read(self, reading: ReadingScreen) -> None:
        from trainwreck_agent.layout import DataDirectoryError
        from trainwreck_analyzer import archive
        from trainwreck_analyzer.diagnose import diagnose

        def progress(done_bytes: int, total_bytes: int) -> None:
            if reading.is_mounted:
                self.call_from_thread(reading.progress, done_bytes, total_bytes)

        session = self.session
        try:
            session.diagnosis = diagnose(session.paths, session.data, progress=progress)
            session.kept = archive.kept(session.data)
        except (Unreadable, DataDirectoryError) as error:
            self.call_from_thread(self.exit, None, 2, f"trainwreck: {error}")
            return
        self.call_from_thread(self._show_result)

    def _show_result(self) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()
        incidents = self.session.incidents()
        of_run = [one for one in incidents if not one.before_run] or incidents
        self.push_screen(IncidentsScreen())
        if len(of_run) == 1:
            self.push_screen(IncidentScreen(of_run[0]))

    def connect(self) -> duckdb.DuckDBPyConnection | None:
        """A connection of its own for one thread; None without data."""
        if not self.session.data:
            return None
        from trainwreck_agent import store

        return store.connect(self.session.data)

    def load_timeline(self, incident: Incident | None) -> timeline.Timeline | None:
        """The telemetry around an incident, for a thread; None, and a word, where there is none."""
        import duckdb
        from trainwreck_agent.layout import DataDirectoryError

        try:
            return timeline.load(self.session.data, incident)
        except (DataDirectoryError, duckdb.Error) as error:
            self.call_from_thread(self.notify, str(error), severity="error", timeout=10)
            return None

    def open_incident(self, incident: Incident) -> None:
        """Open the verdict."""
        self.push_screen(IncidentScreen(incident))

    def open_timeline(self, incident: Incident | None) -> None:
        """Open the telemetry around an incident, or the newest."""
        self.push_screen(TimelineScreen(incident))

    def open_log(self, path: Path, line: int | None) -> None:
        """Open a log at a line."""
        self.push_screen(LogScreen(path, line))

    def open_sql(self, query: str | None) -> None:
        """Open the query box."""
        self.push_screen(SqlScreen(query))

    def ask_export(self, incident: Incident) -> None:
        """Ask what kind of file, and write it into the current folder."""

        def chosen(kind: str | None) -> None:
            if kind is not None:
                self._export(incident, Path.cwd() / f"trainwreck-{incident.id}.{kind}")

        with_data = bool(self.session.data)
        self.push_screen(ExportScreen(str(Path.cwd()), with_data=with_data), chosen)

    @work(thread=True)
    def _export(self, incident: Incident, path: Path) -> None:
        import duckdb
        from trainwreck_agent.layout import DataDirectoryError

        try:
            report.write(self._single(incident), self.session.data, path)
        except OSError as error:
            told = f"{path}: {error.strerror}"
            self.call_from_thread(self.notify, told, severity="error", timeout=10)
        except (duckdb.Error, DataDirectoryError, Unreadable) as error:
            self.call_from_thread(self.notify, f"{path}: {error}", severity="error", timeout=10)
        else:
            self.call_from_thread(self.notify, f"Written: {path}", timeout=10)

    def copy_verdict(self, incident: Incident) -> None:
        """Put the verdict, as text, on the clipboard of the terminal."""
        from trainwreck_analyzer.render.text import to_text

        self.copy_to_clipboard(to_text(self._single(incident)))
        self.notify("The verdict is on the clipboard, if your terminal allows it.")

    def _single(self, incident: Incident) -> Diagnosis:
        inputs = self.session.diagnosis.inputs if self.session.diagnosis else ()
        return Diagnosis(inputs, (incident,))

    def action_help(self) -> None:
        """Help on the screen in sight."""
        screen = self.screen
        if isinstance(screen, BaseScreen):
            self.push_screen(HelpScreen(screen.HELP))

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        yield SystemCommand("Timeline", "The telemetry around the incident", self._palette_timeline)
        yield SystemCommand("SQL", "Ask the recorded data", lambda: self.open_sql(None))
        yield SystemCommand("Read again", "Diagnose afresh", self.start_reading)
        yield SystemCommand("Dark or light", "Switch the colours", self.action_theme)
        yield SystemCommand("Quit", "Leave", self.exit)

    def _palette_timeline(self) -> None:
        incident = getattr(self.screen, "incident", None)
        self.open_timeline(incident if isinstance(incident, Incident) else None)
