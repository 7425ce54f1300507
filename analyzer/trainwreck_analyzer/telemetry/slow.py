"""Facts about a run that became slower and went on: what changed on the hosts at that moment.

Each compares the rows before the steps took longer with those since; a state that was there all
along slowed nothing down.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from trainwreck_analyzer import pace
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, literal

READS = {
    "gpu": {
        "uuid", "clock_event_reasons", "temperature_c", "sm_clock_mhz", "utilization_percent",
        "pcie_link_generation", "pcie_link_width",
    },
    "cpu": {"core", "user_ticks", "nice_ticks", "system_ticks", "idle_ticks", "iowait_ticks"},
    "pressure": {"resource", "scope", "some_avg10_percent"},
    "numa": {"node", "local_node_count", "other_node_count"},
    "training_event": {"kind", "path", "line", "rank", "step", "step_time_s"},
}  # fmt: skip
_HEAT_BITS, _BRAKE_BIT = 0x60, 0x80
"""Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html"""
_OFTEN, _SELDOM = 0.3, 0.1
_SEVERAL = 0.5
"""Of a host's GPUs so many that slow down for heat at once have no fault of their own."""
_FEWEST_GPUS = 4
_FEWEST_ROWS = 3
_BUSY_PERCENT = 50
_IDLER_PERCENT = 25
_WORKING_PERCENT = 60
_CPU_FULL = 0.95
_PRESSED_PERCENT = 20.0
_REMOTE = 0.5
_KEPT = 0.95
_MOST_STEPS = 20_000


def find(recording: Recording) -> Iterator[Fact]:
    """Yield when the steps became slower, where only the recorder tells, and what changed then."""
    at = recording.window.slowed_at
    if at is None and (shift := _recorded_shift(recording)) is not None:
        yield shift
        at = shift.time
    if at is None:
        return
    if "gpu" not in recording.empty:
        throttled = [*_heat(recording, at), *_brake(recording, at)]
        yield from throttled
        yield from _narrow(recording, at)
        yield from _waiting(recording, at)
        if not throttled:
            yield from _steady(recording, at)
    if "numa" not in recording.empty:
        yield from _remote(recording, at)


def _recorded_shift(recording: Recording) -> Fact | None:
    """The steps of a followed log that took longer from one on."""
    if "training_event" in recording.empty:
        return None
    sql = (
        "SELECT ts, host, path, line, rank, step, step_time_s FROM training_event"
        f" WHERE kind = 'step' AND step IS NOT NULL AND {recording.during}"
    )
    logs = recording.rows(f"SELECT path, count(*) AS n FROM ({sql}) GROUP BY path ORDER BY n DESC")
    if not logs:
        return None
    own = f"{sql} AND path = {literal(logs[0]['path'])} ORDER BY line LIMIT {_MOST_STEPS}"
    rows = recording.rows(own)
    steps = [pace.Timed(row["step"], row["ts"], row["step_time_s"]) for row in rows]
    found = pace.slower(steps)
    if found is None:
        return None
    row = rows[found.place]
    text = (
        f"from step {row['step']} on each step took {found.after_s:.3g} s instead of"
        f" {found.before_s:.3g} s"
    )
    return fact("recorded_step_time_shift", text, {"ts": row["ts"], "host": row["host"]}, own)


def _compared(recording: Recording, at: datetime, share: str, more: str, where: str) -> list[Row]:
    """A share of each GPU's rows before a moment and since, and more aggregates.

    ``more`` may use ``old`` and ``new`` as conditions on a row.
    """
    old, new = f"ts < {literal(at)}", f"ts >= {literal(at)}"
    more = more.replace("{old}", old).replace("{new}", new)
    return recording.rows(
        f"SELECT host, uuid, {literal(at)} AS ts, avg({share}) FILTER ({old}) AS before,"
        f" avg({share}) FILTER ({new}) AS after, count(*) FILTER ({new}) AS rows, {more} FROM gpu"
        f" WHERE {recording.during} AND {where} GROUP BY host, uuid ORDER BY host, uuid"
    )


def _sql(recording: Recording, row: Row, columns: str) -> str:
    return (
        f"SELECT ts, host, uuid, {columns} FROM gpu WHERE host = {literal(row['host'])}"
        f" AND uuid = {literal(row['uuid'])} AND {recording.during} ORDER BY ts"
    )


_CLOCKS = (
    "median(sm_clock_mhz) FILTER ({old}) AS clock_before,"
    " median(sm_clock_mhz) FILTER ({new}) AS clock_after, max(temperature_c) AS hottest_c"
)


def _held_back(recording: Recording, at: datetime, bits: int) -> list[Row]:
    share = f"((clock_event_reasons & {bits}) <> 0)::INT"
    rows = _compared(recording, at, share, _CLOCKS, "clock_event_reasons IS NOT NULL")
    return [
        row
        for row in rows
        if row["rows"] >= _FEWEST_ROWS
        and (row["after"] or 0) >= _OFTEN
        and (row["before"] or 0) <= _SELDOM
    ]


def _clocks(row: Row) -> str:
    before, after = row["clock_before"], row["clock_after"]
    if before is None or after is None or after >= _KEPT * before:
        return ""
    return f"; its SM clock went from {before:.0f} to {after:.0f} MHz"


def _heat(recording: Recording, at: datetime) -> Iterator[Fact]:
    columns = "clock_event_reasons, temperature_c, sm_clock_mhz"
    rows = _held_back(recording, at, _HEAT_BITS)
    many = _many(recording, rows)
    for row in rows:
        if row["host"] in many:
            continue
        hottest = "" if row["hottest_c"] is None else f", up to {row['hottest_c']} °C"
        text = (
            f"GPU {row['uuid']} slowed down for heat in {row['after']:.0%} of the samples since the"
            f" steps became slower{hottest}, before in {row['before'] or 0:.0%}{_clocks(row)}"
        )
        told = {k: row[k] for k in ("ts", "host", "uuid")}
        yield fact(
            "slow_with_heat", text, told, _sql(recording, row, columns), value=100 * row["after"]
        )
    yield from _of_many(recording, at, many, "slow_with_heat_of_many", "slowed down for heat")


def _brake(recording: Recording, at: datetime) -> Iterator[Fact]:
    rows = _held_back(recording, at, _BRAKE_BIT)
    many = _many(recording, rows)
    for row in rows:
        if row["host"] in many:
            continue
        text = (
            f"the power-brake signal held GPU {row['uuid']} back in {row['after']:.0%} of the"
            f" samples since the steps became slower, before in {row['before'] or 0:.0%}"
            f"{_clocks(row)}"
        )
        told = {k: row[k] for k in ("ts", "host", "uuid")}
        columns = "clock_event_reasons, power_w, sm_clock_mhz"
        yield fact("slow_with_power_brake", text, told, _sql(recording, row, columns))
    held = "were held back by the power-brake signal"
    yield from _of_many(recording, at, many, "slow_with_power_brake_of_many", held)


def _many(recording: Recording, rows: list[Row]) -> dict[str, tuple[int, int]]:
    """Hosts of which most GPUs are among the rows: how many, and how many there are."""
    counted = recording.rows(
        f"SELECT host, count(DISTINCT uuid) AS n FROM gpu WHERE {recording.during} GROUP BY host"
    )
    found: dict[str, tuple[int, int]] = {}
    for one in counted:
        held = sum(row["host"] == one["host"] for row in rows)
        if held >= _FEWEST_GPUS and held >= _SEVERAL * one["n"]:
            found[one["host"]] = (held, one["n"])
    return found


def _of_many(
    recording: Recording, at: datetime, many: dict[str, tuple[int, int]], kind: str, what: str
) -> Iterator[Fact]:
    for host, (held, of) in many.items():
        sql = (
            "SELECT ts, host, uuid, clock_event_reasons, temperature_c, sm_clock_mhz FROM gpu"
            f" WHERE host = {literal(host)} AND clock_event_reasons IS NOT NULL"
            f" AND {recording.during} ORDER BY ts, uuid"
        )
        text = f"{held} of the {of} GPUs of {host} {what} since the steps became slower"
        yield fact(kind, text, {"ts": at, "host": host}, sql, value=float(held))


def _narrow(recording: Recording, at: datetime) -> Iterator[Fact]:
    """A link that lost lanes or speed under load; without load it falls on purpose."""
    for column, unit in (("pcie_link_width", "lanes"), ("pcie_link_generation", "generation")):
        more = f"median({column}) FILTER ({{old}}) AS old, median({column}) FILTER ({{new}}) AS new"
        where = f"utilization_percent >= {_BUSY_PERCENT} AND {column} IS NOT NULL"
        for row in _compared(recording, at, "0", more, where):
            if row["rows"] < _FEWEST_ROWS or row["old"] is None or row["new"] >= row["old"]:
                continue
            text = (
                f"the PCIe link of GPU {row['uuid']} fell from {unit} {row['old']:.0f} to"
                f" {row['new']:.0f} under load when the steps became slower"
                if unit == "generation"
                else f"the PCIe link of GPU {row['uuid']} fell from {row['old']:.0f} to"
                f" {row['new']:.0f} lanes when the steps became slower"
            )
            told = {k: row[k] for k in ("ts", "host", "uuid")}
            yield fact("slow_with_narrow_link", text, told, _sql(recording, row, column))


def _waiting(recording: Recording, at: datetime) -> Iterator[Fact]:
    """GPUs with less to do than before: what fed them became slower, on the host's side."""
    old, new = f"ts < {literal(at)}", f"ts >= {literal(at)}"
    sql = (
        f"SELECT host, {literal(at)} AS ts, median(utilization_percent) FILTER ({old}) AS before,"
        f" median(utilization_percent) FILTER ({new}) AS after FROM gpu"
        f" WHERE {recording.during} AND utilization_percent IS NOT NULL GROUP BY host ORDER BY host"
    )
    for row in recording.rows(sql):
        if row["before"] is None or row["after"] is None:
            continue
        if row["before"] < _WORKING_PERCENT or row["after"] > row["before"] - _IDLER_PERCENT:
            continue
        text = (
            f"the GPUs of {row['host']} were {row['after']:.0f} % busy since the steps became"
            f" slower, before {row['before']:.0f} %"
        )
        kind = "slow_gpus_waited"
        cores, pressed = _cores(recording, row["host"], at), _pressed(recording, row["host"], at)
        if cores is not None and cores >= _CPU_FULL:
            kind, text = "slow_with_full_cpu", f"{text}; its processors were {cores:.0%} in use"
        elif pressed is not None and pressed >= _PRESSED_PERCENT:
            kind = "slow_with_storage"
            text += f"; tasks waited for storage {pressed:.0f} % of the time"
        yield fact(kind, text, {"ts": row["ts"], "host": row["host"]}, sql)


def _cores(recording: Recording, host: str, at: datetime) -> float | None:
    """Share of the host's processor time in use since a moment."""
    if "cpu" in recording.empty:
        return None
    busy = "user_ticks + coalesce(nice_ticks, 0) + system_ticks"
    idle = "idle_ticks + coalesce(iowait_ticks, 0)"
    rows = recording.rows(
        f"SELECT max({busy}) - min({busy}) AS busy, max({idle}) - min({idle}) AS idle FROM cpu"
        f" WHERE core = 'all' AND host = {literal(host)} AND ts >= {literal(at)}"
        f" AND {recording.during}"
    )
    busy_ticks, idle_ticks = rows[0]["busy"], rows[0]["idle"]
    if busy_ticks is None or idle_ticks is None or busy_ticks + idle_ticks <= 0:
        return None
    return float(busy_ticks / (busy_ticks + idle_ticks))


def _pressed(recording: Recording, host: str, at: datetime) -> float | None:
    """Median share of time since a moment in which some task waited for storage, per cent."""
    if "pressure" in recording.empty:
        return None
    rows = recording.rows(
        "SELECT median(some_avg10_percent) AS pressed FROM pressure WHERE resource = 'io'"
        f" AND scope = 'host' AND host = {literal(host)} AND ts >= {literal(at)}"
        f" AND {recording.during}"
    )
    pressed: float | None = rows[0]["pressed"]
    return pressed


def _remote(recording: Recording, at: datetime) -> Iterator[Fact]:
    """Memory that is taken from the other socket, and was not before."""
    parts = []
    for name, when in (("before", "<"), ("after", ">=")):
        rises = [
            f"sum(n) FILTER (kind = '{kind}' AND ts {when} {literal(at)})"
            for kind in ("other", "local")
        ]
        parts.append(f"{rises[0]} / nullif({rises[0]} + {rises[1]}, 0) AS {name}")
    rises_sql = " UNION ALL ".join(
        f"SELECT ts, host, '{kind}' AS kind, greatest({kind}_node_count - lag({kind}_node_count)"
        f" OVER (PARTITION BY host, node ORDER BY ts), 0) AS n FROM numa WHERE {recording.during}"
        for kind in ("other", "local")
    )
    sql = f"SELECT host, {', '.join(parts)} FROM ({rises_sql}) GROUP BY host ORDER BY host"
    for row in recording.rows(sql):
        before, after = row["before"] or 0.0, row["after"]
        if after is None or after < _REMOTE or before > after / 2:
            continue
        text = (
            f"{after:.0%} of the memory that {row['host']} gave out since the steps became slower"
            f" was of another NUMA node than the task, before {before:.0%}"
        )
        yield fact("slow_with_remote_memory", text, {"ts": at, "host": row["host"]}, sql)


def _steady(recording: Recording, at: datetime) -> Iterator[Fact]:
    """Speaks against heat and power: every GPU kept its clock and none was held back."""
    share = f"((clock_event_reasons & {_HEAT_BITS | _BRAKE_BIT}) <> 0)::INT"
    rows = _compared(recording, at, share, _CLOCKS, "clock_event_reasons IS NOT NULL")
    for host in dict.fromkeys(row["host"] for row in rows):
        own = [row for row in rows if row["host"] == host]
        if any(row["rows"] < _FEWEST_ROWS or row["after"] > _SELDOM for row in own):
            continue
        if any((r["clock_after"] or 0) < _KEPT * (r["clock_before"] or 0) for r in own):
            continue
        sql = (
            "SELECT ts, host, uuid, clock_event_reasons, sm_clock_mhz FROM gpu"
            f" WHERE host = {literal(host)} AND {recording.during} ORDER BY uuid, ts"
        )
        text = (
            f"the {len(own)} GPUs of {host} kept their clocks and were not held back for heat or"
            " power when the steps became slower"
        )
        yield fact("slow_gpus_steady", text, {"ts": at, "host": host}, sql, evidence="absence")
