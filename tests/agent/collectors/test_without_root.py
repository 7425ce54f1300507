"""What an ordinary user may not read is denied, with the reason, and costs nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trainwreck_agent.collector import find
from trainwreck_agent.host import Host, Unavailable

HERE = Path(__file__).parent
NOBODY = 65534


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of a recorded machine that everybody may read."""
    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "root"
        shutil.copytree(HERE / request.param / "root", root, symlinks=True)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        yield root
    finally:
        shutil.rmtree(folder)


@contextmanager
def nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def close(machine: Path, *paths: str) -> None:
    for path in paths:
        (machine / path).chmod(0)


ZONES = [f"sys/class/powercap/{zone}/energy_uj" for zone in ("intel-rapl:0", "intel-rapl:0:0")]


@pytest.mark.parametrize("machine", ["power"], indirect=True)
def test_energy_is_for_root_and_the_sensors_are_read(machine: Path) -> None:
    close(machine, *ZONES)
    with nobody():
        rows = list(find()["power"](Host(machine)).collect())
    notes = [row.values[:3] for row in rows if row.table.name == "collector_health"]
    reason = "/sys/class/powercap: energy counters are for root only"
    assert notes == [("power/rapl", "denied", reason)]
    assert [row.values[0] for row in rows if row.table.name == "power"].count("hwmon") == 6


@pytest.mark.parametrize("machine", ["power"], indirect=True)
def test_energy_alone_makes_the_collector_denied(machine: Path) -> None:
    shutil.rmtree(machine / "sys/class/hwmon")
    shutil.rmtree(machine / "sys/class/power_supply")
    close(machine, *ZONES)
    with nobody(), pytest.raises(Unavailable, match="root only") as absence:
        find()["power"](Host(machine))
    assert absence.value.status == "denied"


@pytest.mark.parametrize(
    ("machine", "name", "path", "says"),
    [
        ("bmc", "bmc", "dev/ipmi0", "/dev/ipmi0: permission denied; run as root"),
        ("pstore", "pstore", "sys/fs/pstore", "/sys/fs/pstore: Permission denied; run as root"),
    ],
    indirect=["machine"],
)
def test_a_source_for_root_alone_is_denied(machine: Path, name: str, path: str, says: str) -> None:
    close(machine, path)
    with nobody(), pytest.raises(Unavailable) as absence:
        find()[name](Host(machine))
    assert (absence.value.status, absence.value.detail) == ("denied", says)


@pytest.mark.parametrize("machine", ["nvme_smart"], indirect=True)
def test_a_drive_keeps_what_everybody_may_read(machine: Path) -> None:
    close(machine, "dev/nvme0")
    with nobody():
        rows = list(find()["nvme_smart"](Host(machine)).collect())
    notes = [row.values[:3] for row in rows if row.table.name == "collector_health"]
    assert notes[0] == (
        "nvme_smart/nvme0",
        "denied",
        "/dev/nvme0: permission denied; run as root",
    )
    [first] = [row for row in rows if row.values[1] == "nvme0"]
    assert first.values[0] == "S6CUNC0T400123"
