"""What a log says of the run in passing: framework, world size, job."""

from __future__ import annotations

import re

_FRAMEWORKS = (
    ("megatron", re.compile(r"megatron|number of parameters on \(tensor, pipeline\)", re.I)),
    ("nemo", re.compile(r"\bNeMo\b|nemo_logging", re.ASCII)),
    ("deepspeed", re.compile(r"deepspeed|\[stage_?[123]", re.I)),
    ("torchtitan", re.compile(r"torchtitan|\[titan\]", re.I)),
    ("lightning", re.compile(r"pytorch_lightning|lightning\.pytorch|lightning/fabric", re.I)),
    ("transformers", re.compile(r"transformers/trainer|'train_runtime'|\*{5} Running training")),
    ("jax", re.compile(r"\bjax(?:lib)?\b|XlaRuntimeError", re.ASCII)),
    ("tensorflow", re.compile(r"tensorflow", re.I)),
    ("mosaicml", re.compile(r"\bcomposer[./]|MosaicML", re.ASCII)),
    ("pytorch", re.compile(r"torch|ProcessGroupNCCL|c10d", re.ASCII)),
)
_WORLD = re.compile(
    r"\b(?:world[_ ]size|nranks|WORLD_SIZE|num_processes)['\"]?[ =:]{1,3}(\d{1,6})\b"
)
_JOB = re.compile(r"\b(?:SLURM_JOB_ID=|JOB |STEP |slurm job id:? |StepId=)(\d{2,12})\b")


def framework(text: str) -> str | None:
    """The framework that speaks, by its own name for itself."""
    return next((name for name, pattern in _FRAMEWORKS if pattern.search(text)), None)


def world_size(text: str) -> int | None:
    """How many ranks the run has."""
    found = _WORLD.search(text)
    return int(found[1]) if found else None


def job(text: str) -> str | None:
    """The scheduler's number of the job."""
    found = _JOB.search(text)
    return found[1] if found else None
