"""Places in which a job can run out of memory or disk without harm to the rest of the machine.

Each is tried for real before it is used, best first; what it is in the end is told in ``told``.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ENTER = 'echo $$ > "$0" && exec "$@"'
_ENTER_SMALL_DISK = 'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"'
_SYSTEMD = ("--scope", "--quiet", "--collect", "-p", "MemorySwapMax=0")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command runs."""

    kind: str
    """``cgroup v1``, ``cgroup v2``, ``systemd-run``, ``tmpfs``, ``user namespace`` or ``limit``:
    the last one is no place, the job limits itself."""
    told: str
    """What it is, for a person."""
    prefix: tuple[str, ...] = ()
    """Goes before the command."""


def _works(prefix: tuple[str, ...], *command: str) -> bool:
    """Whether a command runs to a good end in a place."""
    try:
        done = subprocess.run(
            [*prefix, *command], capture_output=True, stdin=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def limited_memory(limit_bytes: int, name: str, mounts: Path | None = None) -> Iterator[Place]:
    """A place in which the kernel kills who takes more than ``limit_bytes`` together.

    Where this user may have none: ``limit``. On leaving, every process in it is killed.
    ``mounts`` stands for ``/proc/self`` in tests.
    """
    if place := _systemd_scope(limit_bytes):
        yield place
        return
    proc = mounts or Path("/proc/self")
    for kind, parent in _cgroup_parents(proc):
        folder = parent / name
        if not _make_cgroup(folder, kind, limit_bytes):
            continue
        prefix = ("sh", "-c", _ENTER, str(folder / "cgroup.procs"))
        try:
            if mounts or _works(prefix, "true"):
                told = f"memory cgroup {folder}, limit {limit_bytes >> 20} MiB ({kind})"
                yield Place(kind, told, prefix)
                return
        finally:
            _remove_cgroup(folder)
    yield Place(
        "limit",
        "no memory cgroup may be made here (root, or a systemd user session with the memory"
        " controller, would be needed): an address-space limit (RLIMIT_AS) on one rank instead;"
        " the kernel's OOM killer will not be seen",
    )


def _systemd_scope(limit_bytes: int) -> Place | None:
    """A transient scope of systemd whose limit is really in force."""
    if not Path("/run/systemd/system").is_dir() or not shutil.which("systemd-run"):
        return None
    scope = () if os.geteuid() == 0 else ("--user",)
    base = ("systemd-run", *scope, *_SYSTEMD, "-p", f"MemoryMax={limit_bytes}")
    check = (
        f'grep -qx {limit_bytes} "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/memory.max"'
    )
    # systemd 252 and older know no OOMPolicy of scopes; theirs is what we ask of newer ones.
    for prefix in ((*base, "-p", "OOMPolicy=continue"), base):
        if _works((*prefix, "--"), "sh", "-c", check):
            told = f"systemd scope, MemoryMax {limit_bytes >> 20} MiB"
            return Place("systemd-run", told, (*prefix, "--"))
    return None


def _cgroup_parents(proc: Path) -> Iterator[tuple[str, Path]]:
    """Folders of the memory hierarchy in which a new group may be tried: ours, then upwards."""
    own: dict[str, str] = {}
    group: str | None
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers or "v2"] = path
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            group, version = own.get("v2"), "cgroup v2"
        elif kind == "cgroup" and "memory" in options.split(","):
            groups = (p for c, p in own.items() if "memory" in c.split(","))
            group, version = next(groups, None), "cgroup v1"
        else:
            continue
        if group is None:
            continue
        mount = Path(point)
        inside = os.path.relpath(group, root) if group.startswith(root) else "."
        folder = mount / inside
        for parent in (folder, *folder.parents):
            if parent == mount or mount in parent.parents:
                yield version, parent


def _make_cgroup(folder: Path, kind: str, limit_bytes: int) -> bool:
    """Make a group with a limit and no swap; false where the kernel or the rights forbid it."""
    try:
        if kind == "cgroup v2":
            children = (folder.parent / "cgroup.subtree_control").read_text().split()
            if "memory" not in children:
                return False
        folder.mkdir()
    except OSError:
        return False
    try:
        if kind == "cgroup v2":
            (folder / "memory.max").write_text(str(limit_bytes))
            swap = folder / "memory.swap.max"
            if swap.exists():
                swap.write_text("0")
        else:
            (folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
            swap = folder / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(limit_bytes))
    except OSError:
        _remove_cgroup(folder)
        return False
    return True


def _remove_cgroup(folder: Path) -> None:
    """Kill what is in a group and remove it; a group that stays is empty and harmless."""
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        try:
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
        except FileNotFoundError:
            return
        except (ProcessLookupError, OSError):  # still ending: EBUSY
            time.sleep(0.05)
        else:
            return


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Place]:
    """``folder`` as a file system of its own with ``size_bytes``.

    Where this user may not have one: ``limit``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={size_bytes}"
    if _works(
        ("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)),
    ):
        try:
            yield Place("tmpfs", f"file system of {size_bytes >> 10} KiB (tmpfs) at {folder}")
        finally:
            if not _works(("umount", str(folder))):
                _works(("umount", "--lazy", str(folder)))
        return
    prefix = (
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _ENTER_SMALL_DISK),
        *(str(size_bytes), str(folder)),
    )
    if _works(prefix, "true"):
        told = (
            f"file system of {size_bytes >> 10} KiB (tmpfs) at {folder}, in a user namespace: the"
            " recorder, outside of it, cannot see how full it is"
        )
        yield Place("user namespace", told, prefix)
        return
    yield Place(
        "limit",
        "no file system may be mounted here: a file-size limit (RLIMIT_FSIZE) on one rank instead,"
        " which fails with EFBIG, not ENOSPC",
    )
