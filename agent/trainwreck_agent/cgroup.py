"""Memory and CPU of a control group, of either version of the interface.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

from dataclasses import dataclass

from trainwreck_agent.host import Host, OpenFile, Unavailable

_FILES = {
    "v1": ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"),
    "v2": ("memory.current", "memory.max", "memory.events", "cpu.stat"),
}

UNLIMITED_FROM_BYTES = 1 << 60
"""v1 writes 'no limit' as the largest multiple of a page below 2^63."""


def memory_path(data: bytes) -> str | None:
    """Path of a process' memory cgroup out of ``/proc/PID/cgroup``, with its version in front.

    ``v1:/job`` or ``v2:/job``; None at the root, where nothing is accounted to the process alone.
    """
    unified = None
    for line in data.splitlines():
        _, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        place = path.decode("utf-8", "replace")
        if b"memory" in controllers.split(b",") and place != "/":
            return f"v1:{place}"
        if not controllers and place != "/":
            unified = f"v2:{place}"
    return unified


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cgroup holds now; None: not told, or no limit."""

    memory_bytes: int | None
    memory_max_bytes: int | None
    oom_kill_count: int | None
    throttled_us: int | None


class Cgroup:
    """The kept-open files of one cgroup."""

    def __init__(self, host: Host, path: str) -> None:
        version, _, place = path.partition(":")
        mounts = {
            "v1": ("/sys/fs/cgroup/memory",),
            "v2": ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
        }
        self._files: list[OpenFile | None] = []
        for mount in mounts[version]:
            if host.exists(f"{mount}{place}/{_FILES[version][0]}"):
                for name in _FILES[version]:
                    self._files.append(_open(host, f"{mount}{place}/{name}"))
                break
        if not self._files:
            raise Unavailable(f"cgroup {path}: its memory files are not visible here")

    def read(self) -> Usage:
        """The usage now.

        Raises:
            OSError: The cgroup is gone (ENODEV).
        """
        data = [b"" if file is None else file.read_record() for file in self._files]
        data += [b""] * (4 - len(data))
        limit = _number(data[1])
        return Usage(
            _number(data[0]),
            None if limit is None or limit >= UNLIMITED_FROM_BYTES else limit,
            keyed(data[2], b"oom_kill"),
            keyed(data[3], b"throttled_usec"),
        )

    def close(self) -> None:
        """Give the descriptors back."""
        for file in self._files:
            if file is not None:
                file.close()


def _open(host: Host, path: str) -> OpenFile | None:
    try:
        return host.open(path)
    except Unavailable:
        return None


def _number(data: bytes) -> int | None:
    word = data.strip()
    return int(word) if word.isdigit() and len(word) < 20 else None


def keyed(data: bytes, key: bytes) -> int | None:
    """The number behind ``key`` in lines of ``key number``; None where there is none."""
    for line in data.splitlines():
        name, _, value = line.partition(b" ")
        if name == key:
            return _number(value)
    return None
