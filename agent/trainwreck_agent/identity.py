"""Who a process is in a training job, told by its environment and command line.

Sources: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables,
https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES,
https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainwreck_agent.redact import redact

RANK = (b"RANK", b"SLURM_PROCID", b"OMPI_COMM_WORLD_RANK", b"PMI_RANK", b"PMIX_RANK",
        b"JAX_PROCESS_ID")  # fmt: skip
LOCAL_RANK = (b"LOCAL_RANK", b"SLURM_LOCALID", b"OMPI_COMM_WORLD_LOCAL_RANK", b"MPI_LOCALRANKID")
WORLD_SIZE = (b"WORLD_SIZE", b"SLURM_NTASKS", b"OMPI_COMM_WORLD_SIZE", b"PMI_SIZE",
              b"JAX_NUM_PROCESSES")  # fmt: skip
JOB = (b"SLURM_JOB_ID", b"TORCHELASTIC_RUN_ID", b"PBS_JOBID", b"LSB_JOBID", b"RAY_JOB_ID",
       b"JOB_NAME", b"MASTER_ADDR")  # fmt: skip
"""Names of environment variables, the better one first. Nothing else of an environment is kept."""

_SHELLS = frozenset(
    [
        "bash",
        "sh",
        "dash",
        "zsh",
        "fish",
        "ksh",
        "tmux:",
        "sshd",
        "sudo",
        "su",
        "srun",
        "slurmstepd",
        "sleep",
        "cat",
        "tee",
        "tail",
        "less",
    ]
)
_LAUNCHER = re.compile(
    rb"(?:^|[/\x00])(?:torchrun|deepspeed|accelerate|mpirun|mpiexec|horovodrun|composer|colossalai)"
    rb"\x00|torch\.distributed\.(?:run|launch)\x00|accelerate\.commands\.launch"
)
COMMAND_MAX = 512
ARGUMENTS_MAX = 16 * COMMAND_MAX
"""Bytes of a command line that are looked at for people: four times too many characters, of up to
four bytes each."""
_HINTS = (b"RANK", b"PROCID=", b"LOCALID=", b"PROCESS_ID=", b"_SIZE=", b"NTASKS=", b"PROCESSES=",
          b"JOB", b"RUN_ID=", b"MASTER_ADDR=")  # fmt: skip
"""One of these is in the name of every variable above; most environments have none of them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process' place in a job. ``None``: not told."""

    rank: int | None = None
    local_rank: int | None = None
    world_size: int | None = None
    job: str | None = None
    launcher: bool = False

    @property
    def training(self) -> bool:
        """Whether it is a rank of a job, or starts the ranks."""
        return self.rank is not None or self.launcher


NOBODY = Identity()
"""Of every process that has no place in a job."""


def may_be_training(name: str) -> bool:
    """Whether a process of that name can be a rank: shells and such only pass on what they got."""
    return name not in _SHELLS


def identify(name: str, command: bytes, environment: bytes) -> Identity:
    """The identity told by ``/proc/PID/cmdline`` and ``/proc/PID/environ``."""
    launcher = _LAUNCHER.search(command) is not None
    if not may_be_training(name) or not any(hint in environment for hint in _HINTS):
        return Identity(launcher=True) if launcher else NOBODY
    found: dict[bytes, bytes] = {}
    for pair in environment.split(b"\0"):
        key, _, value = pair.partition(b"=")
        if value and key not in found:
            found[key] = value
    job = next((found[key] for key in JOB if key in found), None)
    return Identity(
        rank=_first_number(found, RANK),
        local_rank=_first_number(found, LOCAL_RANK),
        world_size=_first_number(found, WORLD_SIZE),
        job=None if job is None else job.decode("utf-8", "replace")[:128],
        launcher=launcher,
    )


def command_line(command: bytes) -> str | None:
    """The command line for people: secrets redacted, shortened; None for kernel threads."""
    words = command.replace(b"\0", b" ").strip().decode("utf-8", "replace")
    return redact(words[: 4 * COMMAND_MAX])[:COMMAND_MAX] if words else None


def _first_number(found: dict[bytes, bytes], keys: tuple[bytes, ...]) -> int | None:
    for key in keys:
        value = found.get(key, b"")
        if value.isdigit() and len(value) < 10:
            return int(value)
    return None
