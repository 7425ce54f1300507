"""Says on stderr what is happening: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from trainwreck_agent.step_lines import parse_step, rank_of

_PLAIN_EVERY_S = 5.0


@dataclass(slots=True)
class JobState:
    """What the training log and ``/proc`` tell of the job."""

    step: int = 0
    loss: float | None = None
    step_by_rank: dict[int, int] = field(default_factory=dict)
    rss_bytes_by_rank: dict[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        loss = "-" if self.loss is None else f"{self.loss:.4g}"
        memory = "  ".join(f"{r}: {b >> 20}" for r, b in sorted(self.rss_bytes_by_rank.items()))
        return f"step {self.step:>3}  loss {loss:<8}  memory of ranks, MiB  {memory or '-'}"


class LogReader:
    """Reads what was added to the training log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def update(self, state: JobState) -> None:
        """Bring the steps and the loss in ``state`` up to date."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            values, rank = parse_step(line), rank_of(line)
            if values is not None and rank is not None:
                state.step_by_rank[rank] = values[0]
                if values[0] >= state.step:
                    state.step, state.loss = values[0], next(iter(values[1:]), None)


class Display:
    """Lines that stay, and one that changes."""

    def __init__(self) -> None:
        self._live = None
        self._shown_s = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            self._live = self._console.status("")
            self._live.start()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._console.print(text, markup=False)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def now(self, text: str) -> None:
        """What is so at this moment; on no terminal a line every 5 s."""
        if self._live is not None:
            self._live.update(text)
        elif time.monotonic() - self._shown_s > _PLAIN_EVERY_S:
            self._shown_s = time.monotonic()
            self.say(f"  {text}")

    def close(self) -> None:
        """Take the changing line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
