"""Data sets for the runs, made here: nothing is downloaded."""

from __future__ import annotations

import json
import random
from pathlib import Path

SHARDS = 4
SAMPLES = 100
FEATURES = 32
CLASSES = 4


def make(folder: Path) -> None:
    """Shards of JSON lines: a vector of ``FEATURES`` numbers and a class that follows from it."""
    folder.mkdir()
    chance = random.Random(7)
    for shard in range(SHARDS):
        lines = []
        for _ in range(SAMPLES):
            x = [round(chance.gauss(0, 1), 4) for _ in range(FEATURES)]
            y = max(range(CLASSES), key=lambda c: x[c])
            lines.append(json.dumps({"x": x, "y": y}))
        (folder / f"shard-{shard}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
