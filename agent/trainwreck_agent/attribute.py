"""One-value files of sysfs, kept open, and left alone once their driver has failed.

A device driver answers these reads. A read that fails may have cost the driver a time-out and a
line in the kernel log, so it is not repeated until the device is looked up anew.
"""

from __future__ import annotations

import errno
import os
import re

from trainwreck_agent.host import Host

KEPT_MAX = 512
"""Descriptors that all attributes of a process keep open; a service's usual limit is 1,024. The
ones beyond are opened for each read."""

_BYTES = 4096
"""Sysfs never gives more than a page."""
_NO_VALUE_NOW = frozenset({errno.EAGAIN, errno.EBUSY, errno.ENODATA, errno.EINTR})
"""How drivers say that a sensor has no value at this moment."""
_DIGITS = re.compile(rb"\s*([0-9]{1,20})\s*\Z")
_INTEGER = re.compile(rb"\s*(-?[0-9]{1,19})\s*\Z")


class Attribute:
    """The file at ``path`` below the host's root; every read gives None where it has no value."""

    __slots__ = ("_fd", "_real", "error", "path")

    kept = 0
    """Descriptors kept open in this process."""

    def __init__(self, host: Host, path: str) -> None:
        self.path = path
        self._real = host.path(path)
        self._fd = -1
        self.error: OSError | None = None
        """Why it is not read any more; None while it is."""
        try:
            fd = self._open()
        except OSError as error:
            self.error = error
            return
        if Attribute.kept < KEPT_MAX:
            Attribute.kept += 1
            self._fd = fd
        else:
            os.close(fd)

    def _open(self) -> int:
        return os.open(self._real, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def there(self) -> bool:
        """Whether it could be opened and no read has failed since."""
        return self.error is None

    @property
    def broken(self) -> bool:
        """Whether a read failed, in contrast to a file that this device or kernel has not."""
        return self.error is not None and self.error.errno not in (errno.ENOENT, errno.ENOTDIR)

    @property
    def vanished(self) -> bool:
        """Whether its device was taken away: even if one of that name is back, it is another."""
        return self.error is not None and self.error.errno in (errno.ENODEV, errno.ENXIO)

    def data(self) -> bytes | None:
        """Its content now."""
        if self.error is not None:
            return None
        try:
            if self._fd >= 0:
                return os.pread(self._fd, _BYTES, 0)
            fd = self._open()
            try:
                return os.pread(fd, _BYTES, 0)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_VALUE_NOW:
                self.close()
                self.error = error
            return None

    def digits(self) -> str | None:
        """A counter as written; None where it holds anything else, "N/A (no PMA)" for example."""
        data = self.data()
        match = None if data is None else _DIGITS.match(data)
        return None if match is None else match[1].decode("ascii")

    def integer(self) -> int | None:
        """A number, negative ones too."""
        data = self.data()
        match = None if data is None else _INTEGER.match(data)
        return None if match is None else int(match[1])

    def text(self) -> str | None:
        """Its stripped text; None where it is empty."""
        data = self.data()
        return None if data is None else _clean(data) or None

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            Attribute.kept -= 1
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def integer(host: Host, path: str) -> int | None:
    """The number in a file that is read now and then, negative ones too."""
    data = host.read(path)
    match = None if data is None else _INTEGER.match(data)
    return None if match is None else int(match[1])


def word(host: Host, path: str) -> str | None:
    """The stripped text of a file that is read now and then; None where it is empty or missing."""
    data = host.read(path)
    return None if data is None else _clean(data) or None


def _clean(data: bytes) -> str:
    return data[:_BYTES].decode("utf-8", "replace").replace("\0", "").strip()
