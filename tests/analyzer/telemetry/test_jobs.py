"""Several jobs on one host: whose ends count for the log that is given."""

from __future__ import annotations

from pathlib import Path

from recorded import Recorded

STEPS = [f"{s} INFO step {s} loss {2.5 - s / 1000:.4f}" for s in range(1, 60)]
DONE = "60 INFO Training completed."


def _ticks(recorded: Recorded) -> None:
    for at_s in range(0, 80, 5):
        recorded.add("memory", at_s, total_bytes=64 << 30, available_bytes=60 << 30)


def _two_jobs(recorded: Recorded, *, well: str, badly: str) -> None:
    """At the same moment one job ends well and the other is killed."""
    _ticks(recorded)
    for rank in range(2):
        recorded.end(60, 200 + rank, rank=rank, job=well, exit_code=0)
        recorded.end(60, 300 + rank, rank=rank, job=badly, signal=9)


def test_a_run_that_finished_is_no_incident_when_another_job_dies(recorded: Recorded) -> None:
    _two_jobs(recorded, well="well", badly="badly")
    assert recorded.incidents(*STEPS, DONE) == ()


def test_a_run_that_just_stops_is_one(recorded: Recorded) -> None:
    _two_jobs(recorded, well="well", badly="badly")
    (incident,) = recorded.incidents(*STEPS)
    assert incident.verdict.cause in ("user_kill", "host_oom", "unknown")


def test_the_schedulers_number_in_the_log_names_the_job(recorded: Recorded) -> None:
    _two_jobs(recorded, well="4711", badly="4712")
    assert recorded.incidents("0 INFO SLURM_JOB_ID=4711", *STEPS) == ()
    assert len(recorded.incidents("0 INFO SLURM_JOB_ID=4712", *STEPS)) == 1


def test_a_run_that_finished_and_then_crashed_is_one_all_the_same(recorded: Recorded) -> None:
    """No other job is there that the log could be of."""
    _ticks(recorded)
    recorded.end(61, 300, rank=0, job="only", signal=11)
    assert len(recorded.incidents(*STEPS, DONE)) == 1


def test_one_job_on_several_hosts_is_one_job(recorded: Recorded) -> None:
    """A job that was killed on one host has not ended well on the other: the log is of another."""
    _ticks(recorded)
    recorded.end(60, 200, rank=0, job="wide", exit_code=0)
    recorded.end(60, 201, rank=1, job="wide", signal=9)
    recorded.end(60, 300, rank=0, job="other", exit_code=0)
    assert recorded.incidents(*STEPS, DONE) == ()


XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=9, name=python, GPU has fallen off the bus."


def test_a_fault_of_a_host_that_the_job_was_not_on_is_left_out(
    recorded: Recorded, prepared: Path, tmp_path: Path
) -> None:
    """One directory for each host; the scheduler's number says which hosts were the job's."""
    other = Recorded(tmp_path / "other", prepared)
    for one, host, job in ((recorded, "node1", "4711"), (other, "node2", "4712")):
        one.named(host)
        _ticks(one)
        one.end(61, 200, rank=0, job=job, signal=6)
    other.add("kernel_event", 59, boot_id="b", seq=7, text=XID)
    more = [other.write()]
    (incident,) = recorded.incidents("0 INFO SLURM_JOB_ID=4711", *STEPS, more=more)
    assert "gpu_fell_off_bus" not in [h.cause for h in incident.hypotheses]
    (incident,) = recorded.incidents("0 INFO SLURM_JOB_ID=4712", *STEPS, more=more)
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.verdict.component.host == "node2"
