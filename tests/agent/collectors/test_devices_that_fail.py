"""Devices that vanish, come back, refuse or dawdle: each is a fact, none stops the others.

A directory in the place of a file is a file that opens and whose read fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainwreck_agent.attribute import Attribute
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.collectors.cpu_frequency import CpuFrequency
from trainwreck_agent.collectors.infiniband import REST_S, Infiniband
from trainwreck_agent.collectors.numa import Numa
from trainwreck_agent.collectors.nvme_smart import NvmeSmart
from trainwreck_agent.collectors.pcie import Pcie
from trainwreck_agent.collectors.power import Power
from trainwreck_agent.collectors.thermal import Thermal
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.presence import Presence

HERE = Path(__file__).parent


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the recorded machine of the collector that the test names."""
    root = tmp_path / "root"
    shutil.copytree(HERE / request.param / "root", root, symlinks=True)
    return root


def recorded(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("machine", [name], indirect=True)


def read(collector: Collector, times: int = 1) -> list[dict[str, object]]:
    """Rows of ``times`` reads, as dictionaries with the name of the table."""
    rows: list[Row] = []
    for _ in range(times):
        rows += collector.collect()
    return [
        {"table": row.table.name}
        | {column.name: v for column, v in zip(row.table.columns, row.values, strict=True)}
        for row in rows
    ]


def health(rows: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(r["collector"], r["status"]) for r in rows if r["table"] == "collector_health"]


class Clock:
    """Seconds that pass when the test says so, or with each look at it."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def fail(file: Path) -> None:
    file.unlink()
    file.mkdir()


def ports(rows: list[dict[str, object]]) -> list[str]:
    return [str(row["device"]) for row in rows if row["table"] == "infiniband"]


@recorded("infiniband")
def test_a_port_whose_counter_fails_rests_and_the_counter_is_left_alone(machine: Path) -> None:
    fail(machine / "sys/class/infiniband/mlx5_0/ports/1/counters/link_downed")
    clock = Clock()
    collector = Infiniband(Host(machine), clock)
    first = read(collector)
    assert "mlx5_0" in ports(first)
    assert health(first) == [("infiniband/mlx5_0/1", "error")]
    [failed] = [row for row in first if row["table"] == "collector_health"]
    assert "counters/link_downed: Is a directory; not read again" in str(failed["detail"])
    assert "mlx5_0" not in ports(read(collector))
    assert "mlx5_1" in ports(read(collector))
    clock.now_s += REST_S + 1
    later = read(collector)
    [row] = [row for row in later if row.get("device") == "mlx5_0"]
    assert row["link_downed_count"] is None
    assert row["symbol_errors_count"] == "0"
    assert health(later) == []


@recorded("infiniband")
def test_a_port_that_takes_long_rests_longer_each_time(machine: Path) -> None:
    for name in ("hfi1_0", "mlx4_0", "mlx5_1", "mlx5_bond_0"):
        shutil.rmtree(machine / "sys/class/infiniband" / name)
    clock = Clock(step_s=0.2)
    collector = Infiniband(Host(machine), clock)
    assert health(read(collector)) == [("infiniband/mlx5_0/1", "slow")]
    assert read(collector) == []
    clock.now_s += REST_S
    assert health(read(collector)) == [("infiniband/mlx5_0/1", "slow")]
    clock.now_s += REST_S
    assert read(collector) == []


@recorded("infiniband")
def test_an_adapter_that_vanishes_and_comes_back_is_told_once_each(machine: Path) -> None:
    folder = machine / "sys/class/infiniband/mlx5_1"
    collector = Infiniband(Host(machine), Clock())
    assert health(read(collector, 11)) == []
    folder.rename(machine / "away")
    assert health(read(collector, 20)) == [("infiniband/mlx5_1/1", "lost")]
    (machine / "away").rename(folder)
    back = read(collector, 20)
    assert health(back) == [("infiniband/mlx5_1/1", "ok")]
    assert "mlx5_1" in ports(back)


@recorded("infiniband")
def test_the_last_adapter_leaving_makes_the_collector_absent(machine: Path) -> None:
    collector = Infiniband(Host(machine), Clock())
    read(collector)
    shutil.rmtree(machine / "sys/class/infiniband")
    with pytest.raises(Unavailable, match="the last adapter vanished"):
        read(collector, 10)


@recorded("pcie")
def test_a_gpu_that_leaves_the_bus_and_a_bridge_that_goes_with_it(machine: Path) -> None:
    collector = Pcie(Host(machine))
    read(collector)
    shutil.rmtree(machine / "sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0")
    (machine / "sys/bus/pci/devices/0000:18:00.0").unlink()
    (machine / "sys/bus/pci/devices/0000:17:00.0").unlink()
    rows = read(collector)
    assert health(rows) == [("pcie/0000:17:00.0", "lost"), ("pcie/0000:18:00.0", "lost")]
    assert "0000:19:00.0" in [row.get("pci") for row in rows]
    assert health(read(collector)) == []


@recorded("pcie")
def test_a_gpu_that_answers_all_ones_and_then_again_its_width(machine: Path) -> None:
    collector = Pcie(Host(machine))
    assert health(read(collector, 2)) == [("pcie/0000:b0:00.0", "lost")]
    (machine / "sys/devices/pci0000:b0/0000:b0:00.0/current_link_width").write_text("16\n")
    assert health(read(collector, 2)) == [("pcie/0000:b0:00.0", "ok")]


@recorded("thermal")
def test_a_sensor_chip_that_vanishes(machine: Path) -> None:
    collector = Thermal(Host(machine))
    assert health(read(collector, 12)) == []
    (machine / "sys/class/hwmon/hwmon2").unlink()
    rows = read(collector, 13)
    assert health(rows) == [("thermal/nvme@0000:3b:00.0", "lost")]


@recorded("thermal")
def test_a_sensor_whose_driver_fails_costs_only_its_own_row(machine: Path) -> None:
    fail(machine / "sys/devices/platform/coretemp.0/hwmon/hwmon1/temp1_input")
    sensors = [row["sensor"] for row in read(Thermal(Host(machine)))]
    assert "Package id 0" not in sensors
    assert "Core 0" in sensors


@recorded("thermal")
def test_a_cooling_device_is_written_when_its_state_changes(machine: Path) -> None:
    def states(rows: list[dict[str, object]]) -> list[object]:
        return [row["cooling_state"] for row in rows if row["chip"] == "Processor"]

    collector = Thermal(Host(machine))
    assert states(read(collector, 5)) == [3]
    (machine / "sys/class/thermal/cooling_device0/cur_state").write_text("7\n")
    assert states(read(collector, 5)) == [7]


@recorded("power")
def test_energy_that_wraps_is_stored_as_read(machine: Path) -> None:
    def energy(rows: list[dict[str, object]]) -> list[object]:
        return [row["energy_uj"] for row in rows if row["chip"] == "package-0"]

    collector = Power(Host(machine))
    assert energy(read(collector)) == ["262143328001"]
    (machine / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("417\n")
    assert energy(read(collector)) == ["417"]


@recorded("power")
def test_energy_that_cannot_be_read_is_denied_and_the_sensors_stay(machine: Path) -> None:
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        fail(machine / f"sys/class/powercap/{zone}/energy_uj")
    collector = Power(Host(machine))
    rows = read(collector)
    assert not [row for row in rows if row.get("source") == "rapl"]
    assert [row for row in rows if row.get("source") == "hwmon"]


@recorded("numa")
def test_a_memory_node_that_is_added_gets_rows(machine: Path) -> None:
    collector = Numa(Host(machine))
    read(collector)
    shutil.copytree(
        machine / "sys/devices/system/node/node1", machine / "sys/devices/system/node/node2"
    )
    rows = read(collector, 12)
    assert health(rows) == [("numa/2", "ok")]
    assert rows[-1]["node"] == 2


@recorded("cpu_frequency")
def test_a_core_that_goes_offline_gets_no_row(machine: Path) -> None:
    collector = CpuFrequency(Host(machine))
    read(collector, 29)
    shutil.rmtree(machine / "sys/devices/system/cpu/cpu1")
    assert [row["core"] for row in read(collector)] == ["0", "2", "10"]


@recorded("nvme_smart")
def test_a_drive_that_cannot_be_asked_is_told_once(machine: Path) -> None:
    collector = NvmeSmart(Host(machine))
    assert health(read(collector, 3)) == [("nvme_smart/nvme2", "error")]
    shutil.copy(machine / "dev/nvme0", machine / "dev/nvme2")
    assert health(read(collector, 3)) == [("nvme_smart/nvme2", "ok")]


def test_a_failed_file_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = Attribute(Host(tmp_path), "/folder")
    assert file.there
    assert file.data() is None
    assert file.broken
    assert not file.there


def test_a_file_that_never_was_is_not_broken(tmp_path: Path) -> None:
    file = Attribute(Host(tmp_path), "/nothing")
    assert not file.there
    assert not file.broken


def test_more_files_than_may_stay_open_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwreck_agent.attribute.KEPT_MAX", Attribute.kept + 1)
    made = []
    for number in range(3):
        (tmp_path / str(number)).write_text(f"{number}\n")
        made.append(Attribute(Host(tmp_path), f"/{number}"))
    kept = Attribute.kept
    assert [file.integer() for file in made for _ in range(2)] == [0, 0, 1, 1, 2, 2]
    for file in made:
        file.close()
    assert Attribute.kept == kept - 1


def test_presence_tells_new_lost_and_back() -> None:
    def told(rows: Iterator[Row]) -> list[tuple[object, ...]]:
        return [row.values[:3] for row in rows]

    presence = Presence("x", ["a"])
    assert told(presence.changes(["a"])) == []
    assert told(presence.changes(["b"])) == [
        ("x/a", "lost", "was there and is not any more"),
        ("x/b", "ok", "is new"),
    ]
    assert told(presence.changes(["a", "b"])) == [("x/a", "ok", "is back")]
