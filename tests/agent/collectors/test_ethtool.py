"""The statistics of a driver, by the ioctl's own layout."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.collectors.ethtool import (
    Ethtool,
    interfaces,
    is_wanted,
    names,
    statistic_names,
    statistics,
)
from trainwreck_agent.host import Host, Unavailable


class Driver:
    """Answers as a network driver does."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def __call__(self, interface: str, request: bytearray) -> None:
        if interface != "eth0":
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        command = struct.unpack_from("=I", request)[0]
        if command == 0x37:
            struct.pack_into("=I", request, 16, len(self.counts))
        elif command == 0x1B:
            assert struct.unpack_from("=II", request, 4) == (1, len(self.counts))
            for number, name in enumerate(self.counts):
                struct.pack_into("32s", request, 12 + 32 * number, name.encode())
        else:
            struct.pack_into(f"=I{len(self.counts)}Q", request, 4, len(self.counts),
                             *self.counts.values())  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Host:
    for name in ("eth0", "eth1"):
        (tmp_path / f"sys/class/net/{name}/device").mkdir(parents=True)
    (tmp_path / "sys/class/net/lo").mkdir()
    return Host(tmp_path)


def told(collector: Ethtool) -> list[tuple[object, ...]]:
    return [(*row.values[1:], row.ts_us is None) for row in collector.collect()]


def test_what_tells_of_link_and_loss_is_recorded_and_queues_are_not(machine: Host) -> None:
    driver = Driver(rx_packets=7, rx_discards_phy=1, rx0_xdp_drop=2, module_unplug=0)
    assert told(Ethtool(machine, driver)) == [
        ("rx_discards_phy", 1, True),
        ("module_unplug", 0, True),
    ]


def test_a_change_brings_the_value_before_it_with_its_own_time(machine: Host) -> None:
    driver = Driver(rx_discards_phy=1, link_down_events_phy=0)
    collector = Ethtool(machine, driver)
    told(collector)
    assert told(collector) == []
    driver.counts["rx_discards_phy"] = 5
    assert told(collector) == [("rx_discards_phy", 1, False), ("rx_discards_phy", 5, True)]
    driver.counts["rx_discards_phy"] = 9
    assert told(collector) == [("rx_discards_phy", 9, True)]
    assert told(collector) == []


def test_every_value_comes_every_five_minutes(machine: Host) -> None:
    collector = Ethtool(machine, Driver(rx_discards_phy=1))
    assert [len(told(collector)) for _ in range(61)] == [1, *[0] * 29, 1, *[0] * 29, 1]


def test_a_driver_with_other_statistics_than_before_is_asked_anew(machine: Host) -> None:
    driver = Driver(rx_discards_phy=1)
    collector = Ethtool(machine, driver)
    told(collector)
    driver.counts = {"tx_discards_phy": 3, "rx_discards_phy": 1}
    assert told(collector) == []
    assert told(collector) == [("tx_discards_phy", 3, True)]


def test_an_interface_that_fails_is_told_and_asked_again(machine: Host) -> None:
    broken = False

    def driver(interface: str, request: bytearray) -> None:
        if broken and interface == "eth0":
            raise OSError(errno.EIO, "Input/output error")
        Driver(rx_discards_phy=1)(interface, request)

    collector = Ethtool(machine, driver)
    told(collector)
    broken = True
    [row] = collector.collect()
    assert row.values[:3] == ("ethtool/eth0", "error", "Input/output error")
    broken = False
    assert told(collector) == []


def test_a_machine_without_such_a_driver_says_so(machine: Host) -> None:
    with pytest.raises(Unavailable, match="virtual network card"):
        Ethtool(machine, Driver(rx_packets=1))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("rx_prio3_pause_duration", True),
        ("rx_symbol_err_phy", True),
        ("outbound_pci_stalled_wr", True),
        ("rx_pci_signal_integrity", True),
        ("module_high_temp", True),
        ("rx_out_of_buffer", True),
        ("link_down_events_phy", True),
        ("tx_timeout", True),
        ("rx_bytes_phy", False),
        ("rx0_buff_alloc_err", False),
        ("tx12_dropped", False),
        ("rx_queue_7_drops", False),
        ("tx-3.tx_errors", False),
        ("[4]: rx_discards", False),
        ("ch5_aff_change_err", False),
    ],
)
def test_which_statistics_are_kept(name: str, wanted: bool) -> None:
    assert is_wanted(name) is wanted


@given(st.binary(max_size=200))
def test_any_block_of_names(block: bytes) -> None:
    assert len(names(block)) == -(-len(block) // 32)


def test_this_kernel_answers() -> None:
    """The real ioctl, on the first interface of this machine that has statistics."""
    host = Host("/")
    try:
        collector = Ethtool(host)
    except Unavailable as absence:
        pytest.skip(absence.detail)
    for interface in interfaces(host):
        try:
            known = statistic_names(interface, collector._ioctl)
        except OSError:
            continue
        assert all(name.isprintable() for name in known)
        assert len(statistics(interface, len(known), collector._ioctl)) == len(known)
        return
    pytest.skip("no interface here has statistics")
