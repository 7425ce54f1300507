"""Tells systemd that the service is ready, alive or stopping.

Source: https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import os
import socket


class Notifier:
    """Speaks to ``$NOTIFY_SOCKET``; does nothing where there is none."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            if address
            else None
        )

    def __call__(self, state: str) -> None:
        """Send ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1`` or ``STATUS=…``."""
        if self._socket is not None:
            try:
                self._socket.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
            except OSError:
                return  # systemd is not there now; the watchdog is its own to judge
