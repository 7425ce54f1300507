"""Values of fields by type; layouts that we read by ourselves are those of the binding."""

from __future__ import annotations

import ctypes
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.nvml import fields, gpm, nvlink, session
from trainwreck_agent.schema import tables

pynvml = pytest.importorskip("pynvml")


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (0, int.from_bytes(struct.pack("<d", 1.5), "little"), 1.5),
        (1, 0xDEADBEEF_00000007, 7),
        (2, 1 << 40, 1 << 40),
        (3, 1 << 63, 1 << 63),
        (4, (1 << 64) - 5, -5),
        (5, 0xDEADBEEF_FFFFFFF8, -8),
        (6, 0xDEADBEEF_00010003, 3),
    ],
)
def test_value_by_its_type(kind: int, word: int, value: float) -> None:
    assert fields.typed(kind, word) == value


@given(st.integers(0, 20), st.integers(0, (1 << 64) - 1))
def test_no_type_and_value_raise(kind: int, word: int) -> None:
    assert isinstance(fields.typed(kind, word), int | float)
    assert isinstance(fields.error_ratio(word), float)


def test_bit_error_rate() -> None:
    assert fields.error_ratio(5 << 8 | 12) == 5e-12
    assert fields.error_ratio(0) == 0.0


def test_layouts_are_those_of_the_binding() -> None:
    field = pynvml.c_nvmlFieldValue_t
    assert struct.Struct("<24xIIQ").size == ctypes.sizeof(field) == 40
    assert [getattr(field, n).offset for n in ("valueType", "nvmlReturn", "value")] == [24, 28, 32]
    assert ctypes.sizeof(gpm._Metric) == ctypes.sizeof(pynvml.c_nvmlGpmMetric_t)
    for ours, theirs in (("older", "sample1"), ("newer", "sample2"), ("metrics", "metrics")):
        there = getattr(pynvml.c_nvmlGpmMetricsGet_t, theirs).offset
        assert getattr(gpm._Request, ours).offset == there
    memory = pynvml.c_nvmlMemory_v2_t
    assert [getattr(memory, n).offset for n in ("total", "reserved", "used")] == [8, 16, 32]
    assert ctypes.sizeof(memory) == 40 == pynvml.nvmlMemory_v2 & 0xFFFFFF
    assert pynvml.c_nvmlTemperature_v1_t.temperature.offset == 8


def test_field_ids_are_those_of_the_binding() -> None:
    """The ids that drivers and bindings of one time numbered otherwise (251-253) among them."""
    for number, name in {
        74: "NVML_FI_DEV_PERF_POLICY_POWER",
        82: "NVML_FI_DEV_MEMORY_TEMP",
        186: "NVML_FI_DEV_POWER_INSTANT",
        197: "NVML_FI_DEV_PCIE_COUNT_TX_BYTES",
        198: "NVML_FI_DEV_PCIE_COUNT_RX_BYTES",
        230: "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION",
        144: "NVML_FI_DEV_REMAPPED_PENDING",
        145: "NVML_FI_DEV_REMAPPED_FAILURE",
        165: "NVML_FI_DEV_NVLINK_GET_STATE",
    }.items():
        assert getattr(pynvml, name) == number


def test_every_field_has_a_column() -> None:
    columns = {column.name for column in tables()["gpu"].columns}
    assert {field.column for field in (*fields.TICK, *fields.SLOW)} <= columns
    assert len({field.id for field in (*fields.TICK, *fields.SLOW)}) == len(
        fields.TICK + fields.SLOW
    )


def test_links_of_the_numbered_fields() -> None:
    ids = {link: [number for _, number, _, _ in nvlink.link_fields(link)] for link in (0, 6, 12)}
    assert {32, 39, 46, 53, 148} <= set(ids[0])
    assert {96, 102, 108, 114, 154} <= set(ids[6])
    assert not (set(range(32, 160)) - {138, 139}) & set(ids[12])


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (b"00000000:1B:00.0", "0000:1b:00.0"),
        ("0000:C1:00.0", "0000:c1:00.0"),
        (b"00010000:1B:00.0", "00010000:1b:00.0"),
    ],
)
def test_pci_address_as_the_kernel_writes_it(said: object, address: str) -> None:
    assert session.pci_address(SimpleNamespace(busId=said)) == address
