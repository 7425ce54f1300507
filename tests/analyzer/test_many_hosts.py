"""Many ranks on many hosts: the first cause is found, on the host where it was, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import XID_79, after, kernel, put, steps, timeout
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer import hosts
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.verdict import Diagnosis, Incident

RANKS, PER_HOST = 16, 4
ZONES = (0, -8, 2, 0)
OOM = (
    "Out of memory: Killed process 9988 (java) total-vm:90281728kB, anon-rss:67108864kB,"
    " file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:140000kB oom_score_adj:0"
)


def _run(folder: Path, *, zones: tuple[int, ...] = (0, 0, 0, 0), named: bool = True) -> None:
    """Sixteen ranks on four hosts that time out together."""
    for rank in range(RANKS):
        host = rank // PER_HOST
        head = f"INFO host node{host}.cluster.local rank {rank} world_size {RANKS}"
        lines = [*steps(rank, zones[host]), timeout(rank, zones[host])]
        put(folder, f"rank{rank:02}.log", [head, *lines] if named else lines)


def _only(found: Diagnosis) -> Incident:
    (incident,) = found.incidents
    return incident


def test_a_fault_on_a_host_of_the_run_is_the_cause(tmp_path: Path) -> None:
    _run(tmp_path)
    for host in range(4):
        fault = [(-2.0, XID_79)] if host == 2 else []
        put(tmp_path, f"node{host}.dmesg", kernel(f"node{host}", *fault))
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.verdict.component.host == "node2"


@pytest.mark.parametrize(("text", "cause"), [(XID_79, "gpu_fell_off_bus"), (OOM, "host_oom")])
def test_another_jobs_host_is_not_blamed(tmp_path: Path, text: str, cause: str) -> None:
    _run(tmp_path)
    put(tmp_path, "gpu-b17.dmesg", kernel("gpu-b17", (-2.0, text)))
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "unknown"
    assert cause not in [h.cause for h in incident.hypotheses]
    assert "Left out: 1 line of gpu-b17, which is none of the run's 4 hosts." in (
        incident.verdict.summary
    )
    assert any("No kernel log of the hosts was given" in line for line in incident.not_measured)


def test_a_host_may_be_the_runs_where_its_logs_do_not_name_all(tmp_path: Path) -> None:
    """A log of one rank says nothing of the others' hosts; nor do logs that name none."""
    _run(tmp_path, named=False)
    put(tmp_path, "gpu-b17.dmesg", kernel("gpu-b17", (-2.0, XID_79)))
    assert _only(diagnose([tmp_path])).verdict.cause == "gpu_fell_off_bus"


def test_a_file_server_that_the_run_complains_of_is_no_stranger(tmp_path: Path) -> None:
    _run(tmp_path)
    put(tmp_path, "node1.dmesg", kernel(
        "node1", (-3.0, "nfs: server fs1 not responding, still trying")))  # fmt: skip
    put(tmp_path, "fs1.dmesg", kernel("fs1", (-5.0, XID_79)))
    incident = _only(diagnose([tmp_path]))
    assert "Left out" not in incident.verdict.summary


def test_a_kernel_log_is_of_the_host_that_its_file_is_named_after(tmp_path: Path) -> None:
    _run(tmp_path)
    at = after(-2)
    put(tmp_path, "dmesg-node3.txt", f"[{at:%a %b %d %H:%M:%S %Y}] {XID_79}\n")
    assert _only(diagnose([tmp_path])).verdict.component.host == "node3"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("node3:4711:4790 [5] NCCL INFO Bootstrap : Using eth0:10.0.0.13<0>", {"node3"}),
        ("[rank3]: gpu-a1.site:4711:4790 [5] NCCL INFO cudaDriverVersion 12020", {"gpu-a1"}),
        ("node3:4711:4790 [5] NCCL WARN NET/IB : Got completion with status=12", set()),
        ("SLURM_JOB_NODELIST=n[08-10],login2", {"n08", "n09", "n10", "login2"}),
        ("SLURM_NODELIST=n7", {"n7"}),
        ("'hostname': 'node12', 'rank': 3", {"node12"}),
        ("INFO host memory 512 GiB; host to device copies", set()),
    ],
)
def test_hosts_name_themselves(line: str, names: set[str]) -> None:
    assert hosts.named(line).hosts == names


@given(st.text(max_size=300))
def test_any_text_is_asked_for_hosts(text: str) -> None:
    hosts.named(text)
    hosts.named("SLURM_NODELIST=" + text)
    assert hosts.short(hosts.short(text)) == hosts.short(text)


def _zones(folder: Path, *, fault_s: float, slow_host: int | None = None) -> None:
    """Hosts in three zones; each host's kernel log shows the host's clock; host 2 has a fault."""
    for rank in range(RANKS):
        host = rank // PER_HOST
        skew_s = 420.0 if host == slow_host else 0.0
        lines = [
            *steps(rank, ZONES[host], skew_s=skew_s),
            timeout(rank, ZONES[host], skew_s=skew_s),
        ]
        put(folder, f"node{host}/rank{rank:02}.log", lines)
    for host in range(4):
        skew_s = 420.0 if host == slow_host else 0.0
        fault = [(fault_s + skew_s, XID_79)] if host == 2 else []
        put(folder, f"dmesg/node{host}.log", kernel(f"node{host}", *fault, hours=ZONES[host]))


@pytest.mark.parametrize("slow_host", [None, 1, 2])
def test_three_zones_and_a_wrong_clock_come_on_one_line(
    tmp_path: Path, slow_host: int | None
) -> None:
    """The ranks print the same steps; a kernel log shows the clock of its host's ranks."""
    _zones(tmp_path, fault_s=3.0, slow_host=slow_host)
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.start == after(3.0)
    assert incident.end is not None
    assert (incident.end - after(600.0)).total_seconds() < 1.0
    text = incident.verdict.summary
    assert "node2.log: as rank08.log of the same host" in text
    if slow_host == 1:
        assert "rank04.log and 3 more: UTC-08:00 by 60 steps shared with rank00.log, 420.0 s fast" in (
            text
        )  # fmt: skip


def test_a_fault_hours_before_that_was_recovered_is_not_blamed(tmp_path: Path) -> None:
    _zones(tmp_path, fault_s=-3 * 3600 - 437.0)
    first, *others = diagnose([tmp_path]).incidents
    assert first.verdict.cause == "unknown"
    assert [o.verdict.cause for o in others] == ["gpu_fell_off_bus"]
    assert others[0].before_run
    assert others[0].start == after(-3 * 3600 - 437.0)


def test_a_fault_that_nothing_ties_to_the_runs_clock_is_less_sure(tmp_path: Path) -> None:
    """No whole hour puts it before the complaint, and no name says whose host it is."""
    _run(tmp_path, named=False)
    put(tmp_path, "dmesg.txt", kernel("gpu-b17", (-437.0, XID_79), hours=5))
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.verdict.confidence < 0.9
    assert any("its times are not compared" in line for line in incident.not_measured)


def test_of_two_kills_the_one_that_a_log_names_is_told(tmp_path: Path) -> None:
    """At the same moment another host kills a process for memory: no evidence of this run's."""
    loader = "[rank3]: RuntimeError: DataLoader worker (pid 5533) is killed by signal: Killed."
    for rank in range(RANKS):
        end = loader if rank == 3 else timeout(rank)
        head = f"INFO host node{rank // PER_HOST} rank {rank} world_size {RANKS}"
        put(tmp_path, f"rank{rank:02}.log", [head, *steps(rank), end])
    own = OOM.replace("9988 (java)", "5533 (pt_data_worker)").replace("Out", "Memory cgroup out")
    put(tmp_path, "node0.dmesg", kernel("node0", (-1.0, own)))
    put(tmp_path, "node1.dmesg", kernel("node1", (-3.0, OOM)))
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "host_oom"
    assert incident.verdict.component.host == "node0"
    assert incident.verdict.component.rank == 3
    assert "The kernel killed pt_data_worker (pid 5533)" in incident.verdict.summary
    assert not any("java" in e.text for h in incident.hypotheses for e in h.evidence)


def test_links_that_go_down_on_every_host_are_no_single_hosts(tmp_path: Path) -> None:
    """A switch: the retries name peers, the kernels name links; no host is the one."""
    retry = (
        "node{}:500:600 [3] transport/net_ib.cc:1298 NCCL WARN NET/IB : Got completion from peer"
        " 10.0.0.{}<52144> with status=12 opcode=0 len=0 vendor err 129 (Send)"
    )
    down = "mlx5_core 0000:17:00.0 ens3f0np0: Link down"
    for rank in range(RANKS):
        host = rank // PER_HOST
        put(tmp_path, f"node{host}/rank{rank:02}.log", [*steps(rank), retry.format(host, host + 1)])
    for host in range(4):
        put(tmp_path, f"dmesg/node{host}.log", kernel(f"node{host}", (2.0, down), (15.0, down)))
    incident = _only(diagnose([tmp_path]))
    assert incident.verdict.cause == "switch_cable"
    assert incident.verdict.component.host is None
    assert incident.verdict.component.rank is None
    assert "The kernels of 4 hosts tell of it: node0, node1, node2 and 1 more." in (
        incident.verdict.summary
    )
    assert "node0.log and 3 more: as their ranks' logs of the same host" in incident.verdict.summary
