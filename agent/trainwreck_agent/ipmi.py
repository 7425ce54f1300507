"""Commands to the management controller (BMC) through the kernel's IPMI device.

Source: include/uapi/linux/ipmi.h of the kernel, https://docs.kernel.org/driver-api/ipmi.html, and
the IPMI specification 2.0, revision 1.1: chapters 20 (device), 28 (chassis), 31 (SEL), 33 (SDR),
35 (sensors)

In a recorded machine ``/dev/ipmi0`` is a text file, a line for each command: network function,
command and data, a colon, completion code and data of the answer::

    # Get System Restart Cause: power-up by button
    00 07 : 00 03 00
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import stat
import struct

from trainwreck_agent.host import Host, Unavailable

DEVICES = ("/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0")
TIMEOUT_S = 2.0

CHASSIS, SENSOR, APPLICATION, STORAGE = 0x00, 0x04, 0x06, 0x0A

_SEND_COMMAND = 0x8028690D
_RECEIVE_TRUNCATED = 0xC030690B
_SYSTEM_INTERFACE = 0x0C
_BMC_CHANNEL = 0x0F
_ANSWER_BYTES = 272
# struct ipmi_req with its struct ipmi_msg, and struct ipmi_recv, on a 64-bit machine
_REQUEST = struct.Struct("=QI4xqBBH4xQ")
_RECEIVED = struct.Struct("=i4xQI4xqBBH4xQ")


class Refused(Exception):
    """The BMC answered a command with a completion code other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"completion code {code:#04x}")
        self.code = code


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Bmc(Protocol):
    """Anything that answers IPMI commands."""

    def ask(self, function: int, command: int, data: bytes = b"") -> bytes:
        """Data of the answer, without its completion code.

        Raises:
            Refused: The BMC cannot or will not.
            OSError: The BMC does not answer.
        """

    def close(self) -> None:
        """Give the device back."""


def connect(host: Host) -> Bmc:
    """The BMC of this machine, or of a recorded one.

    Raises:
        Unavailable: There is no IPMI device, or it is not for this user.
    """
    path = next((name for name in DEVICES if host.exists(name)), None)
    if path is None:
        raise Unavailable(
            f"{DEVICES[0]}: no IPMI device (a virtual machine, or the modules ipmi_si and"
            " ipmi_devintf are not loaded)"
        )
    try:
        fd = os.open(host.path(path), os.O_RDONLY | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return Transcript(host.read(path) or b"")
        os.close(fd)
        return Device(host.path(path))
    except PermissionError as error:
        raise Unavailable(f"{path}: permission denied; run as root", "denied") from error
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


class Device:
    """The kernel's device file."""

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._number = 0
        self._address = array.array("B", struct.pack("=ihBx", _SYSTEM_INTERFACE, _BMC_CHANNEL, 0))

    def ask(self, function: int, command: int, data: bytes = b"") -> bytes:
        """Data of the answer; ``OSError`` ETIMEDOUT after two seconds."""
        self._number += 1
        body = array.array("B", data or b"\0")
        fcntl.ioctl(
            self._fd,
            _SEND_COMMAND,
            _REQUEST.pack(
                self._address.buffer_info()[0], len(self._address), self._number,
                function, command, len(data), body.buffer_info()[0],
            ),
        )  # fmt: skip
        while self._poll.poll(TIMEOUT_S * 1000):
            number, answer = self._receive()
            if number == self._number:  # another one is late, of a command given up
                return _checked(answer)
        raise OSError(errno.ETIMEDOUT, "the BMC did not answer within 2 s")

    def _receive(self) -> tuple[int, bytes]:
        address = array.array("B", bytes(32))
        body = array.array("B", bytes(_ANSWER_BYTES))
        request = bytearray(
            _RECEIVED.pack(
                0, address.buffer_info()[0], len(address), 0, 0, 0, _ANSWER_BYTES,
                body.buffer_info()[0],
            )
        )  # fmt: skip
        fcntl.ioctl(self._fd, _RECEIVE_TRUNCATED, request)
        fields = _RECEIVED.unpack(request)
        return fields[3], body.tobytes()[: fields[6]]

    def close(self) -> None:
        """Give the device back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


class Transcript:
    """Recorded commands and answers."""

    def __init__(self, text: bytes) -> None:
        self._answers: dict[bytes, bytes] = {}
        for line in text.splitlines():
            asked, colon, answer = line.partition(b"#")[0].partition(b":")
            try:
                if colon:
                    self._answers[_hex(asked)] = _hex(answer)
            except ValueError:
                continue

    def ask(self, function: int, command: int, data: bytes = b"") -> bytes:
        """The recorded answer; a command that was not recorded times out."""
        answer = self._answers.get(bytes((function, command)) + data)
        if answer is None:
            raise OSError(errno.ETIMEDOUT, f"command {function:02x} {command:02x} not recorded")
        return _checked(answer)

    def close(self) -> None:
        """Nothing is held."""


def _hex(text: bytes) -> bytes:
    return bytes.fromhex(text.decode("ascii", "replace"))


def _checked(answer: bytes) -> bytes:
    if not answer:
        raise OSError(errno.EPROTO, "an answer without a completion code")
    if answer[0]:
        raise Refused(answer[0])
    return answer[1:]
