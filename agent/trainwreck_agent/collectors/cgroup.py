"""Control groups of training processes: memory, processor time, I/O, tasks, pressure.

Those above them that set a limit come too: a batch system limits the job, not the task.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html

``/sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.events``::

    low 0
    high 0
    max 12
    oom 3
    oom_kill 3
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent import ranks
from trainwreck_agent.cgroup import UNLIMITED_FROM_BYTES
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.collectors.pressure import RESOURCES
from trainwreck_agent.collectors.pressure import parse as parse_pressure
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.process import CGROUP
from trainwreck_agent.tables.system import PRESSURE

ROOT = "/sys/fs/cgroup"
GROUPS_MAX = 128
_INT64_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one group lie; '' where a controller has no group of its own here."""

    version: str
    path: str
    memory: str
    cpu: str = ""
    cpuacct: str = ""
    io: str = ""
    pids: str = ""
    pressure: str = ""

    @property
    def label(self) -> str:
        """As ``process.cgroup`` names it."""
        return f"{self.version}:{self.path}"


class Cgroups(Collector):
    """Reads ``/sys/fs/cgroup`` for the groups that training processes are in."""

    name = "cgroup"
    every_s = 5.0
    may_block = True
    tables = (CGROUP, PRESSURE)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.list(ROOT):
            raise Unavailable(f"{ROOT}: no control groups are mounted here")
        self._unified = (
            ROOT if host.exists(f"{ROOT}/cgroup.controllers") else f"{ROOT}/unified"
        )  # hybrid systems mount the second version apart
        self._ranks = ranks.shared(host)

    def collect(self) -> Iterator[Row]:
        """Yield a row a group, and one a resource with its pressure."""
        for place, count in self._places().items():
            row = self._row(place, count)
            if row is not None:
                yield row
                yield from self._pressure(place)

    def _places(self) -> dict[Place, int]:
        found: dict[Place, int] = {}
        for process in self._ranks.now():
            data = self.host.read(f"/proc/{process.pid}/cgroup") or b""
            for place in self._of(memberships(data)):
                if place in found or len(found) < GROUPS_MAX:
                    found[place] = found.get(place, 0) + 1
        return found

    def _of(self, groups: dict[str, str]) -> Iterator[Place]:
        """The process' own group, then those above it that set a limit."""
        unified = groups.get("", "/")
        if groups.get("memory", "/") != "/":
            yield self._first_version(groups, groups["memory"])
            for path in above(groups["memory"]):
                limit = self._number(f"{ROOT}/memory{path}/memory.limit_in_bytes")
                if limit is not None and limit < UNLIMITED_FROM_BYTES:
                    yield Place("v1", path, f"{ROOT}/memory{path}")
        elif unified != "/":
            yield self._second_version(unified)
            for path in above(unified):
                if self._number(f"{self._unified}{path}/memory.max") is not None:
                    yield self._second_version(path)

    def _first_version(self, groups: dict[str, str], path: str) -> Place:
        def folder(controller: str) -> str:
            own = groups.get(controller, "/")
            return "" if own == "/" else f"{ROOT}/{controller}{own}"

        unified = groups.get("", "/")
        pressure = "" if unified == "/" else self._unified + unified
        return Place("v1", path, f"{ROOT}/memory{path}", folder("cpu"), folder("cpuacct"),
                     folder("blkio"), folder("pids"), pressure)  # fmt: skip

    def _second_version(self, path: str) -> Place:
        folder = self._unified + path
        return Place("v2", path, folder, folder, folder, folder, folder, folder)

    def _row(self, place: Place, count: int) -> Row | None:
        memory = self._memory_v1(place) if place.version == "v1" else self._memory_v2(place)
        if memory[0] is None:
            return None  # removed with its last process, or not visible from here
        tasks = self._number(f"{place.pids}/pids.current") if place.pids else None
        tasks_max = self._number(f"{place.pids}/pids.max") if place.pids else None
        values = (place.label, count, *memory, *self._cpu(place), *self._io(place), tasks)
        return Row(CGROUP, (*values, tasks_max))

    def _memory_v2(self, place: Place) -> tuple[Value, ...]:
        folder = place.memory
        s = numbers(self.host.read(f"{folder}/memory.stat") or b"")
        e = numbers(self.host.read(f"{folder}/memory.events") or b"")
        return (
            *(self._number(f"{folder}/memory.{what}") for what in ("current", "peak", "high")),
            self._number(f"{folder}/memory.max"),
            self._number(f"{folder}/memory.swap.current"),
            *(s.get(key) for key in ("anon", "file", "shmem", "kernel", "sock", "file_dirty")),
            *(e.get(key) for key in ("high", "max", "oom", "oom_kill")),
            s.get("pgmajfault"),
        )

    def _memory_v1(self, place: Place) -> tuple[Value, ...]:
        folder = place.memory
        s = numbers(self.host.read(f"{folder}/memory.stat") or b"")
        limit = self._number(f"{folder}/memory.limit_in_bytes")
        return (
            self._number(f"{folder}/memory.usage_in_bytes"),
            self._number(f"{folder}/memory.max_usage_in_bytes"),
            None,
            None if limit is None or limit >= UNLIMITED_FROM_BYTES else limit,
            *(s.get(key) for key in ("total_swap", "total_rss", "total_cache", "total_shmem")),
            self._number(f"{folder}/memory.kmem.usage_in_bytes"),
            self._number(f"{folder}/memory.kmem.tcp.usage_in_bytes"),
            s.get("total_dirty"),
            None,
            self._number(f"{folder}/memory.failcnt"),
            None,
            numbers(self.host.read(f"{folder}/memory.oom_control") or b"").get("oom_kill"),
            s.get("total_pgmajfault"),
        )

    def _cpu(self, place: Place) -> tuple[Value, ...]:
        """``(cpu_us, periods_count, throttled_count, throttled_us)``."""
        stat = numbers(self.host.read(f"{place.cpu}/cpu.stat") or b"") if place.cpu else {}
        used_us, held_us = stat.get("usage_usec"), stat.get("throttled_usec")
        if place.version == "v1":
            ns = self._number(f"{place.cpuacct}/cpuacct.usage") if place.cpuacct else None
            used_us = None if ns is None else ns // 1000
            held_ns = stat.get("throttled_time")
            held_us = None if held_ns is None else held_ns // 1000
        return used_us, stat.get("nr_periods"), stat.get("nr_throttled"), held_us

    def _io(self, place: Place) -> tuple[Value, ...]:
        """``(read_bytes, written_bytes, reads_count, writes_count)`` of all devices."""
        if not place.io:
            return (None,) * 4
        if place.version == "v2":
            return io_totals(self.host.read(f"{place.io}/io.stat"))
        size = self.host.read(f"{place.io}/blkio.throttle.io_service_bytes")
        count = self.host.read(f"{place.io}/blkio.throttle.io_serviced")
        return (*blkio_totals(size), *blkio_totals(count))

    def _pressure(self, place: Place) -> Iterator[Row]:
        for resource in RESOURCES if place.pressure else ():
            data = self.host.read(f"{place.pressure}/{resource}.pressure")
            if data:
                yield Row(PRESSURE, (resource, place.label, *parse_pressure(data)))

    def _number(self, path: str) -> int | None:
        data = self.host.read(path)
        return None if data is None else number(data)


def memberships(data: bytes) -> dict[str, str]:
    """Path by controller out of ``/proc/PID/cgroup``; '' is the second version's hierarchy."""
    found: dict[str, str] = {}
    for line in data.splitlines():
        _, _, rest = line.partition(b":")
        controllers, colon, path = rest.partition(b":")
        place = path.decode("utf-8", "replace")
        if not colon or not place.startswith("/") or "\0" in place or "/../" in f"{place}/":
            continue  # outside of what this process may see
        for controller in controllers.decode("ascii", "replace").split(","):
            found.setdefault(controller, place)
    return found


def above(path: str) -> Iterator[str]:
    """The groups above ``path``, nearest first, without the root."""
    while (path := path.rpartition("/")[0]) not in ("", "/"):
        yield path


def number(data: bytes) -> int | None:
    """The number in a file of one; None for ``max`` and anything else."""
    word = data.strip()
    value = int(word) if word.isdigit() and len(word) < 20 else None
    return value if value is None or value <= _INT64_MAX else None


def numbers(data: bytes) -> dict[str, int]:
    """Lines of ``key number``."""
    found: dict[str, int] = {}
    for line in data.splitlines():
        key, _, value = line.partition(b" ")
        if (n := number(value)) is not None:
            found[key.decode("ascii", "replace")] = n
    return found


def io_totals(data: bytes | None) -> tuple[Value, ...]:
    """Sums of ``io.stat``: lines such as ``8:0 rbytes=1 wbytes=2 rios=3 wios=4``."""
    if data is None:
        return (None,) * 4
    sums = dict.fromkeys((b"rbytes", b"wbytes", b"rios", b"wios"), 0)
    for word in data.split():
        key, _, value = word.partition(b"=")
        if key in sums:
            sums[key] += number(value) or 0
    return tuple(min(value, _INT64_MAX) for value in sums.values())


def blkio_totals(data: bytes | None) -> tuple[Value, Value]:
    """Sums of ``blkio.throttle.*``: lines such as ``8:0 Read 4096``."""
    if data is None:
        return None, None
    sums = {b"Read": 0, b"Write": 0}
    for line in data.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in sums:
            sums[words[1]] += number(words[2]) or 0
    return min(sums[b"Read"], _INT64_MAX), min(sums[b"Write"], _INT64_MAX)
