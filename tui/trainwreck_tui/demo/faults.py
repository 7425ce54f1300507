"""The faults, and the draw of who meets one and when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from trainwreck_tui.demo import sandbox
from trainwreck_tui.demo.job import checkpoint
from trainwreck_tui.demo.job.config import Defect, Flaw
from trainwreck_tui.demo.job.model import Model
from trainwreck_tui.demo.sandbox import Place

MEMORY_LIMIT_BYTES = 768 << 20
"""Of all ranks together; they need about 200 MiB."""
_ADDRESS_SPACE_ABOVE_START_BYTES = 600 << 20
_LEAK_BYTES_PER_STEP = 5 << 20
"""At ten steps a second the limit is reached about 12 s after the leak began."""
_STEPS = (50, 90)
"""The first step that meets the flaw is drawn from these: 5 to 9 s after the start."""


class Fault(StrEnum):
    """What will go wrong."""

    HOST_OOM = "host-oom"
    NAN = "nan"
    HANG = "hang"
    SEGFAULT = "segfault"
    DISK_FULL = "disk-full"
    EXCEPTION = "exception"


@dataclass(frozen=True, slots=True)
class Plan:
    """One fault, drawn."""

    fault: Fault
    flaws: tuple[Flaw, ...]
    place: Place
    announcement: str
    """For a person, when its step has come."""
    checkpoints_kept: int | None = 2

    @property
    def step(self) -> int:
        """The step at which it begins."""
        return max((flaw.step for flaw in self.flaws), default=0)


_SIMPLE: dict[Fault, tuple[Defect, str]] = {
    Fault.NAN: ("bad_scale", "rank {rank} reads a shard that was never normalised"),
    Fault.HANG: ("lock_reentry", "the loader of rank {rank} takes its own lock twice"),
    Fault.SEGFAULT: ("bad_pointer", "rank {rank} passes a wild pointer to native code"),
    Fault.EXCEPTION: ("bad_width", "rank {rank} reads a shard with a column missing"),
}


@contextmanager
def plan(fault: Fault, workers: int, seed: int, folder: Path) -> Iterator[Plan]:
    """The fault as it will happen, with the place for it made; unmade on leaving.

    ``folder`` is where checkpoints go.
    """
    draw = random.Random(seed)
    rank, step = draw.randrange(workers), draw.randint(*_STEPS)
    if fault in _SIMPLE:
        defect, text = _SIMPLE[fault]
        folder.mkdir(parents=True, exist_ok=True)
        yield Plan(fault, (Flaw(defect, rank, step),), Place("none", ""), text.format(rank=rank))
    elif fault is Fault.HOST_OOM:
        leak = Flaw("leak", rank, step, _LEAK_BYTES_PER_STEP)
        said = f"rank {rank} keeps 5 MiB more at every step from now on"
        with sandbox.limited_memory(MEMORY_LIMIT_BYTES, f"job-{draw.getrandbits(32):08x}") as place:
            flaws: tuple[Flaw, ...] = (leak,)
            if place.kind == "limit":
                flaws += (Flaw("address_limit", rank, 0, _ADDRESS_SPACE_ABOVE_START_BYTES),)
            yield Plan(fault, flaws, place, said)
    else:
        saved_bytes = checkpoint.size_bytes(Model(0))
        size_bytes = int(saved_bytes * draw.uniform(3.2, 4.8))
        with sandbox.small_disk(folder, size_bytes) as place:
            said = f"checkpoints fill a file system of {size_bytes >> 10} KiB"
            flaws = ()
            if place.kind == "limit":
                flaws = (Flaw("file_limit", 0, 0, saved_bytes // 2),)
                said = "rank 0 may not write files as large as a checkpoint"
            yield Plan(fault, flaws, place, said, checkpoints_kept=None)
