"""``nvidia-smi -q``, bug reports and ``sacct``."""

from __future__ import annotations

import gzip
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer.artefacts import READERS, bug_report, nvidia_smi, sacct, sniff
from trainwreck_analyzer.artefacts.sniff import sniff_bytes
from trainwreck_analyzer.errors import Unreadable

RECORDED = Path(__file__).parents[4] / "shared" / "fixtures" / "nvidia-smi.tar.xz"
SMI = """
==============NVSMI LOG==============

Timestamp                                              : Tue Nov 24 08:00:00 2026
Attached GPUs                                          : 2
GPU 00000000:9B:00.0
    Product Name                                       : NVIDIA H100 80GB HBM3
    GPU Recovery Action                                : Reset
    PCI
        GPU Link Info
            Link Width
                Max                                    : 16x
                Current                                : 8x
    Clocks Event Reasons
        HW Slowdown                                    : Active
            HW Thermal Slowdown                        : Active
            HW Power Brake Slowdown                    : Not Active
    ECC Errors
        Volatile
            SRAM Correctable                           : 0
            SRAM Uncorrectable Parity                  : 0
            DRAM Correctable                           : 4
            DRAM Uncorrectable                         : 2
        Aggregate
            DRAM Uncorrectable                         : 2
            SRAM Threshold Exceeded                    : Yes
    Remapped Rows
        Pending                                        : Yes
        Remapping Failure Occurred                     : No
GPU 00000000:A1:00.0
    ECC Errors
        Volatile
            DRAM Uncorrectable                         : 0
        Aggregate
            DRAM Uncorrectable                         : 9
    Remapped Rows
        Pending                                        : No
"""
XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
    <gpu id="00000000:9B:00.0">
        <mig_devices>
            None
        </mig_devices>
        <clocks_event_reasons>
            <clocks_event_reason_hw_thermal_slowdown>Active</clocks_event_reason_hw_thermal_slowdown>
        </clocks_event_reasons>
        <ecc_errors>
            <volatile>
                <sram_uncorrectable>1</sram_uncorrectable>
                <dram_uncorrectable>0</dram_uncorrectable>
            </volatile>
        </ecc_errors>
        <remapped_rows>
            <remapped_row_pending>No</remapped_row_pending>
            <remapped_row_failure>Yes</remapped_row_failure>
        </remapped_rows>
    </gpu>
</nvidia_smi_log>
"""
DASHES = "_" * 44
XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
REPORT = f"""
{DASHES}

Start of NVIDIA bug report log file.  Please include this file, along
with a detailed description of your problem, when reporting a graphics driver bug

nvidia-bug-report.sh Version: 570.86.15
{DASHES}

/usr/bin/dmesg

[   12.345678] {XID}
{DASHES}

*** /var/log/messages

Nov 24 08:00:00 gpu07 kernel: [   12.345678] {XID}
{DASHES}

/usr/bin/nvidia-smi --query
{SMI}
"""
TABLE = """\
JobID           JobName      State ExitCode        NodeList                 End
------------ ---------- ---------- -------- --------------- -------------------
4711              train OUT_OF_ME+    0:125           gpu07 2026-11-24T08:00:00
4711.batch        batch OUT_OF_ME+    0:125           gpu07 2026-11-24T08:00:00
4712              train  COMPLETED      0:0           gpu08 2026-11-24T08:00:00
4713              train    TIMEOUT      0:0      gpu[01-08] 2026-11-24T08:00:00
"""
PARSABLE = """\
JobID|State|ExitCode|NodeList|End
4711|FAILED|0:9|gpu07|2026-11-24T08:00:00
4712|CANCELLED by 1000|0:15|gpu07|Unknown
4713|NODE_FAIL|1:0|gpu07|2026-11-24T08:00:00
4714|PREEMPTED|0:0|gpu07|2026-11-24T08:00:00
"""


def written(folder: Path, text: str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_nvidia_smi_text(tmp_path: Path) -> None:
    path = written(tmp_path, SMI)
    assert sniff(path) == "nvidia_smi"
    got = nvidia_smi.read(path)
    assert sorted(fact.kind for fact in got) == [
        "smi_hbm_uncorrectable",
        "smi_hw_thermal",
        "smi_pcie_narrow",
        "smi_recovery_action",
        "smi_row_remap_pending",
        "smi_sram_threshold",
    ]
    assert {fact.component.pci for fact in got} == {"0000:9b:00.0"}
    for fact in got:
        assert fact.line is not None
        assert SMI.splitlines()[fact.line - 1] == fact.text


def test_nvidia_smi_xml(tmp_path: Path) -> None:
    path = written(tmp_path, XML)
    assert sniff(path) == "nvidia_smi"
    kinds = [fact.kind for fact in nvidia_smi.read(path)]
    assert kinds == ["smi_hw_thermal", "smi_sram_uncorrectable", "smi_row_remap_failed"]


@pytest.mark.skipif(not RECORDED.exists(), reason=f"{RECORDED} is not here")
def test_healthy_recorded_gpus_have_no_faults(tmp_path: Path) -> None:
    """One of them, a T4 in a narrow slot, really uses 8 of its 16 lanes."""
    with tarfile.open(RECORDED) as archive:
        archive.extractall(tmp_path, filter="data")
    paths = sorted(tmp_path.rglob("*.*"))
    assert len(paths) >= 6
    kinds = {path.name: [fact.kind for fact in nvidia_smi.read(path)] for path in paths}
    assert {name: k for name, k in kinds.items() if k} == {"tesla-t4.xml": ["smi_pcie_narrow"]}
    assert all(list(nvidia_smi.values(enumerate(path.open(), 1))) for path in paths)


@pytest.mark.parametrize("name", ["nvidia-bug-report.log.gz", "nvidia-bug-report.log"])
def test_a_bug_report_is_read_by_sections_and_each_record_once(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, REPORT, name)
    assert sniff(path) == "nvidia_bug_report"
    got = READERS["nvidia_bug_report"](path)
    kinds = [fact.kind for fact in got]
    assert kinds.count("xid_79") == 1
    assert "smi_hbm_uncorrectable" in kinds
    for fact in got:
        assert fact.line is not None
        assert REPORT.splitlines()[fact.line - 1] == fact.text


def test_the_sections_of_a_report_have_their_names() -> None:
    names = []
    for name, lines in bug_report.sections(REPORT.splitlines()):
        names.append(name)
        list(lines)
    assert names[2:] == ["/usr/bin/dmesg", "/var/log/messages", "/usr/bin/nvidia-smi --query"]


def test_a_report_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "nvidia-bug-report.log.gz"
    path.write_bytes(gzip.compress(REPORT.encode() + b"x" * 100000)[:-40])
    assert [fact.kind for fact in bug_report.read(path)][:1] == ["xid_79"]


def test_sacct_table(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE)
    assert sniff(path) == "sacct"
    got = sacct.read(path)
    assert [(fact.kind, fact.fields["job"], fact.component.host) for fact in got] == [
        ("slurm_out_of_memory", "4711", "gpu07"),
        ("slurm_out_of_memory", "4711.batch", "gpu07"),
        ("slurm_timeout", "4713", None),
    ]
    assert got[0].time == datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


def test_sacct_parsable(tmp_path: Path) -> None:
    path = written(tmp_path, PARSABLE)
    assert sniff(path) == "sacct"
    got = sacct.read(path)
    assert [fact.kind for fact in got] == [
        "slurm_failed",
        "slurm_cancelled",
        "slurm_node_fail",
        "slurm_preempted",
    ]
    assert got[0].fields["signal"] == "9"
    assert got[1].time is None


@pytest.mark.parametrize(
    "text",
    ["", "step 1 loss 2\n", '{"loss": 1}\n', "JobID is 5\n", "Nov 24 08:00:00 h kernel: x\n"],
)
def test_other_files_are_no_artefact(tmp_path: Path, text: str) -> None:
    assert sniff(written(tmp_path, text)) is None


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        sniff(tmp_path / "absent")


def test_digits_that_are_no_numbers_are_no_lanes() -> None:
    text = SMI.replace(": 16x", ": 4³x")
    facts = nvidia_smi.facts(enumerate(text.splitlines(), 1), "f")
    assert "smi_pcie_narrow" not in {fact.kind for fact in facts}


@given(st.binary(max_size=400))
def test_any_bytes_can_be_sniffed(data: bytes) -> None:
    for start in (b"", b"\x80\x04", b"{", b"<nvidia_smi_log>"):
        sniff_bytes(start + data)


@given(
    st.lists(
        st.sampled_from(SMI.splitlines() + XML.splitlines() + TABLE.splitlines() + [DASHES])
        | st.text(max_size=60),
        max_size=40,
    )
)
def test_any_lines_are_read(lines: list[str]) -> None:
    list(nvidia_smi.facts(enumerate(lines, 1), "f"))
    list(bug_report.facts(lines, "f"))
    list(sacct.facts(lines, "f"))
    list(sacct.facts([*PARSABLE.splitlines()[:1], *lines], "f"))
