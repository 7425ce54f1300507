"""Counters of the memory controllers, through perf_event_open(2).

Intel ``uncore_imc_*`` (events ``cas_count_read``, ``cas_count_write``) and AMD ``amd_umc_*``: each
count is one transfer of 64 bytes. A counter is opened on one processor of each socket and counts
for the whole socket, from the moment it is opened.

Source: https://man7.org/linux/man-pages/man2/perf_event_open.2.html,
Documentation/ABI/testing/sysfs-bus-event_source-devices-format of the kernel, and for AMD
"Processor Programming Reference", chapter UMC performance monitor events
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainwreck_agent.attribute import word
from trainwreck_agent.host import Host, Unavailable

PMUS = "/sys/bus/event_source/devices"
_TRANSFER_BYTES = 64
_INTEL = re.compile(r"uncore_imc_[0-9]{1,3}\Z")
_AMD = re.compile(r"amd_umc_[0-9]{1,3}\Z")
_AMD_EVENTS = ({"event": 0x0A, "rdwrmask": 1}, {"event": 0x0A, "rdwrmask": 2})
_FIELD = re.compile(r"config:([0-9]{1,2})(?:-([0-9]{1,2}))?\Z")
_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_ATTR_BYTES = 128
_FD_CLOEXEC = 8


@dataclass(slots=True)
class _Socket:
    """Descriptors of the counters of one socket."""

    read: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)


class Uncore:
    """Open counters of every memory controller.

    Raises:
        Unavailable: There is none, or this user may not; ``why_no_other`` is told with it.
    """

    def __init__(self, host: Host, why_no_other: str) -> None:
        self._sockets: dict[str, _Socket] = {}
        pmus = [name for name in host.list(PMUS) if _INTEL.match(name) or _AMD.match(name)]
        if not pmus:
            raise Unavailable(f"{why_no_other}; {PMUS}: no counter of a memory controller")
        if not host.live:
            raise Unavailable(f"{why_no_other}; perf counts on the running machine only")
        try:
            for pmu in pmus:
                self._open(host, f"{PMUS}/{pmu}", amd=_AMD.match(pmu) is not None)
        except OSError as error:
            self.close()
            denied = error.errno in (errno.EACCES, errno.EPERM)
            raise Unavailable(
                f"{why_no_other}; perf_event_open on {pmu}: {error.strerror}"
                + ("; run as root or with CAP_PERFMON" if denied else ""),
                "denied" if denied else "absent",
            ) from error
        if not self._sockets:
            raise Unavailable(f"{why_no_other}; {PMUS}: no event for reads and writes")

    def _open(self, host: Host, pmu: str, *, amd: bool) -> None:
        kind = host.number(f"{pmu}/type")
        configs = _amd_configs(host, pmu) if amd else _intel_configs(host, pmu)
        if kind is None or configs is None:
            return
        for core in cpus(word(host, f"{pmu}/cpumask") or ""):
            base = f"/sys/devices/system/cpu/cpu{core}/topology/physical_package_id"
            socket = self._sockets.setdefault(f"socket {word(host, base) or core}", _Socket())
            for config, into in zip(configs, (socket.read, socket.written), strict=True):
                into.append(perf_event_open(kind, config, core))

    def read(self) -> Iterator[tuple[str, int | None, int | None]]:
        """Yield socket, bytes read, bytes written; None where a counter could not run."""
        for name, socket in self._sockets.items():
            yield name, _bytes(socket.read), _bytes(socket.written)

    def close(self) -> None:
        """Give the counters back."""
        for socket in self._sockets.values():
            for fd in (*socket.read, *socket.written):
                os.close(fd)
        self._sockets.clear()

    def __del__(self) -> None:
        self.close()


def _bytes(fds: list[int]) -> int | None:
    total = 0
    for fd in fds:
        data = os.read(fd, 24)
        count, enabled, running = (
            int.from_bytes(data[i : i + 8], "little") for i in range(0, 24, 8)
        )
        if running < enabled:  # shared with another user of the counters: an estimate is no count
            return None
        total += count
    return total * _TRANSFER_BYTES if fds else None


def perf_event_open(kind: int, config: int, core: int) -> int:
    """A descriptor that counts an event on a processor, with the times it was enabled and ran.

    Raises:
        OSError: The kernel refuses.
    """
    number = _SYSCALLS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import ctypes  # here: it costs a megabyte, and few machines get this far

    attr = bytearray(_ATTR_BYTES)
    attr[0:4] = kind.to_bytes(4, "little")
    attr[4:8] = _ATTR_BYTES.to_bytes(4, "little")
    attr[8:16] = config.to_bytes(8, "little")
    attr[32:40] = (1 | 2).to_bytes(8, "little")  # read_format: time enabled, time running
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * _ATTR_BYTES).from_buffer(attr)
    fd = int(
        libc.syscall(
            ctypes.c_long(number), buffer, ctypes.c_int(-1), ctypes.c_int(core), ctypes.c_int(-1),
            ctypes.c_ulong(_FD_CLOEXEC),
        )
    )  # fmt: skip
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def _intel_configs(host: Host, pmu: str) -> tuple[int, int] | None:
    read = word(host, f"{pmu}/events/cas_count_read")
    written = word(host, f"{pmu}/events/cas_count_write")
    if read is None or written is None:
        return None
    formats = _formats(host, pmu)
    configs = config(terms(read), formats), config(terms(written), formats)
    return None if configs[0] is None or configs[1] is None else (configs[0], configs[1])


def _amd_configs(host: Host, pmu: str) -> tuple[int, int] | None:
    formats = _formats(host, pmu)
    read, written = (config(event, formats) for event in _AMD_EVENTS)
    return None if read is None or written is None else (read, written)


def _formats(host: Host, pmu: str) -> dict[str, str]:
    names = host.list(f"{pmu}/format")
    return {name: word(host, f"{pmu}/format/{name}") or "" for name in names}


def terms(event: str) -> dict[str, int] | None:
    """``{"event": 4, "umask": 3}`` of "event=0x04,umask=0x03"; None: written otherwise."""
    found = {}
    for term in event.split(","):
        name, _, value = term.partition("=")
        try:
            found[name.strip()] = int(value, 0) if len(value) <= 20 else -1
        except ValueError:
            return None
    return found


def config(event: dict[str, int] | None, formats: dict[str, str]) -> int | None:
    """The ``config`` word of an event: each term at the bits that its format names."""
    if event is None:
        return None
    word_ = 0
    for name, value in event.items():
        match = _FIELD.match(formats.get(name, ""))
        if match is None:
            return None
        low, high = int(match[1]), int(match[2] or match[1])
        if high > 63 or low > high or not 0 <= value < 1 << (high - low + 1):
            return None
        word_ |= value << low
    return word_


def cpus(mask: str) -> list[int]:
    """Processors of a list such as "0,24-25"; empty where it is written otherwise."""
    found: list[int] = []
    for part in mask.split(","):
        match = re.match(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z", part.strip())
        if match is None:
            return []
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found
