"""The recorder as a systemd service: its unit file, and where that lies.

Source: https://www.freedesktop.org/software/systemd/man/systemd.service.html
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trainwreck_agent.layout import Layout

NAME = "trainwreck.service"
TEMPLATE = Path(__file__).with_name(NAME)
FOLDER = "etc/systemd/system"
DATA = Path("/var/lib/trainwreck")


class ServiceError(Exception):
    """The service cannot be installed or removed: what, where, and what to do, in one line."""


def render(data: Path, options: Sequence[str] = (), python: str = sys.executable) -> str:
    """The unit file of a recorder that writes to ``data``."""
    command = [python, "-m", "trainwreck_agent", "record", "--data", str(data), *options]
    unit = TEMPLATE.read_text().replace("@COMMAND@", " ".join(map(quote, command)))
    kept = data.is_relative_to("/var/lib") and data != Path("/var/lib")
    if kept:
        unit = unit.replace("@STATE@", quote(str(data.relative_to("/var/lib"))))
    else:  # systemd makes folders below /var/lib only
        lines = (line for line in unit.splitlines() if not line.startswith("StateDirectory"))
        unit = "\n".join(lines) + "\n"
    return unit.replace("@DATA@", quote(str(data)))


def quote(word: str) -> str:
    """A word of a unit file's line: specifiers and variables are switched off."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if any(c.isspace() or c in "\"';\\" for c in word) else plain


def unit_path(root: Path) -> Path:
    """Where the unit file lies below a root folder."""
    return root / FOLDER / NAME


def install(root: Path, data: Path, options: Sequence[str] = ()) -> Path:
    """Write the unit file and make the data directory; the path of the unit.

    Raises:
        ServiceError: One of them cannot be written.
        DataDirectoryError: The data directory is of another version.
    """
    if any("\n" in word for word in (str(data), *options)):
        raise ServiceError(f"{data!r}: a unit file takes no line breaks; choose another name")
    path = unit_path(root)
    Layout(root / data.relative_to("/")).create()
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        Layout.replace(path, render(data, options))
        path.chmod(0o644)
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}; run as root, or name --root") from error
    return path


def uninstall(root: Path) -> Path | None:
    """Remove the unit file, never the data; its path, or None where there was none.

    Raises:
        ServiceError: It cannot be removed.
    """
    path = unit_path(root)
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}; run as root, or name --root") from error
    return path
