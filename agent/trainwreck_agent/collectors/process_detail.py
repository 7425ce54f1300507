"""Training processes at a slow pace: pinned memory, switches, I/O, limits, the OOM killer's score.

Source: proc_pid_status(5), proc_pid_limits(5), proc_pid_io(5), proc_pid_schedstat(5)

``/proc/PID/status``::

    VmLck:         0 kB
    VmPin:  41943040 kB
    nonvoluntary_ctxt_switches:     17
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent import ranks
from trainwreck_agent.attribute import integer
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.processes import Process
from trainwreck_agent.tables.process import PROCESS_DETAIL

_LINE = re.compile(rb"^([A-Za-z_]{1,40}):[ \t]*([0-9]{1,15})(?: kB)?[ \t]*$", re.M)
_LIST = re.compile(rb"^(Cpus|Mems)_allowed_list:[ \t]*([0-9,-]{1,400})[ \t]*$", re.M)
_LIMIT = re.compile(rb"^Max ([a-z ]{1,24}[a-z]) {2,40}([0-9]{1,20}|unlimited) ", re.M)
_KIB = ("VmPin", "VmLck", "VmHWM", "VmSwap", "RssShmem")
_SWITCHES = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
_LIMITS = ("open files", "locked memory", "core file size", "stack size", "processes")
_INT64_MAX = (1 << 63) - 1


class ProcessDetail(Collector):
    """Reads ``/proc/PID`` of training processes, without their children."""

    name = "process_detail"
    every_s = 30.0
    may_block = True
    tables = (PROCESS_DETAIL,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.list("/proc"):
            raise Unavailable("/proc: no processes in it")
        self._ranks = ranks.shared(host)

    def collect(self) -> Iterator[Row]:
        """Yield a row a training process."""
        for process in self._ranks.training():
            status = self.host.read(f"/proc/{process.pid}/status")
            if status:
                yield Row(PROCESS_DETAIL, self._values(process, status))

    def _values(self, process: Process, status: bytes) -> tuple[Value, ...]:
        base = f"/proc/{process.pid}"
        said = parse_status(status)
        lists = {m[1]: m[2].decode("ascii") for m in _LIST.finditer(status)}
        kib = (said.get(name) for name in _KIB)
        io = parse_status(self.host.read(f"{base}/io") or b"")
        limits = parse_limits(self.host.read(f"{base}/limits") or b"")
        return (
            process.pid,
            self._ranks.table.started_us(process.stat),
            process.identity.rank,
            *(None if value is None else value * 1024 for value in kib),
            *(said.get(name) for name in _SWITCHES),
            run_delay_ns(self.host.read(f"{base}/schedstat") or b""),
            io.get("read_bytes"),
            io.get("write_bytes"),
            integer(self.host, f"{base}/oom_score"),
            integer(self.host, f"{base}/oom_score_adj"),
            *(limits.get(name) for name in _LIMITS),
            lists.get(b"Cpus"),
            lists.get(b"Mems"),
        )


def parse_status(data: bytes) -> dict[str, int]:
    """Lines of ``Name: number``, with or without ``kB`` behind."""
    return {m[1].decode("ascii"): int(m[2]) for m in _LINE.finditer(data)}


def parse_limits(data: bytes) -> dict[str, int | None]:
    """Soft limits by the kernel's name of them; None: unlimited."""
    found: dict[str, int | None] = {}
    for match in _LIMIT.finditer(data):
        value = None if match[2] == b"unlimited" else int(match[2])
        found[match[1].decode("ascii")] = value if (value or 0) <= _INT64_MAX else None
    return found


def run_delay_ns(data: bytes) -> int | None:
    """The second number of ``schedstat``: time that the task waited for a processor."""
    words = data.split()
    if len(words) != 3 or not words[1].isdigit() or len(words[1]) > 18:
        return None
    return int(words[1])
