"""Whole kernel logs: blocks folded, repeats counted, lines dated."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer import kernel
from trainwreck_analyzer.fact import Fact

OOM = """\
[  100.000000] python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[  100.000010] CPU: 3 PID: 4711 Comm: python Not tainted 6.8.0
[  100.000020] memory: usage 262144kB, limit 262144kB, failcnt 71
[  100.000030] Memory cgroup stats for /slurm/job_1:
[  100.000040] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[  100.000050] [   4711]  1000  4711    80000    60000   600000        0             0 python
[  100.000060] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=job_1,mems_allowed=0,\
oom_memcg=/slurm/job_1,task_memcg=/slurm/job_1/step_0,task=python,pid=4711,uid=1000
[  100.000070] Memory cgroup out of memory: Killed process 4711 (python) total-vm:320000kB, \
anon-rss:240000kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:600kB oom_score_adj:0
[  100.100000] oom_reaper: reaped process 4711 (python), now anon-rss:0kB, file-rss:0kB
"""


def read(text: str, **options: object) -> list[Fact]:
    return list(kernel.facts(text.splitlines(), "kern.log", **options))  # type: ignore[arg-type]


def test_an_oom_report_is_one_fact_that_names_the_victim_and_its_limit() -> None:
    (fact,) = read(OOM)
    assert fact.kind == "cgroup_oom_kill"
    assert fact.line == 8
    assert fact.text == OOM.splitlines()[7]
    wanted = {
        "process": "python", "pid": "4711", "anon_rss_kb": "240000", "limit_kb": "262144",
        "memcg": "/slurm/job_1/step_0", "limiting_memcg": "/slurm/job_1",
        "constraint": "CONSTRAINT_MEMCG",
    }  # fmt: skip
    assert {name: fact.fields[name] for name in wanted} == wanted


def test_two_victims_are_two_facts() -> None:
    got = read(OOM + OOM.replace("4711", "4712").replace("[  100", "[  101"))
    assert [fact.fields["pid"] for fact in got] == ["4711", "4712"]


def test_a_pcie_error_of_four_lines_is_one_fact() -> None:
    (fact,) = read(
        "[   10.000001] pcieport 0000:00:01.0: AER: Corrected error received: 0000:00:01.0\n"
        "[   10.000002] pcieport 0000:00:01.0: PCIe Bus Error: severity=Corrected, "
        "type=Physical Layer, (Receiver ID)\n"
        "[   10.000003] pcieport 0000:00:01.0:   device [8086:460d] "
        "error status/mask=00000001/00002000\n"
    )
    assert fact.kind == "aer_corrected"
    assert fact.fields["if_corrected"] == "receiver error"


def test_a_storm_of_corrected_errors_has_its_own_kind_and_count() -> None:
    line = "pcieport 0000:00:01.0: AER: Corrected error received: 0000:00:01.0\n"
    (fact,) = read("".join(f"[   {10 + i / 100:.6f}] {line}" for i in range(150)))
    assert fact.kind == "aer_corrected_storm"
    assert fact.value == 150


def test_repeats_within_seconds_are_counted_and_later_ones_stand_alone() -> None:
    line = "nfs: server fs1 not responding, still trying\n"
    got = read("".join(f"[  {t}.000000] {line}" for t in (100, 101, 102, 300)))
    assert [(fact.line, fact.fields.get("count")) for fact in got] == [(1, "3"), (4, None)]


def test_a_firmware_record_takes_its_kind_from_section_and_severity() -> None:
    (fact,) = read(
        "[    1.000001] {1}[Hardware Error]: Hardware error from APEI Generic Hardware Error "
        "Source: 1\n"
        "[    1.000002] {1}[Hardware Error]: event severity: fatal\n"
        "[    1.000003] {1}[Hardware Error]:  Error 0, type: fatal\n"
        "[    1.000004] {1}[Hardware Error]:   section_type: memory error\n"
        "[    1.000005] {1}[Hardware Error]:   DIMM location: CPU1 DIMM_A1\n"
    )
    assert fact.kind == "ghes_memory_fatal"
    assert fact.fields["dimm"] == "CPU1 DIMM_A1"


def test_a_machine_check_names_amds_unit() -> None:
    (fact,) = read(
        "mce: [Hardware Error]: Machine check events logged\n"
        "mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 5: bea0000000000108\n"
        "mce: [Hardware Error]: TSC 0 ADDR 1ff MISC d0 SYND 4d000000 IPID 500b000000000\n"
    )
    assert (fact.kind, fact.fields["unit"]) == ("mce", "execution unit")


def test_the_drivers_identity_line_gives_the_uuid() -> None:
    (fact,) = read(
        "NVRM: GPU at PCI:0000:91:00: GPU-00000000-0000-0000-0000-00000000000a\n"
        "NVRM: Xid (PCI:0000:91:00): 79, GPU has fallen off the bus.\n"
    )
    assert fact.component.gpu_uuid == "GPU-00000000-0000-0000-0000-00000000000a"


def test_the_two_versions_of_an_api_mismatch_are_one_fact() -> None:
    (fact,) = read(
        "NVRM: API mismatch: the client has the version 545.23.08, but\n"
        "              NVRM: this kernel module has the version 570.86.15.  Please\n"
    )
    versions = fact.fields["client_version"], fact.fields["module_version"]
    assert versions == ("545.23.08", "570.86.15")


def test_faults_of_three_programs_on_one_gpu_make_the_gpu_suspect() -> None:
    line = "[  {t}.000000] NVRM: Xid (PCI:0000:9b:00): 31, pid={pid}, name=python, MMU Fault\n"
    same = "".join(line.format(t=t, pid=7) for t in (100, 200, 300, 400))
    assert {fact.kind for fact in read(same)} == {"xid_31"}
    different = "".join(line.format(t=t, pid=t) for t in (100, 200, 300, 400))
    kinds = [fact.kind for fact in read(different)]
    assert kinds.count("xid_31_repeated") == 1


def test_seconds_since_boot_are_dated_by_the_boot() -> None:
    boot = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)
    (fact,) = read("[   60.500000] NVRM: Xid (PCI:0000:9b:00): 79, x\n", boot_time=boot)
    assert fact.time == datetime(2026, 11, 24, 8, 1, 0, 500000, tzinfo=UTC)


def test_relative_clocks_count_on_and_the_year_turns() -> None:
    relative = read(
        "[Nov24 08:00] nvme nvme0: Device not ready; aborting reset\n"
        "[ +30.500000] nfs: server fs1 not responding, still trying\n",
        year=2026,
    )
    assert relative[1].time == datetime(2026, 11, 24, 8, 0, 30, 500000, tzinfo=UTC)
    turned = read(
        "Dec 31 23:59:59 gpu07 kernel: nfs: server fs1 not responding, still trying\n"
        "Jan  1 00:30:00 gpu07 kernel: nfs: server fs2 not responding, still trying\n",
        year=2026,
    )
    assert [fact.time.year for fact in turned if fact.time] == [2026, 2027]
    assert turned[0].component.host == "gpu07"


@given(st.lists(st.sampled_from(OOM.splitlines()) | st.text(max_size=80), max_size=40))
def test_any_lines_are_read_and_every_fact_points_to_its_line(lines: list[str]) -> None:
    for fact in kernel.facts(lines, "kern.log"):
        assert fact.line is not None
        assert lines[fact.line - 1].rstrip("\r\n") == fact.text


def test_the_xid_that_the_driver_names_as_the_cause_is_a_fact_of_its_own() -> None:
    line = (
        "[  {t}.000000] NVRM: Xid (PCI:0000:dc:00): 45, pid=4711, name=python, "
        "Ch 00000001 caused by previous Xid 149\n"
    )
    kinds = [fact.kind for fact in read(line.format(t=100) + line.format(t=300))]
    assert kinds == ["xid_45", "xid_149", "xid_45"]
    assert [fact.kind for fact in read(line.replace("149", "154").format(t=100))] == ["xid_45"]


def test_a_link_flaps_when_it_goes_down_after_it_was_up_and_not_while_it_is_set_up() -> None:
    def lines(*events: tuple[int, str]) -> str:
        return "".join(
            f"[ {t}.000000] mlx5_core 0000:60:00.0 ens1np0: Link {what}\n" for t, what in events
        )

    def flaps(text: str) -> bool:
        return "link_flapped" in [fact.kind for fact in read(text)]

    assert not flaps(lines((10, "down"), (14, "up")))
    assert not flaps(lines((10, "up"), (20, "down")))
    assert flaps(lines((10, "up"), (900, "down")))
    assert flaps(lines((10, "down"), (30, "up"), (50, "down")))


def test_corrected_pcie_errors_now_and_then_become_more_than_noise_by_their_number() -> None:
    line = "[ {t}.000000] pcieport 0000:00:01.0: AER: Corrected error received: 0000:00:01.0\n"
    few = "".join(line.format(t=t) for t in range(100, 1000, 100))
    many = "".join(line.format(t=t) for t in range(100, 2000, 100))
    assert "aer_corrected_often" not in [fact.kind for fact in read(few)]
    assert [fact.kind for fact in read(many)].count("aer_corrected_often") == 1


def test_a_machine_check_of_the_memory_controller_is_the_memorys() -> None:
    line = "mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: {}\n"
    assert [f.kind for f in read(line.format("8c00004000010090"))] == ["mce_corrected_memory"]
    assert [f.kind for f in read(line.format("be00000000010090"))] == ["mce_memory"]
    assert [f.kind for f in read(line.format("b200000000000151"))] == ["mce"]


def test_memory_corrected_again_and_again_is_said_once_whoever_wrote_it_down() -> None:
    listed = "{n} 2024-10-16 06:55:24 +0000 1 Corrected error(s): memory read error at DIMM_A1 location: 3:1:0:-1\n"
    logged = "[ {n}00.000000] EDAC MC0: 1 CE memory read error on DIMM_A1 (channel:1 slot:0)\n"
    for line in (listed, logged):
        few = "".join(line.format(n=n) for n in range(1, 4))
        many = "".join(line.format(n=n) for n in range(1, 9))
        assert "edac_ce_often" not in [fact.kind for fact in read(few)]
        assert [fact.kind for fact in read(many)].count("edac_ce_often") == 1


def test_a_file_server_that_answers_again_only_made_its_clients_wait() -> None:
    silent = "[ 1000.000000] nfs: server fs1 not responding, still trying\n"
    found = read(silent + "[ 1030.000000] nfs: server fs1 OK\n")
    assert [f.kind for f in found] == ["storage_stalled", "nfs_recovered"]
    found = read(silent + "[ 1030.000000] nfs: server fs2 OK\n")
    assert {f.kind for f in found} == {"nfs_not_responding", "nfs_recovered"}
    found = read(silent + "[ 9000.000000] nfs: server fs1 OK\n")
    assert [f.kind for f in found] == ["nfs_not_responding", "nfs_recovered"]
    assert [f.kind for f in read(silent)] == ["nfs_not_responding"]


def test_a_fabric_link_that_drops_long_after_boot_is_told_from_one_that_is_set_up() -> None:
    down = "mlx5_core 0000:60:00.0 ens1np0: Link down\n"
    assert [f.kind for f in read(f"[   12.000000] {down}")] == ["link_down"]
    assert [f.kind for f in read(f"[ 9000.000000] {down}")] == ["link_down", "link_dropped"]
    desk = "[ 9000.000000] r8169 0000:03:00.0 eth0: Link is Down\n"
    assert [f.kind for f in read(desk)] == ["link_down"]


def test_a_firmware_record_of_aer_registers_is_fatal_and_a_high_number_is_many() -> None:
    record = "{1}[Hardware Error]:   aer_uncor_status: 0x00000000, aer_uncor_mask: 0x00010000\n"
    assert [f.kind for f in read(record)] == ["ghes_pcie_fatal"]
    few = "{7}[Hardware Error]: event severity: corrected\n{7}[Hardware Error]:   section_type: PCIe error\n"
    assert [f.kind for f in read(few)] == ["ghes_pcie_corrected"]
    assert [f.kind for f in read(few.replace("{7}", "{357}"))] == ["ghes_pcie_corrected_storm"]


def test_a_link_that_goes_down_twice_flaps_in_a_log_without_a_clock_too() -> None:
    down, up = (
        "mlx5_core 0000:ab:00.0 mlx5_5: Port: 1 Link " + word for word in ("DOWN", "ACTIVE")
    )
    kinds = [f.kind for f in read("\n".join((down, up, down, up)))]
    assert kinds.count("link_flapped") == 1
    assert "link_flapped" not in [f.kind for f in read(f"{down}\n{up}")]
