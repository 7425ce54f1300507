"""Facts from stacks: who was not where the others waited.

``text`` of a row of ``stack``, as py-spy dumps it::

    Thread 4711 (idle): "MainThread"
        Condition.wait (threading.py:327)
        Queue.get (queue.py:171)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, literal

READS = {"stack": {"pid", "rank", "reason", "tool", "text"}}
_THREAD = re.compile(r'Thread \S+ \((?P<state>[^)]*)\): "(?P<name>[^"]*)"', re.ASCII)
_COLLECTIVE = re.compile(
    r"all_?reduce|all_?gather|reduce_scatter|all_?to_?all|broadcast|barrier|run_backward"
    r"|(?:torch|nccl|gloo|mpi)[^ ]*\bwait\b|Work\.wait|distributed_c10d",
    re.ASCII | re.IGNORECASE,
)
_FRAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread of a dump."""

    name: str
    state: str
    frames: tuple[str, ...]
    """Innermost first."""

    @property
    def in_collective(self) -> bool:
        """Whether it stands in an exchange with other ranks."""
        return any(_COLLECTIVE.search(frame) for frame in self.frames)


def parse(text: str) -> list[Thread]:
    """The threads of a dump; empty where it is none."""
    threads: list[Thread] = []
    name, state, frames = "", "", list[str]()
    for line in [*text.splitlines(), 'Thread 0 (end): ""']:
        found = _THREAD.match(line)
        if found is None:
            frames.append(line.strip())
            continue
        if name:
            threads.append(Thread(name, state, tuple(filter(None, frames))))
        name, state, frames = found["name"], found["state"], []
    return threads


def find(recording: Recording) -> Iterator[Fact]:
    """Yield the ranks that were elsewhere while others waited in a collective."""
    sql = (
        "SELECT ts, host, pid, rank, reason, text FROM stack"
        f" WHERE tool = 'py-spy' AND rank IS NOT NULL AND {recording.during} ORDER BY ts, rank"
    )
    by_reason: dict[str, list[tuple[Row, Thread, list[Thread]]]] = {}
    for row in recording.rows(sql):
        if recording.of_job != "true" and (row["host"], row["pid"]) not in recording.rank_of_pid:
            continue
        threads = parse(row["text"] or "")
        main = next((t for t in threads if t.name == "MainThread"), None)
        if main is not None:
            by_reason.setdefault(row["reason"] or "", []).append((row, main, threads))
    for taken in by_reason.values():
        yield from _compare(recording, taken)


def _compare(recording: Recording, taken: list[tuple[Row, Thread, list[Thread]]]) -> Iterator[Fact]:
    inside = [row for row, main, _ in taken if main.in_collective]
    usual = {
        (thread.name, thread.frames)
        for _, main, threads in taken
        if main.in_collective
        for thread in threads
    }
    outside = [one for one in taken if not one[1].in_collective]
    if not inside:
        return
    if not outside:
        row = inside[0]
        text = f"all {len(inside)} ranks whose stacks were taken waited in a collective"
        yield fact("all_ranks_in_collective", text, row, _sql(recording, row, only=False))
        return
    for row, main, threads in outside:
        # Also who works for the main thread and stands where it does not stand in the others.
        others = [t for t in threads if t is not main and (t.name, t.frames) not in usual]
        held = "; ".join(f"{t.name} stood in {_told(t)}" for t in others)
        text = (
            f"rank {row['rank']} was not in the collective in which {len(inside)} other"
            f" rank{'s' * (len(inside) != 1)} waited: MainThread stood in {_told(main)}"
        )
        yield fact(
            "rank_outside_collective",
            f"{text}; {held}" if held else text,
            {**row, "in_collective": len(inside)},
            _sql(recording, row, only=True),
        )


def _told(thread: Thread) -> str:
    return " < ".join(thread.frames[:_FRAMES_TOLD]) or "no Python frame"


def _sql(recording: Recording, row: Row, *, only: bool) -> str:
    one = f" AND host = {literal(row['host'])} AND pid = {row['pid']}" if only else ""
    return (
        "SELECT ts, host, pid, rank, reason, text FROM stack WHERE tool = 'py-spy'"
        f"{one} AND {recording.during} ORDER BY ts, rank"
    )
