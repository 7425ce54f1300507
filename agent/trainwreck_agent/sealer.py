"""Starts the sealing child now and then, and looks how it ended. Never waits for it."""

from __future__ import annotations

import os
import signal
import sys
import time

from trainwreck_agent.collector import Row
from trainwreck_agent.layout import Layout
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.writer import Writer

ROTATE_EVERY_S = 900.0
ROTATE_AT_BYTES = 16 << 20
CLEAN_AFTER_S = 120.0
NICE = 19
STOP_S = 2.0
PINNED_CODE = 3
"""Exit code of the child: pinned incidents hold more than the limit of bytes allows."""


class Sealer:
    """Rotates the journal and has the finished ones sealed, a child at a time."""

    def __init__(self, layout: Layout, retain_days: float, max_bytes: int) -> None:
        self._layout = layout
        self._options = ["--retain-days", str(retain_days), "--max-bytes", str(max_bytes)]
        now_s = time.monotonic()
        self._rotate_s = now_s + ROTATE_EVERY_S
        self._clean_s = float("inf")
        self._pid = 0
        self._spawn(["--prepare"])
        self._unsealed = True
        """Journals of an earlier recorder may be there."""

    def check(self, now_s: float, writer: Writer) -> list[Row]:
        """Reap, rotate, start; facts about a child that failed."""
        rows = self._reap()
        if now_s >= self._rotate_s or writer.journal.size_bytes >= ROTATE_AT_BYTES:
            self._rotate_s = now_s + ROTATE_EVERY_S
            try:
                writer.journal.rotate()
                self._unsealed = True
            except OSError as error:
                rows.append(_health(f"the journal cannot be rotated: {error.strerror}"))
        if self._pid:
            return rows
        if writer.moved:
            writer.moved = False
            self._spawn(["--prepare"])
        elif self._unsealed:
            self._unsealed = False
            if not self._left_to_seal(writer):
                return rows
            self._clean_s = now_s + CLEAN_AFTER_S
            self._spawn(["--through", str(writer.journal.number - 1), *self._options])
        elif now_s >= self._clean_s:
            self._clean_s = float("inf")
            self._spawn([], "trainwreck_agent.cleaning")
        return rows

    def _left_to_seal(self, writer: Writer) -> bool:
        """Whether a finished journal holds rows; a child that finds none has cost 0.15 s."""
        older = (n for n in self._layout.journals() if n < writer.journal.number)
        try:
            return any(os.path.getsize(self._layout.journal_file(n)) for n in older)
        except OSError:  # one went meanwhile: let the child see
            return True

    def _spawn(self, options: list[str], module: str = "trainwreck_agent.seal") -> None:
        command = [sys.executable, "-m", module, self._layout.file(), *options]
        try:
            self._pid = os.posix_spawn(
                sys.executable, command, os.environ,
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
            )  # fmt: skip
            if "--prepare" not in options:  # until it is done, nobody but our own commands can ask
                os.setpriority(os.PRIO_PROCESS, self._pid, NICE)
        except OSError:
            return  # no memory for a process now; the journals wait

    def _reap(self) -> list[Row]:
        if not self._pid:
            return []
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return []
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code == PINNED_CODE:
            return [
                _health("pinned incidents hold more than --max-bytes; see `trainwreck incidents`")
            ]
        return [] if code == 0 else [_health(f"sealing failed with exit code {code}; see the log")]

    def stop(self) -> None:
        """Ask a running child to end; it leaves nothing half done that counts.

        One that hangs, on a disk that does not answer, is left to itself.
        """
        if not self._pid:
            return
        os.kill(self._pid, signal.SIGTERM)
        until_s = time.monotonic() + STOP_S
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < until_s:
            time.sleep(0.01)
        self._pid = 0


def _health(detail: str) -> Row:
    return Row(COLLECTOR_HEALTH, ("sealer", "error", detail, None, None, None, None, None))
