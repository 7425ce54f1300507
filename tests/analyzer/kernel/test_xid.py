"""The GPU driver's numbered errors, with every documented payload."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import kernel
from trainwreck_analyzer.kernel import nvlink5, table
from trainwreck_analyzer.kernel.pci import sysfs_address

AT = "NVRM: Xid (PCI:0000:9b:00): "
OWNER = "pid=4711, name=python, "


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        (AT + "79, GPU has fallen off the bus.", "xid_79", {"pci": "0000:9b:00.0"}),
        (
            AT + "79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            "xid_79",
            {"message": "GPU has fallen off the bus."},
        ),
        (AT + "79, " + OWNER + "x", "xid_79", {"pid": "4711", "process": "python"}),
        (AT + "119, pid=3849, name=KMS thread, Timeout after 45s of waiting for RPC response from "
         "GPU0 GSP! Expected function 76 (GSP_RM_CONTROL) (0x20800a4c 0x4).", "xid_119",
         {"process": "KMS thread", "waited_s": "45", "rpc_function": "76",
          "rpc_name": "GSP_RM_CONTROL", "rpc_argument": "0x20800a4c"}),
        (AT + "120, " + OWNER + "GSP task exception: load access fault (cause:0x5)", "xid_120",
         {"gsp_error": "load access fault (cause:0x5)"}),
        (AT + "13, Graphics SM Warp Exception on (GPC 1, TPC 0): Out Of Range Address", "xid_13",
         {"gpc": "1", "tpc": "0", "exception": "Out Of Range Address"}),
        (AT + "13, " + OWNER + "Graphics SM Warp Exception on (GPC 3, TPC 2, SM 1): Illegal "
         "Instruction Encoding", "xid_13", {"gpc": "3", "tpc": "2", "sm": "1"}),
        (AT + "31, " + OWNER + "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS "
         "GPCCLIENT_T1_14 faulted @ 0x7f2f_cca58000. Fault is of type FAULT_PDE "
         "ACCESS_TYPE_VIRT_READ", "xid_31",
         {"channel": "00000008", "engine": "GRAPHICS", "client": "GPCCLIENT_T1_14",
          "address": "0x7f2fcca58000", "fault_type": "FAULT_PDE",
          "access_type": "ACCESS_TYPE_VIRT_READ"}),
        (AT + "31, " + OWNER + "channel 0x00000002, intr 00000000. MMU Fault: ENGINE GRAPHICS GPC6 "
         "GPCCLIENT_T1_13 faulted @ 0x6f6f_320c2000. Fault is of type FAULT_PTE "
         "ACCESS_TYPE_VIRT_WRITE", "xid_31",
         {"channel": "0x00000002", "gpc": "6", "client": "GPCCLIENT_T1_13"}),
        (AT + "43, Ch 00000020, engmask 00000101", "xid_43",
         {"channel": "00000020", "engine_mask": "00000101"}),
        (AT + "45, " + OWNER + "Ch 00000001 caused by previous Xid 149", "xid_45",
         {"caused_by_xid": "149", "channel": "00000001"}),
        (AT + "48, " + OWNER + "An uncorrectable double bit error (DBE) has been detected on GPU "
         "in the framebuffer at partition 6, subpartition 0.", "xid_48",
         {"memory": "HBM", "partition": "6", "subpartition": "0"}),
        (AT + "48, " + OWNER + "An uncorrectable double bit error (DBE) has been detected on GPU "
         "in the SM L1 data cache.", "xid_48", {"memory": "SRAM"}),
        (AT + "63, pid=1896, Row Remapper: New row (0x0000000001a2b3c4) marked for remapping, "
         "reset gpu to activate.", "xid_63",
         {"mechanism": "row remapping", "row": "0x0000000001a2b3c4", "pending": "yes"}),
        (AT + "63, Dynamic Page Retirement: New page retired, reboot to activate (0x1234).",
         "xid_63", {"mechanism": "page retirement", "pending": "yes"}),
        (AT + "64, Row Remapper: Failed to remap row (0x1234)", "xid_64", {"row": "0x1234"}),
        (AT + "92, " + OWNER + "High single-bit ECC error rate", "xid_92", {}),
        (AT + "94, pid=7062, Contained: CE User Channel (0x9). RST: No, D-RST: No", "xid_94",
         {"containment": "contained", "unit": "CE User Channel", "unit_id": "0x9",
          "reset_required": "no", "drain_reset_required": "no"}),
        (AT + "95, pid=7062, Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No", "xid_95",
         {"containment": "uncontained", "unit": "LTC TAG", "unit_id": "0x2,0x0",
          "reset_required": "yes"}),
        (AT + "95, pid=1, Uncontained: FBHUB (0x1). physAddr: 0x1234000 RST: Yes, D-RST: Yes",
         "xid_95", {"physical_address": "0x1234000", "drain_reset_required": "yes"}),
        (AT + "109, " + OWNER + "Ch 00000008, errorString CTX SWITCH TIMEOUT, Info 0x58005",
         "xid_109", {"error": "CTX SWITCH TIMEOUT", "info": "0x58005"}),
        (AT + "154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
         "xid_154", {"from_action": "None", "to_action": "Node Reboot Required",
                     "to_code": "0x2"}),
        (AT + "172, " + OWNER + "Uncorrectable SRAM error", "xid_172", {"memory": "SRAM"}),
        ("NVRM: Xid (PCI:0000:9b:00 GPU-I:05): 94, pid=7194, Contained: CE User Channel (0x9). "
         "RST: No, D-RST: No", "xid_94", {"mig_gpu_instance": "05", "pci": "0000:9b:00.0"}),
        ("NVRM: Xid (PCI:0000:9b:00 GPU-I:05 GPU-CI:01): 13, Graphics Exception: ESR 0x1=0x2",
         "xid_13", {"mig_gpu_instance": "05", "mig_compute_instance": "01"}),
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", "xid_14", {"pci": "0000:03:00.0"}),
        (AT + "999, unheard of", "xid_999", {"code": "999"}),
        (AT + "64, ...", "xid_64", {}),
    ],
)  # fmt: skip
def test_payload(line: str, kind: str, fields: dict[str, str]) -> None:
    got = kernel.decode(line)
    assert got is not None
    assert got.kind == kind
    assert {name: got.fields.get(name) for name in fields} == fields
    assert got.component.pci == got.fields["pci"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0x10, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 4: ECC or parity"),
        ("0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 16: mechanical or hardware"),
        ("0x600000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 21, 22: marginal signal"),
        ("0x100002, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 1, 20: secondary"),
        ("0x8000000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 27: check for repetition"),
        ("0x1, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0", "register 0 bit 0: can be ignored"),
        ("0x0, 0x0, 0x40, 0x0, 0x0, 0x0, 0x0", "register 2 bit 6: hardware"),
        ("0x0, 0x0, 0x0, 0x40000, 0x0, 0x0, 0x0", "register 3 bit 18: fabric"),
        ("0x0, 0x0, 0x0, 0x0, 0x900000, 0x0, 0x0", "register 4 bit 20, 23: threshold passed"),
        ("0x0, 0x0, 0x0, 0x0, 0x40000, 0x0, 0x0", "register 4 bit 18: hardware"),
    ],
)
def test_register_words_of_xid_74(words: str, expected: str) -> None:
    got = kernel.decode(AT + f"74, {OWNER}NVLink: fatal error detected on link 6({words})")
    assert got is not None
    assert got.fields["link"] == "6"
    assert got.fields["register_meaning"].startswith(expected)


def test_every_known_xid_brings_its_facts_and_the_disagreement_of_the_sources() -> None:
    assert len(table.xids()) == 176
    for code, known in table.xids().items():
        got = kernel.decode(AT + f"{code}, {OWNER}text")
        assert got is not None
        assert got.kind == f"xid_{code}"
        assert got.fields["action"] == known.action
        assert got.fields.get("disagreement", "") == known.disagreement
    assert "DCGM" in table.xids()[38].disagreement


def test_every_known_sxid_is_read() -> None:
    assert len(table.sxids()) == 420
    for code in table.sxids():
        got = kernel.decode(f"nvidia-nvswitch0: SXid (PCI:0000:05:00.0): {code}, Fatal, Link 3 x")
        assert got is not None
        assert got.fields["code"] == str(code)
        assert got.kind in (f"sxid_{code}", "nvswitch_note")


@pytest.mark.parametrize("code", [45, 63, 154, 174])
def test_consequences_and_records_are_no_errors(code: int) -> None:
    got = kernel.decode(AT + f"{code}, {OWNER}text")
    assert got is not None
    assert got.severity == "info"


@pytest.mark.parametrize(
    ("line", "kind", "severity", "fields"),
    [
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 63 LTSSM Fault Up",
         "sxid_20034", "fatal", {"link": "63", "device": "nvidia-nvswitch0", "fatal": "yes"}),
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 60 egress",
         "sxid_12028", "warning", {"link": "60", "fatal": "no"}),
        ("nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 20034, Severity 1 Engine instance 60 "
         "Sub-engine instance 00", "nvswitch_detail", "info", {"severity_code": "1"}),
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Data {0x10000000, 0x10000000}",
         "nvswitch_detail", "info", {}),
        ("[Feb 27 2025 15:10:02] [ERROR] [tid 1] detected NVSwitch non-fatal error 12028 on fid 0 "
         "on NVSwitch pci bus id 00000000:86:00.0 physical id 3 port 61", "sxid_12028", "warning",
         {"pci": "0000:86:00.0", "switch": "3", "link": "61"}),
        ("nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 22013, Non-fatal, Link 60 Minion Link DLREQ "
         "interrupt", "nvswitch_note", "info", {"code": "22013"}),
    ],
)  # fmt: skip
def test_switch_errors(line: str, kind: str, severity: str, fields: dict[str, str]) -> None:
    got = kernel.decode(line)
    assert got is not None
    assert (got.kind, got.severity) == (kind, severity)
    assert {name: got.fields.get(name) for name in fields} == fields


def words(pattern: nvlink5.Pattern, status: int) -> str:
    return f"(0x{pattern.value:08x} 0x{status:08x} 0x00000000 0x00000000 0x00000000 0x00000000)"


ROWS = [
    (row, unit, status, layout)
    for row in nvlink5.table()
    for status in (sorted(row.statuses) or [0])
    for layout, unit in (("before R575", row.units[0]), ("R575 and later", row.units[-1]))
]


@pytest.mark.parametrize(("row", "unit", "status", "layout"), ROWS)
def test_every_row_of_the_nvlink5_table_is_decoded(
    row: nvlink5.Row, unit: str, status: int, layout: str
) -> None:
    """Before and after driver R575, from the words alone and with the unit's name."""
    pattern = row.before_r575 if layout == "before R575" else row.from_r575
    fatal = "Nonfatal" if row.severity.startswith("Non") else "Fatal"
    line = f"{AT}{row.xid}, {unit} {fatal} XC0 i0 Link 08 {words(pattern, status)}"
    got = kernel.decode(line)
    assert got is not None
    fields = got.fields
    found = nvlink5.decode(row.xid, unit, pattern.value, status)
    # Before R575 both pipes of a TLW unit carry one name and one number, and mean the same.
    assert row in found.rows
    assert len({(r.immediate_action, r.severity, r.effect) for r in found.rows}) == 1
    assert fields["nvlink5_action"] == row.immediate_action
    assert fields.get("nvlink5_escalation", "") == row.escalation_action
    assert fields["nvlink5_investigate"] == row.investigate
    assert fields["nvlink5_severity"] == row.severity
    assert fields["link"] == "08"
    if row.xid != 150:
        assert fields["layout"] == layout


def test_the_nvlink5_table_is_whole() -> None:
    assert len(nvlink5.table()) == 95
    assert {row.xid for row in nvlink5.table()} == set(nvlink5.XIDS)


@pytest.mark.parametrize(
    ("text", "reason", "action"),
    [
        ("149, NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x004505c6 0x00000000 0x0)", "4", "RESET_GPU"),
        ("149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000)", "33", "RESET_GPU"),
        ("149, NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x026001c6]", "38", "IGNORE"),
    ],
)
def test_link_down_reason_of_xid_149(text: str, reason: str, action: str) -> None:
    got = kernel.decode(AT + text)
    assert got is not None
    assert got.fields["link_down_reason"] == reason
    assert got.fields["nvlink5_action"] == action


def test_several_error_bits_name_several_rows() -> None:
    got = kernel.decode(AT + "145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a0c2 0x0000000b 0x1)")
    assert got is not None
    assert int(got.fields["nvlink5_rows"]) > 1


def test_without_words_the_unit_and_the_severity_narrow_the_rows() -> None:
    got = kernel.decode(AT + "145, RLW_REMAP Nonfatal XC0 i0 Link 02")
    assert got is not None
    assert got.fields["nvlink5_unit"] == "RLW_REMAP"
    assert got.fields["nvlink5_severity"] == "Non-fatal"


@pytest.mark.parametrize(
    "line",
    [
        "we saw Xid errors (79) on many nodes",
        "NVRM: Xid error: xyz, invalid data",
        "NVRM: Xid (PCI:0000:66:00): abc, pid=1",
        "NVRM: Xid : 32, pid=2280636",
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module 570.86.15",
    ],
)
def test_look_alikes_are_no_xid(line: str) -> None:
    assert kernel.decode(line) is None


@given(st.integers(0, 9999), st.text(max_size=200))
@settings(max_examples=500)
def test_any_text_after_any_number_is_read(code: int, text: str) -> None:
    got = kernel.decode(AT + f"{code}, {text}")
    assert got is None or got.kind == f"xid_{code}"


@given(
    st.sampled_from([13, 31, 48, 63, 74, 94, 119, 144, 145, 149, 154]),
    st.text(alphabet="0123456789abcdefx(),. :[]GPCTSMXiLink@_RST", max_size=300),
)
@settings(max_examples=500, deadline=None)
def test_nearly_right_payloads_are_read(code: int, text: str) -> None:
    assert kernel.decode(AT + f"{code}, {text}") is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PCI:0000:9b:00", "0000:9b:00.0"),
        ("00000000:9B:00.0", "0000:9b:00.0"),
        ("9b:00.1", "0000:9b:00.1"),
        ("000f:01:00", "000f:01:00.0"),
        ("no address", None),
    ],
)
def test_pci_addresses_are_written_as_sysfs_does(text: str, expected: str | None) -> None:
    assert sysfs_address(text) == expected
