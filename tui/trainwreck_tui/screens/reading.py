"""Shown while logs and telemetry are read."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Middle
from textual.widgets import Footer, ProgressBar, Static

from trainwreck_tui.screen import BaseScreen


class ReadingScreen(BaseScreen):
    """A progress bar, and what is being read."""

    HELP = "# Reading\nLogs are read once, from beginning to end; then the telemetry is asked."

    def compose(self) -> ComposeResult:
        """The bar in the middle."""
        with Middle():
            yield Static(id="what")
            yield ProgressBar(id="bar", show_eta=True)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Say what is read."""
        session = self.trainwreck.session
        named = [str(path) for path in (*session.paths, *session.data)]
        self.query_one("#what", Static).update("Reading\n" + "\n".join(named[:4]))

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Move the bar."""
        self.query_one(ProgressBar).update(total=max(total_bytes, 1), progress=done_bytes)
        if done_bytes >= total_bytes and self.trainwreck.session.data:
            self.query_one("#what", Static).update("The logs are read; the telemetry is asked")
