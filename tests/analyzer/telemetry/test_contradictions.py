"""The log says one thing and the recorder saw another; or it was not there to see."""

from __future__ import annotations

import pytest
from recorded import Recorded
from trainwreck_agent.collector import Value
from trainwreck_analyzer.verdict import Evidence, Incident

STEPS = [f"{4 * n} INFO step {n} loss {2.5 - n / 1000:.4f}" for n in range(40)]
FAILED_S = 161
OOM = (
    f"{FAILED_S} ERROR [rank5]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"
    " 2.50 GiB. GPU 5 has a total capacity of 79.11 GiB of which 1.44 GiB is free."
)
ECC = f"{FAILED_S} ERROR [rank5]: RuntimeError: CUDA error: uncorrectable ECC error encountered"


def _ticks(recorded: Recorded, until_s: int = 200, *, ranks: range = range(8)) -> None:
    recorded.add("kernel_event", 3, boot_id="b", seq=1, text="usb 1-1: new high-speed USB device")
    for at_s in range(0, until_s, 5):
        recorded.add("memory", at_s, total_bytes=64 << 30, available_bytes=60 << 30)
        for number in range(8):
            cells: dict[str, Value] = {
                "status": "ok", "ecc_uncorrected_count": 0, "clock_event_reasons": 0,
                "memory_total_bytes": 80 << 30, "memory_used_bytes": 24 << 30,
            }  # fmt: skip
            recorded.add("gpu", at_s, uuid=f"GPU-{number}", **cells)
        for rank in ranks:
            recorded.add("process", at_s, pid=100 + rank, started_us=1, role="training", rank=rank,
                         job="a", rss_bytes=1 << 30)  # fmt: skip


def _told(recorded: Recorded, line: str) -> Incident:
    (incident,) = recorded.incidents(*STEPS, line)
    return incident


def _against(incident: Incident) -> list[Evidence]:
    lead = next(h for h in incident.hypotheses if h.cause == incident.verdict.cause)
    return [e for e in lead.evidence if not e.supports]


def test_memory_that_was_free_speaks_against_an_oom_and_says_its_limits(recorded: Recorded) -> None:
    _ticks(recorded)
    incident = _told(recorded, OOM)
    assert incident.verdict.cause == "gpu_oom"
    (against,) = _against(incident)
    assert against.kind == "absence"
    assert "no GPU of " in against.text
    assert "more than 30 % of its memory in use" in against.text
    assert "a short peak between two looks would not show" in against.text
    assert against.sql is not None


def test_an_ecc_error_that_no_counter_and_no_xid_saw_is_doubted(recorded: Recorded) -> None:
    _ticks(recorded)
    incident = _told(recorded, ECC)
    assert incident.verdict.confidence < 0.6
    texts = [e.text for e in _against(incident)]
    assert any("counted no uncorrected memory error" in text for text in texts)
    assert any("was recorded and holds no Xid" in text for text in texts)


def test_a_recorder_that_stopped_before_saw_nothing(recorded: Recorded) -> None:
    _ticks(recorded, until_s=FAILED_S - 20)
    incident = _told(recorded, ECC)
    assert incident.verdict.confidence > 0.9
    assert _against(incident) == []


def test_another_hosts_clean_counters_say_nothing_of_this_rank(recorded: Recorded) -> None:
    """The recorder ran where ranks 8 to 15 were; rank 5 was elsewhere."""
    _ticks(recorded, ranks=range(8, 16))
    incident = _told(recorded, ECC)
    assert incident.verdict.confidence > 0.9
    assert _against(incident) == []


def test_a_kernel_log_that_could_not_be_read_is_no_silence(recorded: Recorded) -> None:
    _ticks(recorded)
    recorded.add("collector_health", 0, collector="kernel_log", status="denied",
                 detail="/dev/kmsg: permission denied")  # fmt: skip
    texts = [e.text for e in _against(_told(recorded, ECC))]
    assert len(texts) == 1
    assert "counted no uncorrected memory error" in texts[0]


@pytest.mark.parametrize("healthy", [True, False])
def test_unknown_says_what_was_looked_for_or_that_nobody_looked(
    recorded: Recorded, healthy: bool
) -> None:
    line = (
        f"{FAILED_S} [rank3]:[E1124 09:02:41.1 ProcessGroupNCCL.cpp:616] [Rank 3] Watchdog caught"
        " collective operation timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE, Timeout(ms)=1000) ran"
        " for 1001 milliseconds before timing out."
    )
    if healthy:
        _ticks(recorded)
    else:
        recorded.add("memory", 0, total_bytes=64 << 30, available_bytes=60 << 30)
        recorded.add("collector_health", 0, collector="nvml", status="absent",
                     detail="libnvidia-ml.so.1 not found")  # fmt: skip
    incident = _told(recorded, line)
    assert incident.verdict.cause == "unknown"
    absent = [e.text for e in incident.hypotheses[0].evidence if e.kind == "absence"]
    assert any("holds no Xid" in text for text in absent) is healthy
    assert any("nvml (absent)" in text for text in incident.not_measured) is not healthy
