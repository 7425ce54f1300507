"""Keeps lines until they are on disk: a full disk costs the oldest, and it is said how many."""

from __future__ import annotations

import errno
import os

from trainwreck_agent import log
from trainwreck_agent.collector import Row
from trainwreck_agent.journal import Journal
from trainwreck_agent.layout import DataDirectoryError, Layout
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

KEPT_MAX_BYTES = 4 << 20


class Writer:
    """The journal, with patience."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.journal = Journal(layout)
        self._kept: list[str] = []
        self._kept_bytes = 0
        self._lost = 0
        self._failing = ""
        self.moved = False
        """The directory is a new one, without its database file yet; the sealer's to reset."""

    @property
    def behind(self) -> bool:
        """Whether lines are kept that are not on disk yet."""
        return bool(self._kept)

    def write(self, lines: list[str]) -> list[Row]:
        """Write the lines and those kept before; facts about failures, for the next call."""
        if not lines and not self._kept:
            return []
        rows = self._follow_directory()
        try:
            self.journal.append(self._kept + lines)
        except OSError as error:
            return rows + self._keep(lines, error)
        if self._failing:
            detail = f"the disk takes rows again; before: {self._failing}"
            rows.append(_health("ok" if not self._lost else "lost", detail, self._lost or None))
            log.warning("%s; %d lines were lost", detail, self._lost)
            self._failing = ""
        self._kept, self._kept_bytes = [], 0
        return rows

    def _keep(self, lines: list[str], error: OSError) -> list[Row]:
        """Keep what could not be written, and drop the oldest of it beyond the limit."""
        self._kept += lines
        self._kept_bytes += sum(map(len, lines))
        dropped = 0
        while self._kept_bytes > KEPT_MAX_BYTES and dropped < len(self._kept):
            self._kept_bytes -= len(self._kept[dropped])
            dropped += 1
        del self._kept[:dropped]
        self._lost += dropped
        reason = f"{self._layout.file()}: {os.strerror(error.errno or errno.EIO)}"
        if self._failing:
            return []
        self._failing = reason
        log.error("cannot write: %s; keeping rows in memory", reason)
        return [_health("error", f"cannot write, rows are kept in memory: {reason}", None)]

    def _follow_directory(self) -> list[Row]:
        """Start afresh where the directory was deleted or replaced under our feet."""
        if self.journal.in_place():
            return []
        try:
            self._layout.create()
            self._layout.lock()
            journal = Journal(self._layout)
            self.journal.close()
            self.journal, self.moved = journal, True
        except (OSError, DataDirectoryError):
            return []  # append() goes on into the file that has no name any more
        detail = "the data directory had vanished; recording goes on in a new one"
        return [_health("lost", detail, None)]

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()


def _health(status: str, detail: str, lost: int | None) -> Row:
    return Row(COLLECTOR_HEALTH, ("journal", status, detail, None, None, lost, None, None))
