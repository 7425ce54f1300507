"""What one file told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.clock import Stamp
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.hosts import Named
from trainwreck_analyzer.series import Step
from trainwreck_analyzer.verdict import Input


@dataclass(slots=True)
class Reading:
    """What one file told, on its own clock."""

    input: Input
    facts: list[Fact] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    framework: str | None = None
    world_size: int | None = None
    job: str | None = None
    rank: int | None = None
    bounds: tuple[Stamp | None, Stamp | None] = (None, None)
    """Its first and its last time."""
    stated_shift_s: int | None = None
    """Seconds to add to its times without a zone, by lines beside them with one; None: unknown."""
    boot: Boot = field(default_factory=Boot)
    """Where seconds since boot stand on the wall clock."""
    hosts: Named = field(default_factory=Named)
    """The hosts that it names as its own."""
    starts: list[tuple[int, datetime | None]] = field(default_factory=list)
    """Lines with a launcher's first words."""

    @property
    def zoned(self) -> bool | None:
        """Whether its wall clock names its zone; None: it has no wall clock."""
        stamps = [stamp for stamp in self.bounds if stamp is not None]
        return all(stamp.zoned for stamp in stamps) if stamps else None
