"""What the recorder's rows become: facts with a query that returns the rows they speak of."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import START, Recorded
from trainwreck_agent import store
from trainwreck_agent.collector import Value
from trainwreck_analyzer import signature
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import (
    Window,
    exits,
    gather,
    not_measured,
    pids_in,
    rules,
    stacks,
    taken,
)
from trainwreck_analyzer.telemetry.recording import literal

INNER = "Ring.all_reduce (ring.py:71)"
COLLECTIVE = f'Thread 1 (idle): "MainThread"\n    Ring._exchange (ring.py:86)\n    {INNER}\n'
LOADER = 'Thread 1 (idle): "MainThread"\n    Queue.get (queue.py:171)\n    Loader.next (l.py:4)\n'


def test_an_empty_recording_gives_no_fact(recorded: Recorded) -> None:
    assert recorded.facts() == {}


@pytest.mark.parametrize(
    ("number", "kind"), [(int(n), kind) for n, kind in exits.KIND_OF_SIGNAL.items()]
)
def test_each_signal_has_its_kind_and_names_the_rank(
    recorded: Recorded, number: int, kind: str
) -> None:
    recorded.end(5, 102, signal=number, last_rss_bytes=700 << 20)
    (fact,) = recorded.facts()[kind]
    assert fact.component.rank == 2
    assert fact.time == START + timedelta(seconds=5)
    assert f"signal {number}" in fact.text
    assert "700 MiB" in fact.text


def test_the_first_end_of_a_job_is_called_so_and_others_follow(recorded: Recorded) -> None:
    recorded.end(5, 102, signal=9)
    recorded.end(6, 101, exit_code=1)
    recorded.end(5.5, 200, signal=11, job="another")
    found = recorded.facts()
    assert "first of its job" in found["process_killed"][0].text
    assert "first of its job" not in found["process_failed"][0].text
    assert found["process_failed"][0].fields["order_in_job"] == "2"
    assert "first of its job" not in found["process_segfault"][0].text


def test_ends_of_other_jobs_are_left_out_where_the_log_names_ours(recorded: Recorded) -> None:
    recorded.end(5, 102, signal=9)
    recorded.end(6, 101, exit_code=1)
    recorded.end(5.5, 200, signal=11, job="another")
    assert "process_segfault" not in recorded.facts(frozenset({101}))
    assert "process_killed" in recorded.facts(frozenset({101}))


def test_ranks_that_end_well_are_a_fact_of_absence(recorded: Recorded) -> None:
    recorded.end(5, 100, exit_code=0)
    recorded.end(5, 101, exit_code=0)
    (fact,) = recorded.facts()["ranks_ended_well"]
    assert fact.evidence == "absence"


@pytest.mark.parametrize(
    ("values", "counted", "absent"),
    [
        ((3, 3, 3, 3, 3), False, True),
        ((3, 3, 3, 4, 4), True, False),
        ((None, None, None, None, None), False, False),
        ((3, 3), False, False),  # the recorder stopped before the end
        ((7, 7, 0, 0, 0), False, False),  # rebooted: nothing can be said
    ],
)
def test_the_oom_counter_speaks_for_or_against_only_where_it_was_read(
    recorded: Recorded, values: tuple[int | None, ...], counted: bool, absent: bool
) -> None:
    recorded.counter(*values)
    recorded.end(2.5, 102, signal=9)
    found = recorded.facts()
    assert ("oom_kill_counted" in found) is counted
    assert ("no_oom_kill_counted" in found) is absent
    assert ("process_killed_without_oom" in found) is absent
    assert ("process_killed" in found) is not absent


def _process(recorded: Recorded, at_s: float, pid: int, rss_mib: float, **cells: Value) -> None:
    recorded.add("process", at_s, pid=pid, started_us=1, role="training", rank=pid % 10,
                 rss_bytes=int(rss_mib * 2**20), **cells)  # fmt: skip


def test_a_leak_is_a_ramp_and_a_start_up_is_none(recorded: Recorded) -> None:
    for at_s in range(20):
        _process(recorded, at_s, 102, 50 + max(0, at_s - 8) * 50)
        _process(recorded, at_s, 103, 10 if at_s < 2 else 400)
    (fact,) = recorded.facts()["process_memory_ramp"]
    assert fact.component.rank == 2
    assert fact.value == pytest.approx(600 * 2**20)


def test_a_leak_that_was_freed_just_before_the_end_is_still_a_ramp(recorded: Recorded) -> None:
    for at_s in range(20):
        _process(recorded, at_s, 102, 43 if at_s == 19 else 50 + max(0, at_s - 8) * 50)
        _process(recorded, at_s, 103, 43 if at_s >= 10 else 50 + at_s * 50)  # long over
    (fact,) = recorded.facts()["process_memory_ramp"]
    assert fact.component.rank == 2


def test_a_slow_leak_over_minutes_is_a_ramp_too(recorded: Recorded) -> None:
    for at_s in range(0, 300, 3):
        _process(recorded, at_s, 102, 50 + at_s)
    assert recorded.facts()["process_memory_ramp"][0].component.rank == 2


def test_a_cgroup_at_its_limit_names_the_cgroup(recorded: Recorded) -> None:
    for at_s, part in enumerate((0.2, 0.5, 0.97)):
        _process(recorded, at_s, 102, 50, cgroup="/job", cgroup_memory_bytes=int(part * 1e9),
                 cgroup_memory_max_bytes=10**9)  # fmt: skip
    (fact,) = recorded.facts()["cgroup_memory_at_limit"]
    assert fact.component.device == "/job"
    assert "97.0 %" in fact.text


def _stack(recorded: Recorded, rank: int, text: str) -> None:
    recorded.add("stack", 9, pid=100 + rank, name="python", rank=rank, reason="no step for 8 s",
                 tool="py-spy", text=text)  # fmt: skip


def test_the_rank_that_is_not_in_the_collective_is_named_with_its_stack(recorded: Recorded) -> None:
    watchdog = 'Thread 3 (idle): "w"\n    w (w.py:1)\n'
    own = 'Thread 2 (idle): "loader"\n    Loader._open (l.py:9)\n' + watchdog
    usual = 'Thread 2 (idle): "loader"\n    Queue.put (q.py:1)\n' + watchdog
    for rank in range(4):
        _stack(recorded, rank, LOADER + own if rank == 2 else COLLECTIVE + usual)
    (fact,) = recorded.facts()["rank_outside_collective"]
    assert fact.component.rank == 2
    assert "3 other ranks" in fact.text
    assert "Queue.get (queue.py:171)" in fact.text
    assert "loader stood in Loader._open" in fact.text
    assert "w stood in" not in fact.text  # as in every other rank


def test_when_all_ranks_wait_in_the_collective_none_is_blamed(recorded: Recorded) -> None:
    for rank in range(4):
        _stack(recorded, rank, COLLECTIVE)
    found = recorded.facts()
    assert "rank_outside_collective" not in found
    assert len(found["all_ranks_in_collective"]) == 1


def test_stacks_without_any_collective_blame_nobody(recorded: Recorded) -> None:
    for rank in range(4):
        _stack(recorded, rank, LOADER)
    assert not {"rank_outside_collective", "all_ranks_in_collective"} & set(recorded.facts())


@given(st.text())
def test_any_text_can_be_taken_for_a_stack(text: str) -> None:
    assert all(thread.name for thread in stacks.parse(text))


def test_kernel_lines_are_decoded_and_tied_to_the_rank_by_pid(recorded: Recorded) -> None:
    recorded.end(5.1, 102, signal=9)
    line = (
        "Memory cgroup out of memory: Killed process 102 (python) total-vm:969956kB,"
        " anon-rss:692968kB, file-rss:18276kB, shmem-rss:0kB, UID:0 pgtables:1532kB"
    )
    recorded.add("kernel_event", 5, boot_id="b", seq=7, priority=3, text=line)
    recorded.add("kernel_event", 5, boot_id="b", seq=8, priority=6, text="eth0: a harmless line")
    kernel = [f for facts in recorded.facts().values() for f in facts if f.evidence == "kernel"]
    (fact,) = kernel
    assert fact.text == line
    assert fact.component.rank == 2
    assert fact.fields["pid"] == "102"


OOM = "Memory cgroup out of memory: Killed process {pid} (python) total-vm:1kB, anon-rss:1kB"


@pytest.mark.parametrize(
    ("pid", "at_s", "ours"),
    [
        (102, 5, True),
        (7, 5, True),  # the recorder is in a container: other numbers, the same moment
        (7, 300, False),  # somebody else's process, long after
    ],
)
def test_an_oom_kill_of_somebody_else_is_not_ours(
    recorded: Recorded, pid: int, at_s: float, ours: bool
) -> None:
    recorded.end(5.1, 102, signal=9)
    recorded.add("kernel_event", at_s, boot_id="b", seq=7, text=OOM.format(pid=pid))
    assert ("cgroup_oom_kill" in recorded.facts()) is ours


def test_the_hosts_oom_counter_does_not_speak_of_a_job_that_nothing_killed(
    recorded: Recorded,
) -> None:
    recorded.counter(0, 0, 1, 1)
    recorded.end(2, 102, exit_code=1)
    recorded.add("kernel_event", 2, boot_id="b", seq=7, text=OOM.format(pid=7))
    assert not {"oom_kill_counted", "cgroup_oom_kill"} & set(recorded.facts())


def test_without_recorded_ends_an_oom_kill_is_kept(recorded: Recorded) -> None:
    recorded.add("kernel_event", 2, boot_id="b", seq=7, text=OOM.format(pid=7))
    assert "cgroup_oom_kill" in recorded.facts()


def test_memory_and_stacks_of_another_job_are_left_out(recorded: Recorded) -> None:
    for at_s in range(20):
        _process(recorded, at_s, 202, 50 + at_s * 50, job="another", cgroup="/another",
                 cgroup_memory_bytes=99, cgroup_memory_max_bytes=100)  # fmt: skip
        _process(recorded, at_s, 102, 50, job="a")
    for rank in range(3):
        recorded.add("stack", 9, pid=200 + rank, rank=rank, reason="x", tool="py-spy",
                     text=LOADER if rank else COLLECTIVE)  # fmt: skip
    recorded.end(20, 102, exit_code=1)
    recorded.end(20, 202, exit_code=1, job="another")
    assert {"process_memory_ramp", "cgroup_memory_at_limit"} <= set(recorded.facts())
    assert not {"process_memory_ramp", "rank_outside_collective", "cgroup_memory_at_limit"} & set(
        recorded.facts(frozenset({102}))
    )


def test_repeated_kernel_lines_are_one_fact_with_a_count(recorded: Recorded) -> None:
    line = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
    for number in range(3):
        recorded.add("kernel_event", 5 + number, boot_id="b", seq=number, text=line)
    (fact,) = recorded.facts()["xid_79"]
    assert fact.fields["repeats"] == "3"


def test_of_the_two_lines_of_an_oom_kill_the_one_in_words_is_told(recorded: Recorded) -> None:
    recorded.end(5.1, 102, signal=9)
    first = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
        "oom_memcg=/job,task_memcg=/job,task=python,pid=102,uid=0"
    )
    for seq, text in enumerate((first, OOM.format(pid=102))):
        recorded.add("kernel_event", 5 + seq / 1e3, boot_id="b", seq=seq, text=text)
    (fact,) = recorded.facts()["cgroup_oom_kill"]
    assert fact.text == OOM.format(pid=102)
    assert fact.fields["repeats"] == "2"
    assert fact.component.rank == 2


def test_a_full_file_system_and_full_shared_memory_are_told_apart(recorded: Recorded) -> None:
    for mount, free in (("/ckpt", 0), ("/dev/shm", 1000), ("/home", 9 * 10**8)):
        recorded.add("filesystem", 5, mount=mount, size_bytes=10**9, available_bytes=free,
                     files_count=100, files_free_count=50, read_only=False)  # fmt: skip
    found = recorded.facts()
    assert [f.component.device for f in found["filesystem_full"]] == ["/ckpt"]
    assert [f.component.device for f in found["shm_full"]] == ["/dev/shm"]


def test_a_counter_that_was_reset_is_no_rise(recorded: Recorded) -> None:
    for at_s, count in enumerate((5, 5, 0, 0)):
        recorded.add("gpu", at_s, uuid="GPU-1", status="ok", ecc_uncorrected_count=count)
    assert "gpu_ecc_uncorrected" not in recorded.facts()


def test_gpu_faults_name_the_gpu(recorded: Recorded) -> None:
    for at_s, count in enumerate((0, 0, 2, 2)):
        status = "ok" if at_s < 3 else "lost"
        recorded.add("gpu", at_s, uuid="GPU-1", status=status, ecc_uncorrected_count=count,
                     clock_event_reasons=0x40, temperature_c=95)  # fmt: skip
    found = recorded.facts()
    assert found["gpu_ecc_uncorrected"][0].component.gpu_uuid == "GPU-1"
    assert "lost" in found["gpu_not_ok"][0].text
    assert "95 °C" in found["gpu_throttle_thermal"][0].text
    assert "gpu_counters_clean" not in found


def test_clean_gpus_speak_against_hardware_but_only_with_ecc(recorded: Recorded) -> None:
    for at_s in range(3):
        recorded.add("gpu", at_s, uuid="GPU-1", status="ok", ecc_uncorrected_count=0)
    assert "gpu_counters_clean" in recorded.facts()
    recorded.add("gpu", 1, uuid="GPU-2", status="ok")
    assert "gpu_counters_clean" not in recorded.facts()


def test_the_first_step_with_a_nan_is_told(recorded: Recorded) -> None:
    for step, loss in ((1, 0.5), (2, 7e9), (3, float("nan"))):
        recorded.add("training_event", step, path="t.log", line=step, kind="step", rank=0,
                     step=step, loss=loss, grad_norm=1.0)  # fmt: skip
    (fact,) = recorded.facts()["recorded_loss_not_finite"]
    assert "step 3" in fact.text


@pytest.mark.parametrize(("ticks_per_s", "idle"), [(1, True), (60, False)])
def test_ranks_that_only_waited_are_told_from_ranks_that_worked(
    recorded: Recorded, ticks_per_s: int, idle: bool
) -> None:
    for at_s in range(20):
        for pid in (100, 101):
            _process(recorded, at_s, pid, 50, user_ticks=at_s * ticks_per_s, system_ticks=0)
    recorded.end(20, 100, exit_code=1)
    assert ("ranks_idle" in recorded.facts()) is idle


def test_what_was_not_measured_is_told_with_its_reason(recorded: Recorded) -> None:
    recorded.add("collector_health", 0, collector="nvml", status="absent", detail="no driver")
    recorded.add("collector_health", 1, collector="cpu", status="ok")
    connection = store.connect([recorded.write()])
    told = not_measured(connection, Window(START, START + timedelta(minutes=1)))
    assert told == [("nvml", "nvml (absent): no driver")]


def test_facts_of_several_hosts_are_kept_apart(tmp_path: Path, prepared: Path) -> None:
    roots = []
    for name in ("a", "b"):
        one = Recorded(tmp_path / name, prepared)
        (one.layout.root / "meta.json").write_text(f'{{"schema_version": 1, "host": "{name}"}}')
        one.counter(0, 0, int(name == "b"))
        roots.append(one.write())
        one.journal.close()
    facts = gather(store.connect(roots), Window(START, START + timedelta(minutes=1)))
    assert [(f.kind, f.component.host) for f in facts] == [("oom_kill_counted", "b")]


@pytest.mark.parametrize(
    ("text", "pids"),
    [
        ("  exitcode  : -9 (pid: 4711)", {4711}),
        ("  traceback : Signal 9 (SIGKILL) received by PID 4711", {4711}),
        ("W1124 api.py:1028] Sending process 4711 closing signal SIGTERM", {4711}),
        ("local_rank: 1 (pid: 12) of binary: /usr/bin/python3", {12}),
        ("rapid 12, step 13, process group 0", set()),
    ],
)
def test_the_pids_that_a_log_names_are_found(text: str, pids: set[int]) -> None:
    assert pids_in([Fact("k", text, "log")]) == pids
    assert pids_in([Fact("k", text, "kernel")]) == frozenset()


def test_a_job_that_still_runs_beside_ours_is_left_out(recorded: Recorded) -> None:
    for rank in range(3):
        _process(recorded, 8, 200 + rank, 50, job="another")
        _process(recorded, 8, 100 + rank, 50, job="a")
        for base, absent in ((100, 1), (200, 2)):
            recorded.add("stack", 9, pid=base + rank, rank=rank, reason="x", tool="py-spy",
                         text=LOADER if rank == absent else COLLECTIVE)  # fmt: skip
    recorded.end(20, 102, exit_code=1)
    (fact,) = recorded.facts(frozenset({102}))["rank_outside_collective"]
    assert fact.component.rank == 1


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_survives_as_sql_literal(text: str) -> None:
    assert duckdb.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]


def test_every_kind_of_the_rules_is_known_to_a_signature() -> None:
    known = [s for s in signature.load().values() if s.facts]
    kinds = {rule.kind for rule in rules.rules().every()}
    kinds |= {*exits.KIND_OF_SIGNAL.values(), "process_failed", "rank_outside_collective"}
    kinds |= {
        "cgroup_memory_at_limit", "cgroup_oom_kill_counted", "cgroup_cpu_throttled",
        "cpu_quota_starves_gpu", "fabric_service_stopped", "fabric_service_restarted",
        "driver_changed", "library_changed", "driver_library_differs", "library_differs",
        "mtu_differs", "acs_redirects", "open_files_at_limit",
    }  # fmt: skip
    assert [kind for kind in sorted(kinds) if not any(s.takes(kind) for s in known)] == []


@pytest.mark.parametrize("value", [datetime(2026, 1, 1), object()])  # noqa: DTZ001 — the point
def test_what_has_no_literal_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        literal(value)


def test_a_window_too_long_to_be_copied_gives_the_same_facts(recorded: Recorded) -> None:
    recorded.counter(0, 0, 1, 1)
    recorded.end(2, 102, signal=9)
    connection = store.connect([recorded.write()])
    long = Window(START - taken.LONGEST, START + timedelta(minutes=10))
    short = Window(START, START + timedelta(minutes=10))
    told = [[(f.kind, f.text, f.time) for f in gather(connection, w)] for w in (short, long)]
    assert told[0] == told[1]
    assert "oom_kill_counted" in [kind for kind, _, _ in told[0]]


def test_nothing_is_left_behind_in_the_connection(recorded: Recorded) -> None:
    connection = store.connect([recorded.write()])
    gather(connection, Window(START, START + timedelta(minutes=10)))
    assert connection.execute("SELECT * FROM duckdb_tables() WHERE temporary").fetchall() == []
