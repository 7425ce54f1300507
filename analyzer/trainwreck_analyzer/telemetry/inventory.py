"""Facts about what hosts have and run: services that stopped, versions and settings that differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, Row, fact, literal

READS = {
    "service": {"name", "running", "pid", "started_us"},
    "software": {"kind", "name", "path", "version"},
    "setting": {"name", "subject", "value"},
    "network": {"interface", "carrier", "mtu_bytes"},
    "pcie": {"pci", "role", "parent"},
}
FABRIC = ("nvidia-fabricmanager", "nvidia-imex")
"""Services without which GPUs cannot reach each other over NVLink."""
_LOOKED_EVERY = timedelta(seconds=60)
"""Pace of the collector of services: a row comes so late at most."""
_RECENT = timedelta(days=7)
"""A change before that is no news, where no good run is known."""
_COLLECTIVES = ("libnccl", "librccl")
_VIRTUAL = r"(lo|veth.*|docker.*|br-.*|cali.*|cni.*|flannel.*|virbr.*|tun.*|tap.*|dummy.*)"
_FILE = re.compile(r"[^/]*\Z")


def find(recording: Recording) -> Iterator[Fact]:
    """Yield what the inventory says of a failure."""
    if "service" not in recording.empty:
        yield from _services(recording)
    if "software" not in recording.empty:
        yield from _software(recording)
    if "setting" not in recording.empty and "pcie" not in recording.empty:
        yield from _acs(recording)
    if "network" not in recording.empty:
        yield from _mtu(recording)


def _first_bad_end(recording: Recording, host: str) -> datetime | None:
    return min((r["ts"] for r in recording.bad_ends if r["host"] == host), default=None)


def _services(recording: Recording) -> Iterator[Fact]:
    """Fabric services that ran and then did not, or not the same, before the first bad end."""
    names = ", ".join(literal(name) for name in FABRIC)
    sql = (
        "SELECT ts, host, name, running, pid, started_us FROM service"
        f" WHERE name IN ({names}) AND ts <= {literal(recording.window.end)}"
        " ORDER BY host, name, ts"
    )
    for (host, name), rows in groupby(recording.rows(sql), lambda r: (r["host"], r["name"])):
        first = _first_bad_end(recording, host)
        latest = recording.window.end if first is None else first + _LOOKED_EVERY
        for before, after in pairwise(rows):
            changed = (before["pid"], before["started_us"]) != (after["pid"], after["started_us"])
            if not before["running"] or not changed:
                continue
            if not recording.window.start <= after["ts"] <= latest:
                continue
            kind = "fabric_service_restarted" if after["running"] else "fabric_service_stopped"
            how = "was restarted" if after["running"] else "stopped"
            since = after["ts"] - _LOOKED_EVERY
            text = (
                f"{name} (pid {before['pid']}) {how} between {since:%H:%M:%S} and"
                f" {after['ts']:%H:%M:%S} UTC"
            )
            own = (
                "SELECT ts, host, name, running, pid, started_us FROM service"
                f" WHERE host = {literal(host)} AND name = {literal(name)}"
                f" AND ts <= {literal(after['ts'])} ORDER BY ts"
            )
            yield fact(kind, text, after, own, device=name)


def _software(recording: Recording) -> Iterator[Fact]:
    sql = (
        "SELECT ts, host, kind, name, path, version FROM software"
        f" WHERE version IS NOT NULL AND ts <= {literal(recording.window.end)} ORDER BY ts"
    )
    rows = recording.rows(sql)
    yield from _changed(recording, rows)
    yield from _driver_and_library(recording, rows)
    yield from _among_hosts(recording, rows)


def _place(row: Row) -> tuple[str, str, str, str]:
    """What tells one installation from another: a library's file name holds its version."""
    folder = _FILE.sub("", row["path"]) if row["kind"] == "library" else row["path"]
    return row["host"], row["kind"], row["name"], folder


def _changed(recording: Recording, rows: list[Row]) -> Iterator[Fact]:
    """What has another version than in the last run that ended well, or than a week ago."""
    found: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] != "firmware" and row["name"] != "libc10":
            found[_place(row)].append(row)
    for (host, kind, name, folder), seen in found.items():
        after = seen[-1]
        before = next((r for r in reversed(seen) if r["version"] != after["version"]), None)
        first = _first_bad_end(recording, host)
        if before is None or (first is not None and after["ts"] > first):
            continue
        since = seen[seen.index(before) + 1]["ts"]
        good = _last_good_run(recording, host)
        if since < (good or recording.window.start - _RECENT):
            continue
        when = f"on {before['ts']:%Y-%m-%d %H:%M} UTC"
        if good is not None:
            when = f"when ranks last ended well ({good:%Y-%m-%d %H:%M} UTC)"
        text = (
            f"{kind} {name} is {after['version']} since {since:%Y-%m-%d %H:%M} UTC; it was"
            f" {before['version']} {when}"
        )
        own = (
            "SELECT ts, host, kind, name, path, version FROM software"
            f" WHERE host = {literal(host)} AND kind = {literal(kind)} AND name = {literal(name)}"
            f" AND starts_with(path, {literal(folder)}) ORDER BY ts"
        )
        # When it changed is no time at which something went wrong.
        told = {"host": host, "name": name, "before": before["version"], "after": after["version"]}
        yield fact(f"{kind}_changed", text, told, own, evidence="inventory", device=name)


def _last_good_run(recording: Recording, host: str) -> datetime | None:
    rows = recording.rows(
        "SELECT max(ts) AS ts FROM process_exit WHERE rank IS NOT NULL AND exit_code = 0"
        f" AND host = {literal(host)} AND ts < {literal(recording.window.start)}"
    )
    ts: datetime | None = rows[0]["ts"]
    return ts


def _driver_and_library(recording: Recording, rows: list[Row]) -> Iterator[Fact]:
    """The user-space half of the driver that ranks have loaded, of another version than it.

    libcuda of the compatibility package may be newer than the driver.
    Source: https://docs.nvidia.com/deploy/cuda-compatibility/
    """
    drivers = {r["host"]: r for r in rows if r["kind"] == "driver" and r["name"] == "nvidia"}
    told: set[tuple[str, str]] = set()
    for row in rows:
        driver = drivers.get(row["host"])
        if driver is None or row["kind"] != "library" or row["ts"] < driver["ts"]:
            continue
        if row["name"] not in ("libcuda", "libnvidia-ml") or "compat" in row["path"]:
            continue
        if row["version"] == driver["version"] or row["version"].count(".") < 1:
            continue
        if (row["host"], row["path"]) in told:
            continue
        told.add((row["host"], row["path"]))
        text = (
            f"a training process has loaded {row['path']}, version {row['version']}; the driver in"
            f" the kernel is {driver['version']}"
        )
        own = (
            "SELECT ts, host, kind, name, path, version FROM software"
            f" WHERE host = {literal(row['host'])} AND path IN"
            f" ({literal(row['path'])}, {literal(driver['path'])}) ORDER BY ts"
        )
        shown = {**row, "driver": driver["version"]}
        yield fact("driver_library_differs", text, shown, own, evidence="inventory")


def _among_hosts(recording: Recording, rows: list[Row]) -> Iterator[Fact]:
    """The collective library, where each host has one version and they differ."""
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if row["name"] in _COLLECTIVES and row["ts"] >= recording.window.start:
            versions[row["name"]][row["host"]].add(row["version"])
    for name, hosts in versions.items():
        if any(len(found) > 1 for found in hosts.values()):
            continue
        by_version = _by_value({host: next(iter(found)) for host, found in hosts.items()})
        if len(by_version) < 2:
            continue
        text = f"{name} differs between the hosts: {_listed(by_version)}"
        own = (
            "SELECT ts, host, name, path, version FROM software"
            f" WHERE name = {literal(name)} AND {recording.during} ORDER BY host"
        )
        told = {"name": name}
        yield fact("library_differs", text, told, own, evidence="inventory", device=name)


def _mtu(recording: Recording) -> Iterator[Fact]:
    """Interfaces of one name that are up with different MTUs."""
    sql = (
        "SELECT interface, host, arg_max(mtu_bytes, ts) AS mtu_bytes FROM network"
        f" WHERE {recording.during} AND carrier AND mtu_bytes IS NOT NULL"
        f" AND NOT regexp_full_match(interface, {literal(_VIRTUAL)})"
        " GROUP BY interface, host ORDER BY interface, host"
    )
    for interface, rows in groupby(recording.rows(sql), lambda r: r["interface"]):
        by_mtu = _by_value({row["host"]: str(row["mtu_bytes"]) for row in rows})
        if len(by_mtu) < 2:
            continue
        text = f"the MTU of {interface} differs between the hosts: {_listed(by_mtu)}"
        own = (
            "SELECT host, interface, arg_max(mtu_bytes, ts) AS mtu_bytes FROM network"
            f" WHERE {recording.during} AND interface = {literal(interface)}"
            " GROUP BY host, interface ORDER BY host"
        )
        told = {"interface": interface}
        yield fact("mtu_differs", text, told, own, evidence="inventory", device=interface)


def _by_value(of_host: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for host, value in sorted(of_host.items()):
        found[value].append(host)
    return found


def _listed(by_value: dict[str, list[str]]) -> str:
    """The rarest value last: it is the odd one."""
    parts = []
    for value, hosts in sorted(by_value.items(), key=lambda item: -len(item[1])):
        more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
        parts.append(f"{value} on {', '.join(hosts[:3])}{more}")
    return "; ".join(parts)


def _acs(recording: Recording) -> Iterator[Fact]:
    """Bridges above GPUs that send what goes from one device to the other through the root.

    A guest of a hypervisor does not see these bridges' registers, so it is silent there.
    Source: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    """
    sql = (
        "SELECT s.host, s.subject, max(s.ts) AS ts, arg_max(s.value, s.ts) AS value,"
        " any_value(p.pci) AS pci FROM setting s JOIN pcie p"
        " ON p.host = s.host AND p.parent = s.subject AND p.role = 'gpu'"
        f" WHERE s.name = 'acs' AND s.ts <= {literal(recording.window.end)}"
        f" AND p.ts BETWEEN {literal(recording.window.start)} AND {literal(recording.window.end)}"
        " GROUP BY s.host, s.subject HAVING value LIKE '%RR%' AND value LIKE '%CR%'"
        " ORDER BY s.host, s.subject"
    )
    rows = recording.rows(sql)
    for host, group in groupby(rows, lambda r: r["host"]):
        bridges = list(group)
        one = bridges[0]
        more = f" and {len(bridges) - 1} more bridges" if len(bridges) > 1 else ""
        text = (
            f"access control (ACS {one['value']}) is on at bridge {one['subject']}{more}, above GPU"
            f" {one['pci']}: traffic between GPUs goes through the root complex"
        )
        told = {"host": host, "pci": None}
        yield fact("acs_redirects", text, told, sql, evidence="inventory")
