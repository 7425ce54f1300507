"""Logs of a run on many hosts, as an engineer collects them: one for each rank, one kernel log each.

Nothing in them names a zone or a year unless a test says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)
STEP_S = 10
STEPS = 60
FAILED = START + timedelta(seconds=STEPS * STEP_S)
TIMEOUT_S = 600
XID_79 = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4731, name=python, GPU has fallen off the bus."


def after(seconds: float, hours: float = 0.0) -> datetime:
    """So long after the last step, on a clock that is so many hours ahead of UTC."""
    return FAILED + timedelta(seconds=seconds, hours=hours)


def steps(rank: int, hours: float = 0.0, *, skew_s: float = 0.0, count: int = STEPS) -> list[str]:
    """What a rank prints while all is well."""
    told = []
    for n in range(count):
        at = START + timedelta(seconds=STEP_S * n + skew_s, hours=hours)
        told.append(
            f"{at:%Y-%m-%d %H:%M:%S},{37 * n % 1000:03} INFO [rank{rank}]: step {n + 1}"
            f" loss {3 - 0.003 * n:.4f} grad_norm 0.9{n % 7}"
        )
    return told


def timeout(rank: int, hours: float = 0.0, *, skew_s: float = 0.0, seq: int = 1234) -> str:
    """What a rank prints that waited in vain for the others since the last step."""
    at = after(TIMEOUT_S + skew_s, hours)
    return (
        f"[rank{rank}]:[E{at:%m%d %H:%M:%S}.{123456789 + rank} ProcessGroupNCCL.cpp:616]"
        f" [Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={seq},"
        f" OpType=ALLREDUCE, NumelIn=4096, NumelOut=4096, Timeout(ms)={TIMEOUT_S * 1000})"
        f" ran for {TIMEOUT_S * 1000 + 5} milliseconds before timing out."
    )


def kernel(host: str, *lines: tuple[float, str], hours: float = 0.0) -> str:
    """A kernel log with lines so many seconds after the last step, and an ordinary one before."""
    told = [(-4 * 3600.0, "IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready"), *lines]
    return "".join(
        f"{after(s, hours):%b %d %H:%M:%S} {host} kernel: [{20000 + s:12.6f}] {text}\n"
        for s, text in told
    )


def put(folder: Path, name: str, lines: Sequence[str] | str) -> None:
    """Write one file of the case."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines if isinstance(lines, str) else "\n".join(lines) + "\n")
