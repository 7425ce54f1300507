"""The power fails: a few cuts of ``python -m benchmarks.power_cut``, which does many."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import power_cut


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_all_but_the_tick_in_flight_survives_a_power_cut(kind: str, tmp_path: Path) -> None:
    """The first cut comes when the directory has just been made, the second while it is sealed."""
    if os.geteuid():
        pytest.skip("only root can mount a disk")
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        pytest.skip("no FUSE or no loop devices here")
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is not installed here")
    check, _ = power_cut.run(2, kind, 1, tmp_path, ("prepared", "seal"))
    assert check.bad == []
    assert check.seen
