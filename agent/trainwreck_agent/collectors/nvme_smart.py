"""Health of NVMe drives: the SMART / health information log page.

Source: NVM Express Base Specification 2.0, figure 207 (log page 02h), and
include/uapi/linux/nvme_ioctl.h of the kernel

The page is asked for by an admin command on ``/dev/nvme0``, which needs root. In a recorded machine
``/dev/nvme0`` is a file that holds the 512 bytes of the answer.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator

from trainwreck_agent.attribute import word
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence, note
from trainwreck_agent.tables.devices import NVME
from trainwreck_agent.tables.events import COLLECTOR_HEALTH

CLASS = "/sys/class/nvme"
LOG_BYTES = 512
_ADMIN_COMMAND = 0xC0484E41
_GET_LOG_PAGE = 0x02
_LOG_HEALTH = 0x02
_ALL_NAMESPACES = 0xFFFFFFFF
_TIMEOUT_MS = 2000
_DATA_UNIT_BYTES = 512_000
_KELVIN = 273
_UNKNOWN: tuple[Value, ...] = (None,) * 14
_CONTROLLER = re.compile(r"nvme[0-9]{1,5}\Z")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")


class NvmeSmart(Collector):
    """Asks every controller of ``/sys/class/nvme``, once a minute."""

    name = "nvme_smart"
    every_s = 60.0
    may_block = True
    tables = (NVME, COLLECTOR_HEALTH)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        found = controllers(host)
        if not found:
            raise Unavailable(f"{CLASS}: no NVMe controller")
        self._presence = Presence(self.name, found)
        self._troubles: dict[str, str] = {}

    def collect(self) -> Iterator[Row]:
        """Yield one row a controller."""
        found = controllers(self.host)
        yield from self._presence.changes(found)
        for name in found:
            base = f"{CLASS}/{name}"
            serial = word(self.host, f"{base}/serial") or name
            state = word(self.host, f"{base}/state")
            pci = word(self.host, f"{base}/address")
            values, trouble, status = _UNKNOWN, "", "ok"
            if state in (None, "live"):  # a controller that resets would keep its reader waiting
                try:
                    values = health(health_log(self.host.path(f"/dev/{name}")))
                except PermissionError:
                    trouble, status = f"/dev/{name}: permission denied; run as root", "denied"
                except OSError as error:
                    trouble, status = f"/dev/{name}: {error.strerror}", "error"
            if trouble != self._troubles.get(name, ""):
                yield note(self.name, name, status, trouble or None)
            self._troubles[name] = trouble
            about = (
                serial,
                name,
                pci if pci and _PCI.match(pci) else None,
                word(self.host, f"{base}/model"),
                word(self.host, f"{base}/firmware_rev"),
                state,
            )
            yield Row(NVME, (*about, *values))


def controllers(host: Host) -> list[str]:
    """Kernel names of the NVMe controllers."""
    return [name for name in host.list(CLASS) if _CONTROLLER.match(name)]


def health_log(path: str) -> bytes:
    """The log page of a controller.

    Raises:
        OSError: The device is not there, not for this user, or refuses the command.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return os.read(fd, LOG_BYTES)
        return _get_log_page(fd)
    finally:
        os.close(fd)


def _get_log_page(fd: int) -> bytes:
    answer = array.array("B", bytes(LOG_BYTES))
    address, _ = answer.buffer_info()
    dwords = LOG_BYTES // 4 - 1
    # struct nvme_passthru_cmd: opcode, flags, reserved, nsid, cdw2, cdw3, metadata, addr,
    # metadata_len, data_len, cdw10 … cdw15, timeout_ms, result
    command = bytearray(struct.pack(
        "=BBHIIIQQII6III", _GET_LOG_PAGE, 0, 0, _ALL_NAMESPACES, 0, 0, 0, address,
        0, LOG_BYTES, dwords << 16 | _LOG_HEALTH, 0, 0, 0, 0, 0, _TIMEOUT_MS, 0,
    ))  # fmt: skip
    status = fcntl.ioctl(fd, _ADMIN_COMMAND, command)
    if status:
        raise OSError(errno.EIO, f"the drive refused the command, NVMe status {status:#x}")
    return answer.tobytes()


def health(log: bytes) -> tuple[Value, ...]:
    """The columns of a log page in order; all None where it is too short."""
    if len(log) < LOG_BYTES:
        return _UNKNOWN
    warning, kelvin, spare, spare_limit, used = struct.unpack_from("<BHBBB", log)
    read, written = _wide(log, 32), _wide(log, 48)
    warm_min, hot_min = struct.unpack_from("<II", log, 192)
    transitions = sum(struct.unpack_from("<II", log, 216))
    return (
        warning,
        kelvin - _KELVIN if kelvin else None,
        spare,
        spare_limit,
        used,
        read * _DATA_UNIT_BYTES,
        written * _DATA_UNIT_BYTES,
        _wide(log, 128),
        _wide(log, 144),
        _wide(log, 160),
        _wide(log, 176),
        warm_min,
        hot_min,
        transitions,
    )


def _wide(log: bytes, at: int) -> int:
    return int.from_bytes(log[at : at + 16], "little")
