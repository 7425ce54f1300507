"""What runs out in a kernel: open files, processes and threads.

Source: https://docs.kernel.org/admin-guide/sysctl/fs.html#file-nr, proc_loadavg(5)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainwreck_agent.attribute import integer
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host
from trainwreck_agent.tables.system import KERNEL_LIMIT

_FILES = re.compile(rb"([0-9]{1,19})\s+[0-9]{1,19}\s+([0-9]{1,19})\s*\Z")
_TASKS = re.compile(rb"[0-9.]{1,16} [0-9.]{1,16} [0-9.]{1,16} [0-9]{1,10}/([0-9]{1,10}) ")


class KernelLimit(Collector):
    """Reads ``/proc/sys/fs/file-nr`` and ``/proc/loadavg``."""

    name = "kernel_limit"
    every_s = 10.0
    tables = (KERNEL_LIMIT,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._files = host.open("/proc/sys/fs/file-nr")
        self._load = host.open("/proc/loadavg")

    def collect(self) -> Iterator[Row]:
        """Yield a row a resource."""
        if files := _FILES.match(self._files.read_record()):
            maximum = int(files[2])  # near 2^63 where systemd has lifted the limit
            yield Row(KERNEL_LIMIT, ("open_files", int(files[1]), maximum))
        if tasks := _TASKS.match(self._load.read_record()):
            limits = [
                integer(self.host, f"/proc/sys/kernel/{name}")
                for name in ("pid_max", "threads-max")
            ]
            known = [limit for limit in limits if limit is not None]
            yield Row(KERNEL_LIMIT, ("tasks", int(tasks[1]), min(known, default=None)))
