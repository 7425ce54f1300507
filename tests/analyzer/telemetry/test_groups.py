"""Control groups: the limit that was reached, the kills for it, the quota that held back."""

from __future__ import annotations

from recorded import Recorded
from trainwreck_agent.collector import Value

GIB = 2**30


def _job(recorded: Recorded, at_s: float, path: str = "v2:/slurm/job_7/step_0") -> None:
    recorded.add("process", at_s, pid=102, started_us=1, role="training", rank=2, cgroup=path)


def _group(recorded: Recorded, at_s: float, path: str = "v2:/slurm/job_7", **cells: Value) -> None:
    recorded.add("cgroup", at_s, path=path, **cells)


def test_the_limit_of_a_group_above_is_named_with_its_size_and_the_host_is_not_blamed(
    recorded: Recorded,
) -> None:
    for at_s in (0, 5, 10, 15):
        recorded.add("memory", at_s, total_bytes=512 * GIB, available_bytes=300 * GIB)
    for at_s, held in ((0, 20), (5, 40), (10, 63)):
        _job(recorded, at_s)
        _group(recorded, at_s, memory_bytes=held * GIB, memory_max_bytes=64 * GIB,
               file_bytes=3 * GIB, shmem_bytes=2 * GIB, oom_kill_count=0)  # fmt: skip
    _group(recorded, 15, memory_bytes=5 * GIB, memory_max_bytes=64 * GIB, oom_kill_count=1)
    recorded.end(11, 102, signal=9)
    found = recorded.facts()
    (limit,), (kill,) = found["cgroup_memory_at_limit"], found["cgroup_oom_kill_counted"]
    assert "v2:/slurm/job_7 reached 98.4 % of its limit of 64.00 GiB" in limit.text
    assert "the host itself had 300.0 GiB available" in limit.text
    assert "limit 64.00 GiB rose by 1" in kill.text
    assert kill.component.device == "v2:/slurm/job_7"
    (incident,) = recorded.incidents()
    assert incident.verdict.cause == "host_oom"
    assert kill.text in [e.text for e in incident.hypotheses[0].evidence]


def test_a_group_full_of_page_cache_is_not_at_its_limit(recorded: Recorded) -> None:
    for at_s in (0, 5, 10):
        _job(recorded, at_s)
        recorded.add("process", at_s + 1, pid=102, started_us=1, role="training", rank=2,
                     cgroup="v2:/slurm/job_7", cgroup_memory_bytes=64 * GIB,
                     cgroup_memory_max_bytes=64 * GIB)  # fmt: skip
        _group(recorded, at_s, memory_bytes=64 * GIB, memory_max_bytes=64 * GIB,
               file_bytes=50 * GIB, shmem_bytes=1 * GIB)  # fmt: skip
    recorded.end(11, 102, exit_code=1)
    assert "cgroup_memory_at_limit" not in recorded.facts()


def test_shared_memory_counts_though_the_kernel_calls_it_file(recorded: Recorded) -> None:
    _job(recorded, 5)
    _group(recorded, 5, memory_bytes=64 * GIB, memory_max_bytes=64 * GIB, file_bytes=60 * GIB,
           shmem_bytes=59 * GIB)  # fmt: skip
    assert "cgroup_memory_at_limit" in recorded.facts()


def test_the_groups_of_other_jobs_are_left_out(recorded: Recorded) -> None:
    _job(recorded, 5)
    _group(recorded, 5, "v2:/slurm/job_8", memory_bytes=9, memory_max_bytes=9, oom_kill_count=0)
    _group(recorded, 9, "v2:/slurm/job_8", memory_bytes=9, memory_max_bytes=9, oom_kill_count=1)
    _group(recorded, 9, "v2:/slurm/job_77", memory_bytes=9, memory_max_bytes=9)
    assert not {"cgroup_memory_at_limit", "cgroup_oom_kill_counted"} & set(recorded.facts())


def test_a_kill_is_told_of_the_innermost_group_once(recorded: Recorded) -> None:
    for at_s, kills in ((0, 0), (5, 1)):
        _job(recorded, at_s)
        for path in ("v2:/slurm", "v2:/slurm/job_7", "v2:/slurm/job_7/step_0"):
            _group(recorded, at_s, path, memory_bytes=1, oom_kill_count=kills)
    recorded.end(4, 102, signal=9)
    (fact,) = recorded.facts()["cgroup_oom_kill_counted"]
    assert fact.component.device == "v2:/slurm/job_7/step_0"


def _throttled(recorded: Recorded, share: float, gpu_percent: int | None) -> None:
    for at_s in range(0, 300, 5):
        _job(recorded, at_s)
        _group(recorded, at_s, periods_count=at_s * 10, throttled_count=int(at_s * 10 * share),
               cpu_us=at_s * 4_000_000)  # fmt: skip
        if gpu_percent is not None:
            recorded.add("gpu", at_s, uuid="GPU-1", status="ok", utilization_percent=gpu_percent)


def test_a_quota_that_leaves_the_gpu_idle_is_a_starved_input(recorded: Recorded) -> None:
    _throttled(recorded, 0.8, 31)
    (fact,) = recorded.facts()["cpu_quota_starves_gpu"]
    assert "back in 80%" in fact.text
    assert "4.0 cores" in fact.text
    assert "31 % busy" in fact.text
    (incident,) = recorded.incidents(
        *(f"{20 * n} step {n} loss 2.0 step_time {1.0 if n < 8 else 4.0} s" for n in range(15)),
        "299 WARNING the GPU waits for the next batch: waiting for the next batch",
    )
    assert incident.verdict.cause == "dataloader_starvation"
    assert fact.text in [e.text for e in incident.hypotheses[0].evidence]


def test_a_quota_beside_busy_gpus_is_a_hint_and_a_little_throttling_is_nothing(
    recorded: Recorded,
) -> None:
    _throttled(recorded, 0.8, 97)
    assert "cgroup_cpu_throttled" in recorded.facts()
    assert recorded.incidents() == ()


def test_a_little_throttling_is_nothing(recorded: Recorded) -> None:
    _throttled(recorded, 0.2, 31)
    assert not {"cgroup_cpu_throttled", "cpu_quota_starves_gpu"} & set(recorded.facts())
