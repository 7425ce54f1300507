"""What a collector is: one source, read at its own pace, giving rows of declared tables.

A collector file in ``collectors/`` defines one subclass; nothing else has to be touched. Its tests
are a folder ``tests/agent/collectors/<name>/`` with recorded files and ``expected.txt``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from trainwreck_agent.host import Host
from trainwreck_agent.schema import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

Value = int | float | str | bool | None
"""A cell. A ``str`` goes to the journal as it is, so digits read from a file need no conversion."""


@dataclass(slots=True)
class Row:
    """One row of ``table``: the values of its columns in declared order, ``ts`` and ``host`` apart.

    ``ts_us`` (µs since 1970 UTC) is for events with a time of their own; None: this tick.
    """

    table: Table
    values: tuple[Value, ...]
    ts_us: int | None = None


class Collector:
    """Reads one source of the machine.

    ``__init__`` looks whether the source is there, opens what stays open, and raises
    ``Unavailable`` with the reason where it is not. ``collect`` reads and yields rows. No
    subprocess, no thread, no sleep: budget 5 ms.
    """

    name: ClassVar[str]
    """Also the name of the file."""
    every_s: ClassVar[float] = 1.0
    """Pace. Cheap things every second, dear ones slower."""
    may_block: ClassVar[bool] = False
    """A read can hang (network file systems, firmware, device drivers): then the collector runs
    in a child process with a deadline, and a hang costs only itself."""
    tables: ClassVar[tuple[Table, ...]]
    """Tables it writes rows of."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def collect(self) -> Iterator[Row]:
        """Yield the rows of this moment.

        Raises:
            OSError: The source failed; recorded, and tried again at the next turn.
            Unavailable: The source is gone.
        """
        raise NotImplementedError


def find() -> dict[str, type[Collector]]:
    """The collectors by name: every file of ``collectors/`` that defines one.

    A file that fails to import is a broken installation, and raises.
    """
    from trainwreck_agent import collectors

    found: dict[str, type[Collector]] = {}
    names = {name.split(".")[0] for path in collectors.__path__ for name in os.listdir(path)}
    for name in sorted(name for name in names if not name.startswith("_")):
        loaded = importlib.import_module(f"{collectors.__name__}.{name}")
        for value in vars(loaded).values():
            if (
                isinstance(value, type)
                and issubclass(value, Collector)
                and value.__module__ == loaded.__name__
            ):
                found[value.name] = value
    return found
