"""The events of a file that the recorder's data tell of too, on the recorder's clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwreck_analyzer import kernel
from trainwreck_analyzer.clocks import marks
from trainwreck_analyzer.clocks.align import Source
from trainwreck_analyzer.clocks.marks import MOST_STEPS, Mark

if TYPE_CHECKING:
    import duckdb

_MOST_TEXTS = 500
_MOST_ROWS = 5000


class Data:
    """Answers for one connection that holds the views."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def seen(self, source: Source) -> Sequence[Mark]:
        """What was recorded of the events of one file: kernel lines, ends of processes, steps."""
        return [*self._kernel(source), *self._ends(source), *self._steps(source)]

    def only_boot_s(self) -> float | None:
        """When the machine booted, where the data are of one boot, and hold no kernel line.

        Data with kernel lines but without the file's tell of another boot.
        """
        if self._rows("SELECT 1 FROM kernel_event LIMIT 1"):
            return None
        rows = self._rows(
            "SELECT host, boot_id, max(boot_time_us) / 1e6 FROM host"
            " WHERE boot_time_us IS NOT NULL GROUP BY host, boot_id LIMIT 2"
        )
        return float(rows[0][2]) if len(rows) == 1 else None

    def _kernel(self, source: Source) -> list[Mark]:
        lines = [f for f in source.facts if f.evidence == "kernel"][:_MOST_TEXTS]
        texts = sorted({kernel.split(f.text).text.strip() for f in lines})
        if not texts:
            return []
        kinds = {kernel.split(f.text).text.strip(): f.kind for f in lines}
        rows = self._rows(
            "SELECT ts, trim(text) FROM kernel_event WHERE list_contains(?, trim(text))"
            f" ORDER BY ts LIMIT {_MOST_ROWS}",
            [texts],
        )
        found = [Mark(("kernel", kinds[text], text), ts.timestamp()) for ts, text in rows]
        for ts, text in rows:
            decoded = kernel.decode(text)
            pid = decoded.fields.get("pid", "") if decoded else ""
            if pid.isdigit() and marks.DEATH_KINDS.fullmatch(kinds[text]):
                found.append(Mark(marks.death(pid), ts.timestamp()))
        return found

    def _ends(self, source: Source) -> list[Mark]:
        boot = source.clock == "boot"
        pids = {m.key[1] for m in marks.of_facts(source.facts, boot=boot) if m.key[0] == "death"}
        if not pids:
            return []
        rows = self._rows(
            "SELECT ts, pid, source = 'poll' FROM process_exit WHERE list_contains(?, pid)"
            f" ORDER BY ts LIMIT {_MOST_ROWS}",
            [[int(pid) for pid in pids]],
        )
        # One that was polled had ended some time before it was missed.
        return [Mark(marks.death(str(pid)), ts.timestamp(), bool(late)) for ts, pid, late in rows]

    def _steps(self, source: Source) -> list[Mark]:
        """Steps of the same log, told when the recorder read them: soon after, never before."""
        if not source.steps:
            return []
        rows = self._rows(
            "SELECT ts, step, loss FROM training_event WHERE kind = 'step' AND step IS NOT NULL"
            " AND parse_filename(path) = ? ORDER BY ts DESC, line DESC"
            f" LIMIT {MOST_STEPS}",
            [Path(source.path).name],
        )
        return [
            Mark(marks.of_step(step, loss), ts.timestamp(), late=True) for ts, step, loss in rows
        ]

    def _rows(self, sql: str, values: list[object] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values or []).fetchall()
