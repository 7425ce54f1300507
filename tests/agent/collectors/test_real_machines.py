"""Numbers of machines that other projects recorded; each was compared with its file by hand."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from trainwreck_agent.collector import find
from trainwreck_agent.host import Host, Unavailable

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
COLLECTORS = find()


def unpacked(name: str, into: Path) -> Path:
    archive = FIXTURES / name
    if not archive.exists():
        pytest.skip(f"{archive} is not on this machine")
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="fully_trusted")
    return into


@pytest.fixture(scope="module")
def hostfs(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(unpacked("hostfs.tar.xz", tmp_path_factory.mktemp("hostfs")) / "hostfs")


@pytest.fixture(scope="module")
def h100(tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("h100")
    (root / "sys/class").mkdir(parents=True)
    folder = unpacked("ib-h100.tar.xz", root) / "ib-h100"
    folder.rename(root / "sys/class/infiniband")
    return Host(root)


def rows(name: str, host: Host) -> list[dict[str, object]]:
    return [
        {c.name: v for c, v in zip(row.table.columns, row.values, strict=True) if v is not None}
        for row in COLLECTORS[name](host).collect()
    ]


def only(found: list[dict[str, object]], **labels: object) -> dict[str, object]:
    [row] = [row for row in found if all(row.get(k) == v for k, v in labels.items())]
    return row


def test_infiniband(hostfs: Host) -> None:
    found = rows("infiniband", hostfs)
    assert len(found) == 4
    mlx5 = only(found, device="mlx5_0")
    assert mlx5["sent_bytes"] == 2880761508848 * 4
    assert mlx5["received_bytes"] == 18126345378 * 4
    assert mlx5["local_ack_timeout_count"] == "131"
    assert mlx5["out_of_sequence_count"] == "1"
    assert mlx5["rate_gbit_per_s"] == "25"
    assert only(found, device="mlx4_0", port=2)["send_wait_ticks"] == "3846"
    assert only(found, device="hfi1_0")["received_bytes"] == 345091702026 * 4


def test_infiniband_of_an_h100_host(h100: Host) -> None:
    found = rows("infiniband", h100)
    assert len(found) == 9
    first = only(found, device="mlx5_0")
    assert first["sent_bytes"] == 230442669431839 * 4
    assert first["receive_errors_count"] == "14"
    assert first["excessive_buffer_overrun_errors_count"] == "15"
    assert first["send_wait_ticks"] == "2489603687"
    assert first["rate_gbit_per_s"] == "400"
    assert only(found, link_layer="Ethernet")["device"] == "mlx5_bond_0"
    assert all("port_guid" not in row for row in found)  # the recording has no GIDs


def test_pcie(hostfs: Host) -> None:
    found = rows("pcie", hostfs)
    assert [(row["pci"], row["role"]) for row in found] == [
        ("0000:00:02.1", "bridge"),
        ("0000:01:00.0", "nvme"),
        ("0000:a2:00.0", "nic"),
    ]
    bridge, drive, nic = found
    assert (bridge["link_width"], bridge["link_width_max"]) == (4, 8)
    assert "aer_correctable_count" not in bridge
    assert drive["parent"] == "0000:00:02.1"
    assert drive["aer_fatal_count"] == 0
    assert nic["numa_node"] == 1
    assert nic["link_speed_gt_per_s"] == "16.0"


def test_power(hostfs: Host) -> None:
    found = rows("power", hostfs)
    package = only(found, device="intel-rapl:0")
    assert package["chip"] == "package-0"
    assert package["energy_uj"] == "240422366267"
    assert package["energy_range_uj"] == 262143328850
    assert only(found, device="intel-rapl:0:0")["energy_uj"] == "118821284256"
    assert only(found, device="AC")["state"] == "offline"
    battery = only(found, device="BAT0")
    assert (battery["power_w"], battery["voltage_v"]) == (4.83, 12.229)


def test_thermal(hostfs: Host) -> None:
    found = rows("thermal", hostfs)
    assert only(found, chip="bcm2835_thermal")["temperature_c"] == 49.925
    assert only(found, chip="acpitz")["temperature_c"] == -44.0
    assert only(found, chip="Processor")["cooling_state"] == 0
    assert not [row for row in found if row["chip"] == "TFN1"]  # it has no cur_state


def test_cpu_frequency(hostfs: Host) -> None:
    found = rows("cpu_frequency", hostfs)
    assert only(found, core="0") == {
        "core": "0",
        "frequency_mhz": 1219.917,
        "core_throttle_count": "10084",
        "package_throttle_count": "34818",
    }
    assert only(found, core="1")["frequency_mhz"] == 1200.195
    assert only(found, core="1")["core_throttle_count"] == "523"


def test_amdgpu(hostfs: Host) -> None:
    [card] = rows("amdgpu", hostfs)
    assert card["uuid"] == "amd-0123456789abcdef"
    assert card["pci"] == "0000:09:00.0"
    assert card["memory_used_bytes"] == "1490378752"
    assert card["utilization_percent"] == "4"
    assert (card["sm_clock_mhz"], card["sm_clock_max_mhz"]) == (852, 1630)
    assert card["memory_clock_mhz"] == 167
    assert (card["pcie_link_generation"], card["pcie_link_width"]) == (3, "16")
    assert "ecc_corrected_count" not in card


def test_nvme_without_its_device_node_keeps_what_sysfs_tells(hostfs: Host) -> None:
    drive = only(rows("nvme_smart", hostfs), device="nvme0")
    assert drive == {
        "serial": "S680HF8N190894I",
        "device": "nvme0",
        "model": "Samsung SSD 970 PRO 512GB",
        "firmware": "1B2QEXP7",
        "state": "live",
    }


@pytest.mark.parametrize("name", ["edac", "xe", "memory_bandwidth", "memory_failure", "pstore"])
def test_what_that_machine_has_not(hostfs: Host, name: str) -> None:
    with pytest.raises(Unavailable) as absence:
        COLLECTORS[name](hostfs)
    assert absence.value.detail
