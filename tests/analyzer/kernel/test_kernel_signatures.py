"""What the kernel facts mean: every kind has a signature, and the rules the field has paid for."""

from __future__ import annotations

import pytest
from trainwreck_analyzer import signature
from trainwreck_analyzer.kernel import family, table

SIGNATURES = {k: s for k, s in signature.load().items() if s.folder in ("kernel", "artefacts")}
KINDS = sorted(
    {line.kind for line in family.lines() if line.kind != "ghes"}
    | {f"xid_{code}" for code, known in table.xids().items() if known.severity != "unused"}
    | {"mce_corrected", "mce_deferred", "mce_implausible", "aer_nonfatal", "aer_fatal"}
    | {
        "aer_corrected_storm",
        "edac_ce_storm",
        "edac_ce_often",
        "xid_13_repeated",
        "xid_31_repeated",
    }
    | {"link_flapped", "aer_corrected_often", "mce_memory", "mce_corrected_memory"}
    | {"sxid_20034", "nvswitch_note", "nvswitch_detail"}
)


def takers(kind: str, *roles: str) -> list[signature.Signature]:
    return [s for s in SIGNATURES.values() if s.takes(kind) and (not roles or s.role in roles)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_can_come_has_a_meaning(kind: str) -> None:
    assert takers(kind)
    assert len({s.cause for s in takers(kind)}) <= 2


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signature_is_right(name: str) -> None:
    assert signature.check(SIGNATURES[name], SIGNATURES) == []


@pytest.mark.parametrize(
    ("kind", "causes"),
    [
        ("xid_79", {"gpu_fell_off_bus"}),
        ("xid_13", {"illegal_memory_access"}),
        ("xid_31", {"illegal_memory_access"}),
        ("xid_43", {"cuda_kernel_bug"}),
        ("xid_119", {"gpu_gsp"}),
        ("xid_74", {"gpu_nvlink"}),
        ("sxid_20034", {"nvswitch"}),
        ("cgroup_oom_kill", {"host_oom"}),
        ("edac_ue", {"host_dram_ecc"}),
        ("mce", {"cpu_mce"}),
        ("dpc", {"pcie_link"}),
        ("nvme_dead", {"disk"}),
        ("nfs_not_responding", {"storage_nfs"}),
        ("nvrm_api_mismatch", {"driver_mismatch"}),
    ],
)
def test_kind_leads_to_cause(kind: str, causes: set[str]) -> None:
    assert {s.cause for s in takers(kind, "cause")} == causes


@pytest.mark.parametrize("kind", ["xid_45", "xid_154", "hung_task", "panic", "soft_lockup"])
def test_consequences_are_never_a_cause(kind: str) -> None:
    assert {s.role for s in takers(kind)} == {"symptom"}


@pytest.mark.parametrize(
    "kind", ["boot", "link_up", "mce_logged", "mce_implausible", "amdgpu_reset", "nvswitch_note"]
)
def test_noise_raises_nothing(kind: str) -> None:
    assert {s.role for s in takers(kind)} == {"noise"}


@pytest.mark.parametrize("kind", ["xid_48", "xid_64", "xid_79", "xid_94", "xid_95", "xid_119"])
def test_a_hardware_fault_speaks_against_the_program(kind: str) -> None:
    for name in ("kernel_illegal_memory_access", "kernel_cuda_channel_fault"):
        own = SIGNATURES[name]
        assert kind in own.against or kind == "xid_64"
