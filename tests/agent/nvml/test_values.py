"""What a healthy machine's GPUs say arrives as it was said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trainwreck_agent.nvml import device
from trainwreck_agent.schema import tables


def test_every_gpu_gives_a_row_each_tick(start: Callable[..., Any], fake: Any) -> None:
    fake.set("power_mw", 412345, 3)
    fake.set("temperature_c", 61, 3)
    fake.set("clock_event_reasons", 0x44, 3)
    gpus = start().fresh()
    assert [gpu["status"] for gpu in gpus] == ["ok"] * 8
    got = {
        name: gpus[3][name]
        for name in (
            "uuid",
            "serial",
            "gpu_index",
            "pci",
            "name",
            "utilization_percent",
            "memory_used_bytes",
            "memory_total_bytes",
            "memory_reserved_bytes",
            "sm_clock_mhz",
            "sm_clock_max_mhz",
            "memory_clock_mhz",
            "temperature_c",
            "memory_temperature_c",
            "temperature_slowdown_c",
            "temperature_shutdown_c",
            "temperature_margin_c",
            "slowdown_tlimit_c",
            "power_w",
            "power_instant_w",
            "power_limit_w",
            "clock_event_reasons",
            "pcie_link_width",
            "pcie_link_width_max",
            "fabric_state",
            "recovery_action",
        )
    }
    assert got == {
        "uuid": "GPU-00000000-0000-0000-0000-000000000003",
        "serial": "1650000000003",
        "gpu_index": 3,
        "pci": "0000:4b:00.0",
        "name": "Fake H100 80GB HBM3",
        "utilization_percent": 90,
        "memory_used_bytes": (1 << 30) + 3 * (1 << 20),
        "memory_total_bytes": 80 << 30,
        "memory_reserved_bytes": 1 << 29,
        "sm_clock_mhz": 1703,
        "sm_clock_max_mhz": 1980,
        "memory_clock_mhz": 2619,
        "temperature_c": 64,
        "memory_temperature_c": 71,
        "temperature_slowdown_c": 89,
        "temperature_shutdown_c": 92,
        "temperature_margin_c": 23,
        "slowdown_tlimit_c": -2,
        "power_w": 412.345,
        "power_instant_w": 413.845,
        "power_limit_w": 700.0,
        "clock_event_reasons": 0x44,
        "pcie_link_width": 16,
        "pcie_link_width_max": 16,
        "fabric_state": 3,
        "recovery_action": 0,
    }


def test_counters_move_and_rows_have_the_time_of_their_reading(
    start: Callable[..., Any],
) -> None:
    recorder = start()
    recorder.fresh()
    rows = [row for row in recorder.rows if row.table.name == "gpu" and row.values[2] == 0]
    times = [row.ts_us for row in rows]
    assert times == sorted(set(times))
    energies = [row["energy_mj"] for row in recorder.table("gpu") if row["gpu_index"] == 0]
    assert energies[0] < energies[-1]


def test_memory_errors_by_place(start: Callable[..., Any], fake: Any) -> None:
    for name, value in {
        "ecc_corrected": 7,
        "ecc_uncorrected": 2,
        "sram_uncorrected": 5,
        "sram_threshold": 1,
        "remap_correctable": 3,
        "remap_uncorrectable": 1,
        "remap_pending": 1,
        "remap_failed": 1,
        "recovery_action": 2,
        "pcie_replays": 11,
        "pcie_errors": 4,
    }.items():
        fake.set(name, value, 1)
    recorder = start()
    gpu = recorder.fresh()[1]
    names = (
        "ecc_corrected_count",
        "ecc_uncorrected_count",
        "sram_threshold_exceeded",
        "rows_remapped_correctable_count",
        "rows_remapped_uncorrectable_count",
        "row_remap_pending",
        "row_remap_failed",
        "row_remap_banks_max_count",
        "recovery_action",
        "pcie_replay_count",
        "pcie_bad_tlp_count",
    )
    assert [gpu[name] for name in names] == [7, 2, 1, 3, 1, 1, 1, 636, 2, 11, 4]
    places = {
        row["place"]: (row["corrected_count"], row["uncorrected_count"])
        for row in recorder.table("gpu_ecc")
        if row["uuid"] == gpu["uuid"]
    }
    assert places["dram"] == (7, 2)
    assert places["texture"] == (7, 2)
    assert places["cbu"] == (None, 2)
    assert places["sram_secded"] == (0, 5)


def test_what_a_device_does_not_tell_is_null_and_never_zero(
    start: Callable[..., Any], fake: Any
) -> None:
    fake.set("has_ecc", 0)
    fake.set("has_gpm", 0)
    fake.set("has_power", 0)
    recorder = start()
    gpu = recorder.fresh()[0]
    names = (
        "ecc_corrected_count",
        "sram_threshold_exceeded",
        "sm_active_percent",
        "power_w",
        "retired_pages_pending",
        "c2c_error_count",
        "channel_repair_pending",
    )
    assert [gpu[name] for name in names] == [None] * len(names)
    assert recorder.table("gpu_ecc") == []


def test_activity_by_gpm(start: Callable[..., Any]) -> None:
    gpu = start().fresh()[0]
    assert gpu["sm_active_percent"] == 2.5
    assert gpu["sm_occupancy_percent"] is None  # this one metric is refused by the fake
    assert gpu["tensor_active_percent"] == 5.5
    assert gpu["gpm_nvlink_received_bytes_per_s"] == 60.5 * (1 << 20)


def test_nvlinks(start: Callable[..., Any], fake: Any) -> None:
    fake.set("link_down_mask", 1 << 17, 2)
    recorder = start()
    gpu = recorder.fresh()[2]
    links = {r["link"]: r for r in recorder.table("nvlink") if r["uuid"] == gpu["uuid"]}
    assert sorted(links) == list(range(18))
    assert (links[0]["state"], links[17]["state"]) == ("active", "inactive")
    assert (links[5]["replay_count"], links[17]["recovery_count"]) == (15, 3)
    assert links[0]["sent_bytes"] % 1024 == 0
    assert links[0]["symbol_ber_ratio"] is None
    assert gpu["nvlink_sent_bytes"] > links[0]["sent_bytes"]


def test_nvlinks_of_a_device_that_has_no_field_for_their_state(
    start: Callable[..., Any], fake: Any
) -> None:
    fake.set("has_link_fields", 0)
    fake.set("link_down_mask", 1 << 2, 0)
    recorder = start()
    recorder.fresh()
    states = [row["state"] for row in recorder.table("nvlink")[:18]]
    assert states == ["active"] * 2 + ["inactive"] + ["active"] * 15


def test_counters_of_nvlink_5(start: Callable[..., Any], fake: Any) -> None:
    fake.set("has_nvlink5", 1)
    recorder = start()
    recorder.fresh()
    link = recorder.table("nvlink")[0]
    assert link["effective_ber_ratio"] == 3e-15
    assert link["malformed_packet_count"] == 206
    assert link["fec_history"] == "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"


def test_processes_with_their_memory(start: Callable[..., Any], fake: Any) -> None:
    fake.set("process_count", 2)
    recorder = start()
    gpu = recorder.fresh()[4]
    found = [r for r in recorder.table("gpu_process") if r["uuid"] == gpu["uuid"]]
    assert [(r["pid"], r["memory_used_bytes"], r["gpu_instance"]) for r in found[:2]] == [
        (1400, 1 << 30, None),
        (1401, None, None),
    ]


def test_more_processes_than_there_was_room_for(start: Callable[..., Any], fake: Any) -> None:
    fake.set("process_count", 100)
    recorder = start()
    recorder.until(lambda: len({r["pid"] for r in recorder.table("gpu_process")}) > 700)


def test_inventory_once_a_device(start: Callable[..., Any]) -> None:
    recorder = start()
    recorder.fresh()
    rows = recorder.table("gpu_inventory")
    assert len(rows) == 8
    first = rows[0]
    assert (first["driver"], first["cuda"], first["nvlink_count"]) == ("550.54.15", "12.4", 18)
    assert (first["numa_node"], first["ecc_mode"], first["mig_mode"]) == (None, True, False)


def test_events_of_the_driver(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    gpu = recorder.fresh()[5]
    fake.set("event_device", 5)
    fake.set("event_serial", 1)
    recorder.until(lambda: recorder.table("gpu_event"))
    assert recorder.table("gpu_event") == [
        {
            "uuid": gpu["uuid"],
            "event": "xid",
            "data": 79,
            "gpu_instance": None,
            "compute_instance": None,
        }
    ]


def test_every_column_is_filled_by_something(start: Callable[..., Any], fake: Any) -> None:
    """All columns of gpu but those of parts that this fake has not."""
    gpu = start().fresh()[0]
    absent = {
        "sm_occupancy_percent",
        "bank_remap_active_count",
        "bank_remap_none_count",
        "bank_remap_pending",
        "channel_repair_pending",
        "tpc_repair_pending",
        "retired_pages_corrected_count",
        "retired_pages_uncorrected_count",
        "retired_pages_pending",
        "c2c_error_count",
        "c2c_replay_count",
        "c2c_replay_back_to_back_count",
    }
    assert {name for name, value in gpu.items() if value is None} == absent
    assert len(gpu) == len(tables()["gpu"].columns)


def test_no_more_than_12_calls_a_gpu_and_tick(start: Callable[..., Any], fake: Any) -> None:
    """On a host of one GPU, where the calls about no device count most."""
    fake.set("device_count", 1)
    recorder = start()
    recorder.fresh(1)
    fake.set("tick_calls_max", 0)
    paced = "nvmlDeviceGetCurrPcieLinkWidth"
    before = fake.calls()[paced]
    recorder.until(lambda: fake.calls()[paced] > before)
    recorder.fresh(1)
    assert 9 <= fake.get("tick_calls_max") <= 12


def test_read_together_or_one_by_one_the_values_are_the_same(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = start()
    together.fresh()
    monkeypatch.setattr(device.Gpu, "_planned", lambda _gpu: [])  # an older library
    one_by_one = start()
    one_by_one.fresh()
    names = (
        *("utilization_percent", "memory_utilization_percent", "memory_used_bytes", "power_w"),
        *("memory_total_bytes", "memory_reserved_bytes", "sm_clock_mhz", "temperature_c"),
        *("clock_event_reasons",),
    )
    for there, here in zip(together.gpus(), one_by_one.gpus(), strict=True):
        assert None not in [there[name] for name in names]
        assert {name: there[name] for name in names} == {name: here[name] for name in names}


def test_a_call_that_is_not_supported_is_made_once(start: Callable[..., Any], fake: Any) -> None:
    fake.set("has_power", 0)
    fake.set("has_gpm", 0)
    recorder = start()
    recorder.fresh()
    recorder.fresh()
    calls = fake.calls()
    assert calls["nvmlDeviceGetPowerUsage"] == 8
    assert calls["nvmlGpmQueryDeviceSupport"] == 8
    assert "nvmlGpmSampleGet" not in calls
