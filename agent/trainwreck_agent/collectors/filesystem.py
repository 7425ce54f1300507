"""How full the mounted file systems are.

Source: https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts

``/proc/self/mountinfo``::

    25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
"""

from __future__ import annotations

import _thread
import os
import re
import time
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, OpenFile, Unavailable
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.system import FILESYSTEM

Mount = tuple[str, str, str, bool]
"""Mount point, device, type, whether it is read-only."""

WITHOUT_SPACE = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fuse.lxcfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "nullfs",
        "overlay",
        "proc",
        "pstore",
        "ramfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "sysfs",
        "tracefs",
    ]
)
"""Types that cannot fill up, or that show another file system's space again."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


LOCAL = frozenset(
    ["bcachefs", "btrfs", "devtmpfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "ntfs3",
     "tmpfs", "udf", "vfat", "xfs", "zfs"]
)  # fmt: skip
"""Types that answer as long as their disk does. Others wait for a server, which may be dead."""
WAIT_S = 2.0


class Question:
    """A file system that is asked how full it is, by a thread that may hang in the kernel."""

    def __init__(self, path: str) -> None:
        self.asked_s = time.monotonic()
        self.told = False
        """Whether it is on record that it hangs."""
        self.answer: os.statvfs_result | None = None
        self._path = path
        self._open = _thread.allocate_lock()
        self._open.acquire()
        _thread.start_new_thread(self._ask, ())

    def _ask(self) -> None:
        try:
            self.answer = os.statvfs(self._path)
        except OSError:
            self.answer = None
        finally:
            self._open.release()

    def answered(self, wait_s: float) -> bool:
        """Whether there is an answer, within that time."""
        return self._open.acquire(timeout=max(0.0, wait_s))


class Filesystem(Collector):
    """Asks each mount how full it is. In a child, and those that need a server in threads of it."""

    name = "filesystem"
    every_s = 5.0
    may_block = True
    tables = (FILESYSTEM, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.live:
            raise Unavailable("file systems: a recorded machine cannot be asked how full it is")
        self._root, self._file = _mounts(host)
        self._open: dict[str, Question] = {}

    def collect(self) -> Iterator[Row]:
        """Yield one row a file system; the shortest mount point of a device speaks for it."""
        found = parse(self._file.read())
        waiting = {mount[0]: mount for mount in found if mount[2] not in LOCAL}
        for point in waiting.keys() - self._open.keys():
            self._open[point] = Question(self._root + point)
        for mount in found:
            if mount[2] in LOCAL:
                try:
                    yield from _row(mount, os.statvfs(self._root + mount[0]))
                except OSError:
                    continue
        until_s = time.monotonic() + WAIT_S
        for mount in waiting.values():
            yield from self._answer(mount, until_s)
        for gone in self._open.keys() - waiting.keys():
            del self._open[gone]  # unmounted, perhaps by force

    def _answer(self, mount: Mount, until_s: float) -> Iterator[Row]:
        question = self._open[mount[0]]
        # Who hung at the last look is not waited for again.
        if not question.answered(0.0 if question.told else until_s - time.monotonic()):
            if not question.told:
                question.told = True
                yield _health(
                    mount, "hang", f"{mount[2]} from {mount[1]}: no answer for {WAIT_S:g} s"
                )
            return
        del self._open[mount[0]]
        if question.told:
            hung_s = time.monotonic() - question.asked_s
            yield _health(mount, "ok", f"{mount[2]} from {mount[1]}: answered after {hung_s:.0f} s")
        if question.answer is not None:
            yield from _row(mount, question.answer)


def _mounts(host: Host) -> tuple[str, OpenFile]:
    """What to put before a mount point, and the list of mounts: those that init sees, if possible.

    The service sees all but one directory read-only, and a container sees its own mounts.
    """
    own = host.open("/proc/self/mountinfo")
    try:
        init = host.open("/proc/1/mountinfo")
    except Unavailable:
        return "", own
    try:
        if os.readlink("/proc/1/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            os.stat("/proc/1/root/")
            return "/proc/1/root", init
    except OSError:  # not root, or not enough of it: the same places, if they have the same root
        if _root_device(init.read()) == _root_device(own.read()):
            return "", init
    return "", own


def _root_device(mounts: bytes) -> bytes | None:
    words = (line.split(b" ", 5) for line in mounts.splitlines())
    return next((found[2] for found in words if len(found) > 4 and found[4] == b"/"), None)


def _row(mount: Mount, space: os.statvfs_result) -> Iterator[Row]:
    if space.f_blocks:
        unit = space.f_frsize
        point, device, kind, read_only = mount
        values = (
            point, device, kind,
            space.f_blocks * unit, space.f_bfree * unit, space.f_bavail * unit,
            space.f_files, space.f_ffree, read_only,
        )  # fmt: skip
        yield Row(FILESYSTEM, values)


def _health(mount: Mount, status: str, detail: str) -> Row:
    values = (f"filesystem{mount[0]}", status, detail, None, None, None, None, None)
    return Row(COLLECTOR_HEALTH, values)


def parse(data: bytes) -> list[Mount]:
    """``(mount point, device, type, read-only)`` of each file system that has space, one a device.

    It is read-only where the mount is, or the file system itself, as after an error.
    """
    found: dict[bytes, Mount] = {}
    for line in data.splitlines():
        left, dash, right = line.partition(b" - ")
        words, tail = left.split(b" "), right.split(b" ")
        if not dash or len(words) < 6 or len(tail) < 2:
            continue
        mount, device, kind = (_plain(word) for word in (words[4], tail[1], tail[0]))
        if kind in WITHOUT_SPACE or mount.startswith(("/proc/", "/sys/")):
            continue  # what lies there hides something from a container, or holds other mounts
        if words[2] not in found or len(mount) < len(found[words[2]][0]):
            options = (words[5] + b"," + tail[-1]).split(b",")
            found[words[2]] = (mount, device, kind, b"ro" in options)
    return list(found.values())


def _plain(word: bytes) -> str:
    return _OCTAL.sub(lambda m: bytes([int(m[1], 8) & 255]), word).decode("utf-8", "replace")
