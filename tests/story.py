"""A story that several tests tell: a worker leaks until the kernel kills it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trainwreck_agent.collector import Row
from trainwreck_agent.journal import encode
from trainwreck_agent.schema import tables

if TYPE_CHECKING:
    from trainwreck_tui.app import TrainwreckApp

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
CRASH_S = 240
RANKS = 4
KILLED = "Memory cgroup out of memory: Killed process 4713 (python) total-vm:9MB, anon-rss:8MB"


def row(view: str, second: float, /, **values: Any) -> str:
    """A journal line of a table; columns that are not named are NULL."""
    table = tables()[view]
    unknown = values.keys() - {c.name for c in table.columns}
    assert not unknown, unknown
    cells = tuple(values.get(c.name) for c in table.columns)
    return encode(Row(table, cells), int((START.timestamp() + second) * 1e6))


def telemetry(second: int) -> list[str]:
    leak = max(0, second - 60) * 20 << 20
    lines = [
        row("memory", second, total_bytes=64 << 30, available_bytes=(60 << 30) - leak,
            shmem_bytes=1 << 20),
        row("pressure", second, resource="memory", scope="host",
            some_avg10_percent=max(0.0, second - 180) / 2),
        row("cpu", second, core="all", user_ticks=second * 300, idle_ticks=second * 100,
            nice_ticks=0, system_ticks=0, iowait_ticks=0, irq_ticks=0, softirq_ticks=0,
            steal_ticks=0),
    ]  # fmt: skip
    lines += [
        row("process", second, pid=4711 + rank, started_us=1, name="python",
            role="training", rank=rank, world_size=RANKS, state="R",
            rss_bytes=(1 << 30) + (leak if rank == 2 else 0), user_ticks=second * 95,
            system_ticks=second)
        for rank in range(RANKS)
        if second <= CRASH_S
    ]  # fmt: skip
    return lines


def lines_of(app: TrainwreckApp) -> str:
    """What is on the screen, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in strips) + "\n"
