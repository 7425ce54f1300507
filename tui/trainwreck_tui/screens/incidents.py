"""The incidents of the run, newest first, then those of its host before it.

Where there is none, a calm word about what was read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option
from trainwreck_analyzer.verdict import Incident

from trainwreck_tui import units
from trainwreck_tui.fold import cut
from trainwreck_tui.screen import BaseScreen
from trainwreck_tui.session import title
from trainwreck_tui.widgets.gauge import bar

_EPOCH = datetime.fromtimestamp(0, UTC)


class IncidentsScreen(BaseScreen):
    """The list."""

    HELP = """\
# Incidents
**Enter** opens one. `t` shows the newest telemetry without an incident, `s` asks the data with SQL,
`r` reads everything again. Incidents that were diagnosed earlier and kept with the data are listed
too. What befell the host **before the run** stands below those of the run.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "timeline", "Timeline"),
        Binding("s", "sql", "SQL"),
        Binding("r", "again", "Read again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._incidents: list[Incident] = []

    def compose(self) -> ComposeResult:
        """Headline and list."""
        yield Static(id="headline")
        yield OptionList(id="list")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Fill the list."""
        session = self.trainwreck.session
        newest = sorted(session.incidents(), key=lambda i: i.start or _EPOCH, reverse=True)
        incidents = sorted(newest, key=lambda i: i.before_run)
        self._incidents = incidents
        options = self.query_one(OptionList)
        options.display = bool(incidents)
        self._fill()
        options.action_first()
        options.focus()
        self.query_one("#headline", Static).update(self._headline(len(incidents)))

    def on_resize(self) -> None:
        """A row an incident, whatever the width."""
        self._fill()

    def _fill(self) -> None:
        options = self.query_one(OptionList)
        kept = options.highlighted
        options.clear_options()
        options.add_options([Option(self._row(one), id=one.id) for one in self._incidents])
        options.highlighted = kept

    def _headline(self, count: int) -> Text:
        session = self.trainwreck.session
        if count:
            return Text(units.count(count, "incident"), f"bold {self.colour('primary')}")
        text = Text("No incident found.", f"bold {self.colour('success')}")
        text.append("\n\nRead:", f"not bold {self.colour('quiet')}")
        plain = f"not bold {self.colour('foreground')}"
        for entry in session.diagnosis.inputs if session.diagnosis else ():
            kind = entry.kind.replace("_", " ")
            text.append(f"\n  {entry.path}  {kind}, {units.count(entry.lines, 'line')}", plain)
        for directory in session.data:
            text.append(f"\n  {directory}  telemetry", plain)
        more = "t shows the telemetry, s asks it with SQL, ? helps."
        if not session.data:
            more = "No telemetry was given: --data DIR joins what the recorder saw."
        text.append(f"\n\n{more}", f"not bold {self.colour('quiet')}")
        return text

    def _row(self, incident: Incident) -> Text:
        verdict, part = incident.verdict, incident.verdict.component
        local = self.trainwreck.session.local_time
        text = Text(units.clock(incident.start, local=local, date=True).ljust(20))
        wide = 28 if self.size.width >= 90 else 22
        text.append(f"{cut(title(verdict.cause), wide):{wide}} ", "bold")
        text.append(bar(verdict.confidence, 5), self.colour("error"))
        text.append(f" {units.probability(verdict.confidence):>5}  ")
        who = [f"rank {part.rank}" if part.rank is not None else "", part.host or "",
               incident.run.job or "", "before the run" if incident.before_run else ""]  # fmt: skip
        text.append(" · ".join(word for word in who if word), self.colour("quiet"))
        text.truncate(max(20, self.size.width - 4), overflow="ellipsis")
        return text

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open an incident."""
        for incident in self.trainwreck.session.incidents():
            if incident.id == event.option_id:
                self.trainwreck.open_incident(incident)
                return

    def action_timeline(self) -> None:
        """The newest telemetry, with no incident in it."""
        self.trainwreck.open_timeline(None)

    def action_sql(self) -> None:
        """Open the query box."""
        self.trainwreck.open_sql(None)

    def action_again(self) -> None:
        """Read everything again."""
        self.trainwreck.start_reading()
