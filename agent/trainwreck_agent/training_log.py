"""Follows training logs: step numbers with their metrics, alarming lines, and silence.

It does not know what a line means for a diagnosis; the analyzer reads the log itself for that.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.followed_log import LINE_MAX_BYTES, Followed, FollowedLogs
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.layout import Layout
from trainwreck_agent.log_file import Key
from trainwreck_agent.redact import redact
from trainwreck_agent.step_lines import StepLines, StepTold, rank_of
from trainwreck_agent.tables.events import TRAINING_EVENT

TEXT_MAX = 1000
ALARMS_PER_READ = 50
ALARMS_PER_LOOK = 200
"""Of all files together: many logs full of errors must not push out what was recorded before."""
SILENT_FACTOR = 8.0
SILENT_MIN_S = 8.0
"""A run is silent when no step came for this long and for so many usual step times."""

_ALARM = re.compile(
    r"(?i)error|exception|traceback|fatal|\bnan\b|out of memory|\bkilled\b|abort|time[d-]? ?out"
    r"|nccl warn|segmentation|no space left|signal \d|core dumped|\bhang\b|stuck"
)


@dataclass(slots=True)
class Pace:
    """When steps came, to know silence from slowness (CLOCK_MONOTONIC, s)."""

    last_s: float = 0.0
    last_step: int | None = None
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def step(self, number: int, now_s: float, *, fresh: bool = True) -> None:
        """A step was logged; not ``fresh``: some time ago, so its time tells no pace."""
        if number == self.last_step:
            return
        if self.last_step is not None and fresh:
            self.intervals_s.append(now_s - self.last_s)
        self.last_step, self.last_s = number, now_s

    def end(self) -> None:
        """All steps were taken: what follows is no silence."""
        self.last_step = None
        self.intervals_s.clear()

    def silent_for_s(self, now_s: float) -> float | None:
        """How long the run has been silent; None: it is not, or its pace is not known yet."""
        if len(self.intervals_s) < 3:
            return None
        usual_s = sorted(self.intervals_s)[len(self.intervals_s) // 2]
        silent_s = now_s - self.last_s
        return silent_s if silent_s > max(SILENT_MIN_S, SILENT_FACTOR * usual_s) else None


class TrainingLog(Collector):
    """Reads what was added to some logs; a folder stands for all files in it."""

    name = "training_log"
    every_s = 0.5
    may_block = True
    tables = (TRAINING_EVENT,)

    def __init__(
        self,
        host: Host,
        paths: list[str],
        on_silence: Callable[[str], Iterator[Row]] | None = None,
        layout: Layout | None = None,
    ) -> None:
        super().__init__(host)
        self._logs = FollowedLogs(paths, layout)
        self._remembers = layout is not None
        self._pace = Pace()
        self._steps: dict[Key, StepLines] = {}
        self._on_silence = on_silence
        self._told = False
        self._alarms_left = ALARMS_PER_LOOK

    def collect(self) -> Iterator[Row]:
        """Yield rows for the lines added since the last call."""
        self._alarms_left = ALARMS_PER_LOOK
        for file, lines in self._logs.poll():
            rows = list(self._lines(file, lines))
            yield from rows
            if self._remembers and file.to_tell(len(rows)):
                yield file.position.row()
        for key in self._steps.keys() - self._logs.files.keys():
            del self._steps[key]
        if not self._logs.files:
            names = ", ".join(str(path) for path in self._logs.paths)
            raise Unavailable(f"training log {names}: not there yet", retry_s=self.every_s)
        yield from self._silence()

    def _lines(self, file: Followed, lines: list[bytes]) -> Iterator[Row]:
        alarms_left = min(ALARMS_PER_READ, self._alarms_left)
        steps = self._steps.setdefault(file.key, StepLines())
        for raw in lines:
            number = file.line + 1
            file.line += raw.endswith(b"\n")
            line = raw[:LINE_MAX_BYTES].decode("utf-8", "replace").rstrip("\r\n")
            heard = steps.feed(number, line)
            yield from self._told_steps(file, heard.steps)
            if heard.moved:
                self._pace.last_s = time.monotonic()
            if not heard.steps and alarms_left and _ALARM.search(line[:TEXT_MAX]):
                alarms_left -= 1
                self._alarms_left -= 1
                text = redact(line[:TEXT_MAX])
                yield self._row(file, number, "alarm", rank_of(line), (None,) * 6, text)
        yield from self._told_steps(file, steps.flush())
        if steps.at_end:
            self._pace.end()

    def _told_steps(self, file: Followed, steps: Iterable[StepTold]) -> Iterator[Row]:
        for one in steps:
            self._pace.step(one.values[0], time.monotonic(), fresh=file.fresh)
            self._told = False
            yield self._row(file, one.line, "step", one.rank, one.values, None)

    def _silence(self) -> Iterator[Row]:
        silent_s = self._pace.silent_for_s(time.monotonic())
        if silent_s is None or self._told:
            return
        self._told = True
        text = f"no step since step {self._pace.last_step}, {silent_s:.0f} s ago"
        file = next(iter(self._logs.files.values()))
        yield self._row(
            file, file.line, "silence", None, (self._pace.last_step, *(None,) * 5), text
        )
        if self._on_silence is not None:
            yield from self._on_silence(text)

    @staticmethod
    def _row(
        file: Followed,
        line: int,
        kind: str,
        rank: int | None,
        values: tuple[int | None, *tuple[float | None, ...]],
        text: str | None,
    ) -> Row:
        return Row(TRAINING_EVENT, (file.name, line, kind, rank, *values, text))
