"""What a job is told, as the JSON file that the launcher and every rank read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Defect = Literal[
    "leak", "bad_scale", "lock_reentry", "bad_pointer", "bad_width", "address_limit", "file_limit"
]


class Flaw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A defect of the program or of its data that one rank meets."""

    defect: Defect
    rank: int
    step: int
    """First step that meets it."""
    amount: int = 0
    """``leak``: bytes a step. ``address_limit``: bytes of address space above what the process has
    at its start. ``file_limit``: largest file in bytes."""


class JobConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run."""

    run_id: str
    log_folder: str
    """Gets ``train.log`` (all ranks, each line with its rank) and ``rank<N>.log``."""
    checkpoint_folder: str
    workers: int = 4
    steps: int = 100_000
    seed: int = 0
    step_time_s: float = 0.1
    """The input pipeline's pace; a step takes longer where the processor is slower."""
    checkpoint_every: int = 20
    checkpoints_kept: int | None = 2
    """None: all."""
    collective_timeout_s: float = 12.0
    flaws: tuple[Flaw, ...] = ()

    def flaw(self, defect: Defect, rank: int) -> Flaw | None:
        """The defect of that kind that this rank meets; None: none."""
        return next((f for f in self.flaws if f.defect == defect and f.rank == rank), None)


def read(path: Path) -> JobConfig:
    """The job described in ``path``.

    Raises:
        OSError: The file cannot be read.
        msgspec.ValidationError: It describes no job; the message names the field.
    """
    return msgspec.json.decode(path.read_bytes(), type=JobConfig)


def write(config: JobConfig, path: Path) -> None:
    """Put the job's description at ``path``."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config)))
