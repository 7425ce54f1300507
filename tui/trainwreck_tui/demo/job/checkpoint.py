"""Saves the weights and the optimiser's state."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from trainwreck_tui.demo.job.model import Model


def save(model: Model, step: int, folder: Path, kept: int | None) -> Path:
    """The checkpoint's path, once it is safe on disk; older ones beyond ``kept`` are removed.

    Raises:
        OSError: It could not be written (ENOSPC, EFBIG …); the unfinished file stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.npz"
    unfinished = path.with_suffix(".npz.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, step=np.int64(step), weights=model.weights, momentum=model.momentum)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    if kept is not None:
        for old in sorted(folder.glob("step-*.npz"))[:-kept]:
            old.unlink()
    return path


def size_bytes(model: Model) -> int:
    """Bytes that ``save`` writes, within a few hundred."""
    return model.weights.nbytes + model.momentum.nbytes + 1024
