"""What can go wrong in the investigator itself.

``Unreadable`` is for input that cannot be used: the command line prints it as one line, exits 2.
``SignatureError`` is for a signature file that does not say what it must.
"""

from __future__ import annotations


class Unreadable(Exception):
    """Input that cannot be used: what it is, where it is, and what to do."""

    def __init__(self, what: str, where: str, do: str) -> None:
        super().__init__(f"{what}: {where}: {do}")
        self.what = what
        self.where = where
        self.do = do


def unreadable(path: str, error: OSError) -> Unreadable:
    """What to raise where a file could not be opened or read."""
    do = error.strerror or str(error) or "check the file"
    if isinstance(error, PermissionError):
        do += "; read it as root or its owner"
    return Unreadable("cannot read", path, do)


class SignatureError(Exception):
    """A signature file that cannot be used: the file and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
