"""Hardware errors told by trace events: the same facts as from kernel lines, and each once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recorded
from trainwreck_analyzer import kernel
from trainwreck_analyzer.telemetry import trace_rows

XID = "Xid (PCI:0000:1b:00.0): 79, pid=4711, name=python, GPU has fallen off the bus."
LINE = "NVRM: Xid (PCI:0000:1b:00): 79, pid=4711, name=python, GPU has fallen off the bus."


def _event(
    recorded: Recorded, at_s: float, text: str, event: str = "nvidia:nvidia_dev_xid"
) -> None:
    recorded.add("kernel_trace_event", at_s, event=event, monotonic_us=int(at_s * 1e6), text=text)


def test_an_xid_without_a_kernel_line_is_the_cause(recorded: Recorded) -> None:
    _event(recorded, 30, XID)
    recorded.end(31, 4711, exit_code=1)
    (incident,) = recorded.incidents(
        "10 step 4 loss 2.1",
        "31 RuntimeError: CUDA error: unspecified launch failure",
        "40 [rank1]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, OpType=ALLREDUCE)",
    )
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.verdict.component.pci == "0000:1b:00.0"
    assert XID in [e.text for e in incident.hypotheses[0].evidence]


def test_an_xid_that_a_kernel_line_tells_too_is_one_fact(recorded: Recorded) -> None:
    _event(recorded, 30, XID)
    recorded.add("kernel_event", 30.2, boot_id="b", seq=7, priority=3, text=LINE)
    (fact,) = recorded.facts()["xid_79"]
    assert fact.text == LINE


def test_the_same_xid_on_another_gpu_is_another_fact(recorded: Recorded) -> None:
    _event(recorded, 30, XID.replace("1b", "9b"))
    recorded.add("kernel_event", 30.2, boot_id="b", seq=7, priority=3, text=LINE)
    assert len(recorded.facts()["xid_79"]) == 2


@pytest.mark.parametrize(
    ("event", "text", "kind"),
    [
        ("ras:mc_event",
         "1 Uncorrected error: memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (mc:0"
         " location:1:0:-1 address:0x9f3d000 grain:32 syndrome:0x00000000 )", "edac_ue"),
        ("ras:mc_event",
         "3 Corrected errors: memory scrubbing error on DIMM_B2 (mc:1 location:0:0:-1"
         " address:0x1000 grain:32 syndrome:0x00000000 )", "edac_ce"),
        ("ras:aer_event",
         "0000:3b:00.0 PCIe Bus Error: severity=Fatal, Surprise Down Error,"
         " TLP Header=Not available", "aer_fatal"),
        ("ras:aer_event",
         "0000:3b:00.0 PCIe Bus Error: severity=Corrected, Bad TLP, TLP Header=Not available",
         "aer_corrected"),
        ("ras:memory_failure_event",
         "pfn 0x1234: recovery action for dirty LRU page: Recovered", "memory_failure"),
        ("mce:mce_record",
         "CPU: 12, MCGc/s: f000814/5, MC5: be00000000800400, IPID: 0000000000000000,"
         " ADDR/MISC/SYND: 0/0/0, RIP: 10:<0>, TSC: 0, PROCESSOR: 0:50654, TIME: 1, SOCKET: 0",
         "mce"),
        ("nvswitch:nvswitch_dev_sxid",
         "SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 46 LTSSM Fault Up", "sxid_20034"),
    ],
)  # fmt: skip
def test_each_event_means_what_its_kernel_line_would(
    recorded: Recorded, event: str, text: str, kind: str
) -> None:
    _event(recorded, 30, text, event)
    (fact,) = recorded.facts()[kind]
    assert fact.text == text
    assert fact.evidence == "kernel"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("ras:mc_event", "1 Info error: nothing on DIMM_A1 (mc:0 location:0"),
        ("ras:non_standard_event", "severity: corrected; sec type:…"),
        ("sched:sched_switch", XID),
    ],
)
def test_what_is_no_error_is_no_fact(recorded: Recorded, event: str, text: str) -> None:
    _event(recorded, 30, text, event)
    assert recorded.facts() == {}


@given(
    st.sampled_from(["ras:mc_event", "ras:aer_event", "mce:mce_record", "nvidia:nvidia_dev_xid"]),
    st.text(),
)
def test_any_text_can_be_an_event(event: str, text: str) -> None:
    line = trace_rows.kernel_line(event, text)
    assert line is None or kernel.decode(line) is None or line
