"""Processor time of the host and of each core.

Source: https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat

``/proc/stat``::

    cpu  1705 0 2071 330112 96 0 21 4 0 0
    cpu0 811 0 1102 164893 44 0 11 2 0 0
    ctxt 484731
    btime 1764000000
    processes 4711
    procs_running 1
    procs_blocked 0
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import CPU

_TICK_FIELDS = 8
_CORES_EVERY = 10
_NOT_READ_HERE: tuple[Value, ...] = (None,) * 4
_ONLY_FOR_ALL: tuple[Value, ...] = (None,) * 5


class Cpu(Collector):
    """Reads ``/proc/stat`` and ``/proc/loadavg``; single cores every tenth time."""

    name = "cpu"
    tables = (CPU,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._stat = host.open("/proc/stat")
        self._load = host.open("/proc/loadavg")
        self._turn = 0

    def collect(self) -> Iterator[Row]:
        """Yield the row of the host, and now and then those of the cores."""
        with_cores = self._turn % _CORES_EVERY == 0
        self._turn += 1
        data = self._stat.read()
        load = self._load.read_record().split(b" ", 1)[0].decode("ascii", "replace")
        named = numbers(data)
        for core, ticks in times(data, with_cores=with_cores):
            if core == "all":
                rest = (
                    named.get(b"ctxt"),
                    named.get(b"processes"),
                    named.get(b"procs_running"),
                    named.get(b"procs_blocked"),
                    load,
                )
            else:
                rest = _ONLY_FOR_ALL  # type: ignore[assignment]
            yield Row(CPU, (core, *ticks, *rest, *_NOT_READ_HERE))


def times(data: bytes, *, with_cores: bool) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """Yield ``(core, eight times in ticks as written)``; core 'all' first, lines that fit only."""
    for line in data.splitlines():
        if line[:3] != b"cpu":
            return
        words = line.split()
        core = words[0][3:].decode("ascii", "replace") or "all"
        if core != "all" and not with_cores:
            return
        ticks = [word.decode("ascii") if word.isdigit() else None for word in words[1:9]]
        ticks += [None] * (_TICK_FIELDS - len(ticks))
        yield core, tuple(ticks)


def numbers(data: bytes) -> dict[bytes, str]:
    """The lines that name one number, as written; only their first word is looked at."""
    found = {}
    at = data.find(b"\nctxt ")
    for line in data[at + 1 :].splitlines() if at >= 0 else ():
        name, _, value = line.partition(b" ")
        if value.isdigit():
            found[name] = value.decode("ascii")
    return found
