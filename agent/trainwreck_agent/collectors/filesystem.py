"""How full the mounted file systems are.

Source: https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts

``/proc/self/mountinfo``::

    25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.tables.system import FILESYSTEM

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


class Filesystem(Collector):
    """Asks each mount how full it is. In a child: a dead network file system hangs the asker."""

    name = "filesystem"
    every_s = 5.0
    may_block = True
    tables = (FILESYSTEM,)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if not host.live:
            raise Unavailable("file systems: a recorded machine cannot be asked how full it is")
        # The service sees all but one directory read-only: what init sees is what holds.
        try:
            self._file = host.open("/proc/1/mountinfo")
        except Unavailable:
            self._file = host.open("/proc/self/mountinfo")

    def collect(self) -> Iterator[Row]:
        """Yield one row a file system; the shortest mount point of a device speaks for it."""
        for mount, device, kind, read_only in parse(self._file.read()):
            try:
                space = os.statvfs(mount)
            except OSError:
                continue
            if not space.f_blocks:
                continue
            unit = space.f_frsize
            yield Row(
                FILESYSTEM,
                (
                    mount,
                    device,
                    kind,
                    space.f_blocks * unit,
                    space.f_bfree * unit,
                    space.f_bavail * unit,
                    space.f_files,
                    space.f_ffree,
                    read_only,
                ),
            )


def parse(data: bytes) -> list[tuple[str, str, str, bool]]:
    """``(mount point, device, type, read-only)`` of each file system that has space, one a device.

    It is read-only where the mount is, or the file system itself, as after an error.
    """
    found: dict[bytes, tuple[str, str, str, bool]] = {}
    for line in data.splitlines():
        left, dash, right = line.partition(b" - ")
        words, tail = left.split(b" "), right.split(b" ")
        if not dash or len(words) < 6 or len(tail) < 2:
            continue
        mount, device, kind = (_plain(word) for word in (words[4], tail[1], tail[0]))
        if kind in WITHOUT_SPACE:
            continue
        if words[2] not in found or len(mount) < len(found[words[2]][0]):
            options = (words[5] + b"," + tail[-1]).split(b",")
            found[words[2]] = (mount, device, kind, b"ro" in options)
    return list(found.values())


def _plain(word: bytes) -> str:
    return _OCTAL.sub(lambda m: bytes([int(m[1], 8) & 255]), word).decode("utf-8", "replace")
