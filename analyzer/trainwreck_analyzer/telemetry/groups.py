"""Facts about control groups: memory at the limit, kills for it, a quota that holds back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import rules
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, literal

READS = {
    "cgroup": {
        "path", "memory_bytes", "memory_max_bytes", "file_bytes", "shmem_bytes", "oom_kill_count",
        "cpu_us", "periods_count", "throttled_count",
    },
    "process": {
        "role", "job", "cgroup", "cgroup_memory_bytes", "cgroup_memory_max_bytes",
        "cgroup_oom_kill_count",
    },
    "memory": {"available_bytes", "total_bytes"},
    "gpu": {"utilization_percent"},
}  # fmt: skip
_AT_LIMIT = 0.9
_HELD_MIN = 0.7
"""So much of the limit must be memory that cannot be dropped: page cache fills a healthy group."""
_CACHE_AGE_S = 10.0
_HOST_FREE = 0.05
"""A host with more than this share available had memory left: the limit was the group's."""
_PERIODS_MIN = 100
_THROTTLED_MIN = 0.5
_GPU_IDLE_PERCENT = 60.0
_KILLS = (
    rules.Counter(
        kind="cgroup_oom_kill_counted", view="process", column="cgroup_oom_kill_count", text="",
        by=["cgroup"], where="role = 'training' AND cgroup IS NOT NULL",
    ),
    rules.Counter(
        kind="cgroup_oom_kill_counted", view="cgroup", column="oom_kill_count", text="",
        by=["path"],
    ),
)  # fmt: skip


def find(recording: Recording) -> Iterator[Fact]:
    """Yield what happened to the control groups of the jobs asked about."""
    if "process" in recording.empty and "cgroup" in recording.empty:
        return
    limits = _limits(recording)
    yield from _kills(recording, limits)
    yield from _at_limit(recording, limits)
    if "cgroup" not in recording.empty:
        yield from _held_back(recording, limits)


Limits = dict[tuple[str, str], int | None]
"""Limit in bytes by host and path; None: none was told."""


def _limits(recording: Recording) -> Limits:
    """The groups of the jobs asked about, and those above them that the recorder followed."""
    own = recording.rows(
        "SELECT host, cgroup AS path, max(cgroup_memory_max_bytes) AS max_bytes FROM process"
        f" WHERE {recording.during} AND {recording.of_job} AND role = 'training'"
        " AND cgroup IS NOT NULL GROUP BY host, cgroup"
    )
    followed = recording.rows(
        "SELECT host, path, arg_max(memory_max_bytes, ts) AS max_bytes FROM cgroup"
        f" WHERE {recording.during} GROUP BY host, path"
    )
    limits: Limits = {}
    for row in (*own, *followed):
        known = not own or any(
            row["host"] == one["host"] and f"{one['path']}/".startswith(f"{row['path']}/")
            for one in own
        )
        if known:
            key = (row["host"], row["path"])
            limits[key] = limits.get(key) or row["max_bytes"]
    return limits


def _kills(recording: Recording, limits: Limits) -> Iterator[Fact]:
    """Of groups within each other the innermost: those above count the same kill."""
    found: dict[tuple[str, str], Fact] = {}
    for rule in _KILLS:
        during = recording.during
        if rule.view == "process":
            during += f" AND {recording.of_job}"
        for row in recording.rows(rules.counter_sql(rule, during)):
            path = row[rule.by[0]]
            key = (row["host"], path)
            if key in found or key not in limits:
                continue
            if not recording.may_be_ours(row["host"], None, (9,), row["ts"]):
                continue
            text = f"the oom_kill counter of memory cgroup {path}{_limit(limits[key], ', limit ')}"
            sql = rules.counter_sql(rule, f"{during} AND {rule.by[0]} = {literal(path)}")
            found[key] = fact(
                rule.kind, f"{text} rose by {row['delta']}", row, sql,
                value=float(row["delta"]), device=path,
            )  # fmt: skip
    for (host, path), one in found.items():
        if not any(host == h and other.startswith(f"{path}/") for h, other in found):
            yield one


def _at_limit(recording: Recording, limits: Limits) -> Iterator[Fact]:
    caches: dict[tuple[str, str], list[Row]] = {}
    for row in recording.rows(
        "SELECT host, path, epoch(ts) AS at_s, greatest(coalesce(file_bytes, 0)"
        " - coalesce(shmem_bytes, 0), 0) AS cache_bytes FROM cgroup"
        f" WHERE {recording.during} AND file_bytes IS NOT NULL ORDER BY ts"
    ):
        caches.setdefault((row["host"], row["path"]), []).append(row)
    told: set[tuple[str, str]] = set()
    for sql in (_process_sql(recording), _group_sql(recording)):
        for row in recording.rows(sql):
            key = (row["host"], row["path"])
            if key in told or key not in limits or _droppable(row, caches.get(key, [])):
                continue
            told.add(key)
            share = row["share"]
            text = f"memory cgroup {row['path']} reached {100 * share:.1f} % of its"
            text += f"{_limit(row['max_bytes'], ' limit of ') or ' limit'}{_host(recording, row)}"
            column = "cgroup" if sql == _process_sql(recording) else "path"
            one = f" AND host = {literal(row['host'])} AND {column} = {literal(row['path'])} GROUP"
            shown = {k: v for k, v in row.items() if k not in ("high_s", "share")}
            yield fact(
                "cgroup_memory_at_limit", text, shown, sql.replace(" GROUP", one, 1),
                value=100 * share, device=row["path"],
            )  # fmt: skip


def _process_sql(recording: Recording) -> str:
    return (
        "SELECT host, cgroup AS path, min(ts) AS ts, epoch(arg_max(ts, cgroup_memory_bytes))"
        " AS high_s, max(cgroup_memory_bytes / cgroup_memory_max_bytes) AS share,"
        " max(cgroup_memory_max_bytes) AS max_bytes FROM process"
        f" WHERE {recording.during} AND {recording.of_job} AND role = 'training'"
        f" AND cgroup_memory_bytes >= {_AT_LIMIT} * cgroup_memory_max_bytes GROUP BY host, cgroup"
    )


def _group_sql(recording: Recording) -> str:
    return (
        "SELECT host, path, min(ts) AS ts, epoch(arg_max(ts, memory_bytes)) AS high_s,"
        " max(memory_bytes / memory_max_bytes) AS share, max(memory_max_bytes) AS max_bytes"
        f" FROM cgroup WHERE {recording.during}"
        f" AND memory_bytes >= {_AT_LIMIT} * memory_max_bytes GROUP BY host, path"
    )


def _droppable(row: Row, caches: list[Row]) -> bool:
    """Whether the group was full of page cache, which the kernel drops when memory is wanted."""
    near = [c["cache_bytes"] for c in caches if abs(c["at_s"] - row["high_s"]) <= _CACHE_AGE_S]
    held = row["share"] - min(near, default=0) / row["max_bytes"]
    return bool(held < _HELD_MIN)


def _limit(max_bytes: int | None, before: str) -> str:
    return "" if max_bytes is None else f"{before}{max_bytes / 2**30:.2f} GiB"


def _host(recording: Recording, row: Row) -> str:
    """What the host had left then, where it was not the host that was full."""
    left = recording.rows(
        "SELECT min(available_bytes) AS low, any_value(total_bytes) AS total FROM memory"
        f" WHERE {recording.during} AND host = {literal(row['host'])}"
        f" AND abs(epoch(ts) - {row['high_s']}) <= {_CACHE_AGE_S}"
    )
    low, total = (left[0]["low"], left[0]["total"]) if left else (None, None)
    if low is None or total is None or low < _HOST_FREE * total:
        return ""
    return f"; the host itself had {low / 2**30:.1f} GiB available"


def _held_back(recording: Recording, limits: Limits) -> Iterator[Fact]:
    sql = (
        "SELECT ts, host, path, cpu_us, periods_count, throttled_count FROM cgroup"
        f" WHERE {recording.during} AND periods_count IS NOT NULL ORDER BY host, path, ts"
    )
    for (host, path), group in groupby(recording.rows(sql), lambda r: (r["host"], r["path"])):
        rows = list(group)
        periods, throttled, cpu_us, seconds = _rises(rows)
        if (host, path) not in limits or periods < _PERIODS_MIN:
            continue
        share = throttled / periods
        if share < _THROTTLED_MIN:
            continue
        used = f"; it used {cpu_us / 1e6 / seconds:.1f} cores on average" if cpu_us else ""
        text = (
            f"the CPU quota held cgroup {path} back in {share:.0%} of its {periods} periods{used}"
        )
        kind, busy = "cgroup_cpu_throttled", _gpu_busy(recording, host)
        if busy is not None:
            text += f"; the GPUs of the host were {busy:.0f} % busy"
            kind = "cpu_quota_starves_gpu" if busy < _GPU_IDLE_PERCENT else kind
        own = (
            f"SELECT ts, path, cpu_us, periods_count, throttled_count FROM cgroup"
            f" WHERE {recording.during} AND host = {literal(host)} AND path = {literal(path)}"
            " ORDER BY ts"
        )
        told = {"ts": rows[0]["ts"], "host": host, "path": path}
        yield fact(kind, text, told, own, value=100 * share, device=path)


def _rises(rows: list[Row]) -> tuple[int, int, int, float]:
    """How much periods, throttled periods and processor time grew; a reset is no growth."""
    periods = throttled = cpu_us = 0
    for before, after in pairwise(rows):
        grown = after["periods_count"] - before["periods_count"]
        held = (after["throttled_count"] or 0) - (before["throttled_count"] or 0)
        used = (after["cpu_us"] or 0) - (before["cpu_us"] or 0)
        if grown >= 0 and held >= 0 and used >= 0:
            periods, throttled, cpu_us = periods + grown, throttled + held, cpu_us + used
    return periods, throttled, cpu_us, max((rows[-1]["ts"] - rows[0]["ts"]).total_seconds(), 1.0)


def _gpu_busy(recording: Recording, host: str) -> float | None:
    if "gpu" in recording.empty:
        return None
    rows = recording.rows(
        "SELECT avg(utilization_percent) AS busy FROM gpu"
        f" WHERE {recording.during} AND host = {literal(host)}"
    )
    busy: float | None = rows[0]["busy"]
    return busy
