"""Where a run can hurt itself and nobody else: cgroups, small file systems, and what the kernel says.

Sources: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html,
https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.real_runs.plan import Run

CGROUPS = Path("/sys/fs/cgroup")
_GROUP = f"job_{os.getpid()}"


@contextmanager
def groups(run: Run) -> Iterator[str]:
    """A shell line that enters the run's cgroups (v1); whoever is in them at the end is killed."""
    folders = []
    limits_mib = {"": run.memory_mib} if run.memory_mib else {}
    if run.rank_memory_mib:
        limits_mib |= {f"_rank{r}": run.rank_memory_mib for r in range(run.ranks)}
    for suffix, limit_mib in limits_mib.items():
        folder = CGROUPS / "memory" / (_GROUP + suffix)
        folder.mkdir(exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(limit_mib << 20))
        folders.append(folder)
    if run.tasks:
        folder = CGROUPS / "pids" / _GROUP
        folder.mkdir(exist_ok=True)
        (folder / "pids.max").write_text(str(run.tasks))
        folders.append(folder)
    lines = [f"echo $$ > {folder}/cgroup.procs" for folder in folders if "_rank" not in folder.name]
    if run.rank_memory_mib:
        lines.append(f"export RANK_GROUP={CGROUPS}/memory/{_GROUP}_rank")
    try:
        yield "\n".join(lines)
    finally:
        for folder in folders:
            _remove(folder)


def _remove(folder: Path) -> None:
    deadline_s = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
        time.sleep(0.05)


def mounts(run: Run, folder: Path) -> str:
    """Shell lines that mount the run's file systems, in a mount namespace of its own."""
    lines = []
    out = shlex.quote(str(folder / "out"))
    if run.disk_kib:
        lines.append(f"mount -t tmpfs -o size={run.disk_kib}k tmpfs {out}")
    if run.read_only:
        lines.append(f"mount -t tmpfs -o ro tmpfs {out}")
    if run.shm_kib:
        lines.append(f"mount -t tmpfs -o size={run.shm_kib}k tmpfs /dev/shm")
    return "\n".join(lines)


class Kernel:
    """The kernel's lines from now on."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """What came since, as ``dmesg`` prints it."""
        found = []
        while True:
            try:
                record = os.read(self._file, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # overwritten before it was read
                continue
            head, _, text = record.decode(errors="replace").partition(";")
            micros = int(head.split(",")[2])
            message = text.split("\n", 1)[0]
            found.append(f"[{micros // 10**6:5d}.{micros % 10**6:06d}] {message}")
        return found

    def close(self) -> None:
        """Stop reading."""
        os.close(self._file)


def descendants(pid: int) -> list[int]:
    """Processes below one, parents first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, queue = [], [pid]
    while queue:
        head = queue.pop(0)
        found.append(head)
        queue += sorted(children.get(head, []))
    return found[1:]


def rank_of(pid: int) -> int | None:
    """``RANK`` in the environment that a process was started with."""
    with contextlib.suppress(OSError):
        found = re.search(rb"(?:^|\0)RANK=(\d+)\0", Path(f"/proc/{pid}/environ").read_bytes())
        return int(found[1]) if found else None
    return None
