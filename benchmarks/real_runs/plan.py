"""What a run is: which script, where it runs, what happens to it, and what its log must be called.

``tests/analyzer/real/*.toml`` hold the runs. The answer there is decided by what was done to the
run, never by what the analyzer says.
"""

from __future__ import annotations

import dataclasses
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FRAMEWORKS = {
    "pytorch": "torch", "transformers": "transformers", "accelerate": "accelerate",
    "lightning": "lightning", "deepspeed": "deepspeed", "jax": "jax", "tensorflow": "tensorflow",
    "ray": "ray",
}  # fmt: skip
"""Each framework, and the module that must be there to run it."""
Launcher = Literal["python", "shell", "torchrun", "processes", "deepspeed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run."""

    name: str
    framework: str
    script: str
    kind: str
    """Sort of fault, or of clean run."""
    cause: tuple[str, ...]
    """Codes of ``causes.csv``: what was done first, then what the text alone allows as well."""
    args: str = ""
    before: tuple[str, ...] = ()
    """Arguments of runs that go before, in the same folder; what they print is not kept."""
    prepare: str = ""
    """Shell command in the run's folder just before it starts."""
    rank: int | None = None
    """The rank that must be named."""
    why: str = ""
    """Why more than one answer is right."""
    known_miss: str = ""
    """Why the analyzer does not say it today; the test expects the miss."""
    launcher: Launcher = "python"
    ranks: int = 1
    rank_logs: bool = False
    """One file for each rank beside the launcher's."""
    env: dict[str, str] = field(default_factory=dict)
    limits: str = ""
    """Options of prlimit(1), or of setpriv(1)."""
    memory_mib: int = 0
    rank_memory_mib: int = 0
    """Limit of each rank, in a group of its own."""
    tasks: int = 0
    """Largest number of threads and processes."""
    shm_kib: int = 0
    disk_kib: int = 0
    """Size of the file system at ``out``."""
    read_only: bool = False
    """Whether that file system is mounted read-only."""
    signal: str = ""
    to: str = "launcher"
    """Who gets the signal: launcher, group, worker, or the number of a rank."""
    after: str = ""
    """Text in the log after which the signal goes out."""
    shows: str = ""
    """Pattern that must be in the log: proof that the fault met the run where it was meant to."""
    deadline_s: int = 200
    ends: str = ""
    """``cut``: at its deadline the run is killed, and that is the story."""
    kernel: bool = False
    """Whether the kernel's lines of that time belong to the story."""

    @property
    def argv(self) -> list[str]:
        """The arguments, split."""
        return shlex.split(self.args)


def read(path: Path) -> list[Run]:
    """The runs of a TOML file.

    Raises:
        ValueError: A run names a field that there is not.
    """
    known = {f.name for f in dataclasses.fields(Run)}
    runs = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["run"]:
        if wrong := entry.keys() - known:
            raise ValueError(f"{path}: {entry.get('name')}: no such field: {sorted(wrong)}")
        runs.append(Run(**{k: _frozen(v) for k, v in entry.items()}))
    names = [run.name for run in runs]
    if twice := {n for n in names if names.count(n) > 1}:
        raise ValueError(f"{path}: names given twice: {sorted(twice)}")
    return runs


def _frozen(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    return tuple(value) if isinstance(value, list) else value
