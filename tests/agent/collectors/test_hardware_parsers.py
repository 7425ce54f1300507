"""What the small parsers of bus and sensors give for odd input."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.collectors import amdgpu, infiniband, numa, nvme_smart, pcie, pstore, thermal
from trainwreck_agent.collectors.power import sensor_values
from trainwreck_agent.drm import generation
from trainwreck_agent.uncore import config, cpus, perf_event_open, terms

ANY_TEXT = st.text(max_size=200)
ANY_BYTES = st.binary(max_size=400)


@given(ANY_TEXT)
def test_any_text(text: str) -> None:
    infiniband.guid(text)
    infiniband.state_name(text)
    infiniband.rate(text)
    pcie.gigatransfers(text)
    generation(text)
    terms(text)
    cpus(text)


@given(ANY_BYTES)
def test_any_bytes(data: bytes) -> None:
    numa.memory_bytes(data)
    numa.allocations(data)
    numa.large_blocks(data, 9)
    pcie.errors(data, data, data)
    amdgpu.clocks(data)
    amdgpu.errors([data])
    nvme_smart.health(data)
    assert all(len(values) == 7 for values in pstore.parse(data, "efi"))


@pytest.mark.parametrize(
    ("gid", "guid"),
    [
        ("fe80:0000:0000:0000:946d:ae03:00f2:7c3a", "946d:ae03:00f2:7c3a"),
        ("0000:0000:0000:0000:0000:0000:0000:0000", None),
        ("", None),
    ],
)
def test_guid_of_a_port(gid: str, guid: str | None) -> None:
    assert infiniband.guid(gid) == guid


def test_total_of_nonfatal_errors_under_its_old_name() -> None:
    assert pcie.errors(None, b"CmpltTO 3\nTOTAL_ERR_FATAL 3\n", None)[1] == 3


def test_no_aer_is_not_zero() -> None:
    assert pcie.errors(None, None, None) == (None,) * 10


@pytest.mark.parametrize(
    ("millidegrees", "degrees"), [(-44000, -44.0), (0, 0.0), (-274000, None), (None, None)]
)
def test_temperatures(millidegrees: int | None, degrees: float | None) -> None:
    assert thermal.celsius(millidegrees) == degrees


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("power", 812000000, (812.0, None, None, None, None)),
        ("energy", 99123456, (None, 99123456, None, None, None)),
        ("in", 229750, (None, None, None, 229.75, None)),
        ("curr", 5240, (None, None, None, None, 5.24)),
        ("power", None, (None,) * 5),
    ],
)
def test_units_of_power_sensors(kind: str, value: int | None, expected: tuple[object]) -> None:
    assert sensor_values(kind, value) == expected


def test_a_short_health_log_has_no_values() -> None:
    assert nvme_smart.health(b"\0" * 511) == (None,) * 14


def test_events_of_a_memory_controller_become_its_config_word() -> None:
    formats = {"event": "config:0-7", "umask": "config:8-15"}
    assert config(terms("event=0x04,umask=0x03"), formats) == 0x0304
    assert config(terms("event=0x05,umask=0xcf"), formats) == 0xCF05
    assert config(terms("event=0x1ff"), formats) is None
    assert config(terms("event=0x04,edge"), formats) is None
    umc = {"event": "config:0-7", "rdwrmask": "config:8-9"}
    assert config({"event": 0x0A, "rdwrmask": 2}, umc) == 0x20A


def test_lists_of_processors() -> None:
    assert cpus("0,24-26") == [0, 24, 25, 26]
    assert cpus("0-") == []


def test_a_software_event_can_be_counted() -> None:
    """The system call itself, with an event that needs no hardware: context switches of CPU 0."""
    try:
        fd = perf_event_open(1, 3, 0)
    except OSError as error:
        pytest.skip(f"perf_event_open: {error.strerror}")
    try:
        count, enabled, running = struct.unpack("<QQQ", os.read(fd, 24))
    finally:
        os.close(fd)
    assert count >= 0
    assert 0 < running <= enabled
