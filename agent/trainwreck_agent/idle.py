"""Sees, in the rows of each tick, that a job stands still: when its stacks are worth taking.

Two signs that need no training log: all ranks of a job here use no processor any more, and a GPU
that says it is busy draws the power of an idle one while no bytes move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from trainwreck_agent.collector import Row, Value
from trainwreck_agent.tables.gpu import GPU
from trainwreck_agent.tables.process import PROCESS

STILL_S = 30.0
TICKS_PER_S = 100
"""USER_HZ, the same on every Linux that trains."""
BUSY_SHARE = 0.05
"""Below this share of a core a rank does nothing but keep its threads alive."""
WORKED_TICKS = 500
"""A rank that never used five seconds is still starting."""
BUSY_PERCENT = 95
IDLE_POWER_SHARE = 0.35
"""Of the power limit: a kernel that only waits draws little more than an idle GPU."""
MOVING_BYTES_PER_S = 1 << 20
"""Less is the driver's own traffic."""
HOLDS_S = 30.0
"""A process that was seen on a GPU within this time holds it."""

_P = {column.name: at for at, column in enumerate(PROCESS.columns)}
_ROLE = _P["role"]
_G = {column.name: at for at, column in enumerate(GPU.columns)}
_BYTES = tuple(
    _G[name]
    for name in ("pcie_sent_bytes", "pcie_received_bytes", "nvlink_sent_bytes",
                 "nvlink_received_bytes")
)  # fmt: skip
_NUMBERS = (*_BYTES, *(_G[name] for name in ("utilization_percent", "power_w", "power_limit_w")))


@dataclass(slots=True)
class _Rank:
    """What was seen of a rank."""

    job: str
    ticks: int
    seen_s: float
    active_s: float


@dataclass(slots=True)
class _Gpu:
    """What was seen of a GPU."""

    bytes: int
    seen_s: float
    moved_s: float


@dataclass(slots=True)
class IdleWatch:
    """What was seen of ranks and GPUs; times are CLOCK_MONOTONIC, s."""

    _ranks: dict[tuple[int, int], _Rank] = field(default_factory=dict)
    _gpus: dict[str, _Gpu] = field(default_factory=dict)
    _holders: dict[str, float] = field(default_factory=dict)
    """When a process of training was last seen on a GPU."""
    _pids: set[int] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    """Jobs and GPUs whose standstill was told and has not ended."""

    def observe(self, rows: Iterable[Row | str], now_s: float) -> list[str]:
        """Why stacks should be taken now; empty: there is no reason."""
        found: list[str] = []
        ranks_seen = False
        for row in rows:
            if isinstance(row, str):
                if row.startswith("gpu\t"):
                    found += self._gpu(_told(row), now_s)
                elif row.startswith("gpu_process\t"):
                    self._holds(_cells(row), now_s)
            elif row.table is PROCESS:
                if row.values[_ROLE] == "training":
                    ranks_seen = self._process(row.values, now_s) or ranks_seen
            elif row.table is GPU:
                found += self._gpu(row.values, now_s)
        if ranks_seen:
            found += self._jobs(now_s)
        return found

    def _holds(self, cells: list[str], now_s: float) -> None:
        if cells[1].isdigit() and int(cells[1]) in self._pids:
            self._holders[cells[0]] = now_s

    def _process(self, values: tuple[Value, ...], now_s: float) -> bool:
        """Take a training process in; whether it is a rank, and not a launcher."""
        pid = values[_P["pid"]]
        if not isinstance(pid, int):
            return False
        self._pids.add(pid)
        started, rank = values[_P["started_us"]], values[_P["rank"]]
        user, system = values[_P["user_ticks"]], values[_P["system_ticks"]]
        if rank is None or not isinstance(started, int):
            return False
        if not isinstance(user, int) or not isinstance(system, int):
            return False
        ticks, job = user + system, str(values[_P["job"]] or "")
        known = self._ranks.get((pid, started))
        if known is None:
            self._ranks[pid, started] = _Rank(job, ticks, now_s, now_s)
            return True
        elapsed_s = now_s - known.seen_s
        if elapsed_s <= 0:
            return True
        if ticks - known.ticks > max(BUSY_SHARE * elapsed_s * TICKS_PER_S, 1):
            known.active_s = now_s
        known.ticks, known.seen_s = ticks, now_s
        return True

    def _jobs(self, now_s: float) -> Iterator[str]:
        for key in [k for k, rank in self._ranks.items() if now_s - rank.seen_s > STILL_S]:
            del self._ranks[key]
        self._pids = self._pids if len(self._pids) < 10_000 else {pid for pid, _ in self._ranks}
        jobs: dict[str, list[_Rank]] = {}
        for rank in self._ranks.values():
            jobs.setdefault(rank.job, []).append(rank)
        for job, ranks in jobs.items():
            still_s = now_s - max(rank.active_s for rank in ranks)
            worked = all(rank.ticks >= WORKED_TICKS for rank in ranks)
            if not worked or still_s <= STILL_S:
                self._told.discard(f"job {job}")
            elif f"job {job}" not in self._told:
                self._told.add(f"job {job}")
                named = f" of job {job}" if job else ""
                yield f"all {len(ranks)} ranks{named} here use no processor for {still_s:.0f} s"

    def _gpu(self, values: Sequence[Value], now_s: float) -> Iterator[str]:
        uuid = str(values[_G["uuid"]])
        counts = [v for at in _BYTES if isinstance(v := values[at], int)]
        before = self._gpus.get(uuid)
        if before is None or not counts or not _idle_watts(values):
            self._gpus[uuid] = _Gpu(sum(counts), now_s, now_s)
            self._told.discard(uuid)
            return
        moved = sum(counts) - before.bytes
        elapsed_s = now_s - before.seen_s
        before.bytes, before.seen_s = sum(counts), now_s
        if moved < 0 or moved > MOVING_BYTES_PER_S * elapsed_s:
            before.moved_s = now_s
            self._told.discard(uuid)
            return
        still_s = now_s - before.moved_s
        held = now_s - self._holders.get(uuid, float("-inf")) <= HOLDS_S
        if still_s > STILL_S and held and uuid not in self._told:
            self._told.add(uuid)
            watts, limit = values[_G["power_w"]], values[_G["power_limit_w"]]
            yield (
                f"GPU {values[_G['gpu_index']]} ({uuid}) is busy at {watts:.0f} W of {limit:.0f} W"
                f" with no bytes moving for {still_s:.0f} s"
            )


def _cells(line: str) -> list[str]:
    """The cells of a line of the journal, without table, time and end."""
    return line.split("\t")[2:-1]


def _told(line: str) -> list[Value]:
    """The cells of a line of ``gpu``; those that are looked at here as numbers."""
    cells: list[Value] = [*_cells(line)]
    for at in _NUMBERS:
        text = str(cells[at])
        try:
            cells[at] = int(text) if text.isdigit() else float(text)
        except ValueError:
            cells[at] = None
    return cells


def _idle_watts(values: Sequence[Value]) -> bool:
    """Whether a GPU says it is busy and draws the power of an idle one."""
    busy, watts = values[_G["utilization_percent"]], values[_G["power_w"]]
    limit = values[_G["power_limit_w"]]
    if not all(isinstance(value, int | float) for value in (busy, watts, limit)):
        return False
    assert isinstance(busy, int | float)
    assert isinstance(watts, int | float)
    assert isinstance(limit, int | float)
    return busy >= BUSY_PERCENT and watts < IDLE_POWER_SHARE * limit
