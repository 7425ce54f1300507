"""Files whose clocks differ are put on one UTC line, or it is said that they are not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import clock
from trainwreck_analyzer.boot import Boot
from trainwreck_analyzer.clock import Clock, stated_shift_s
from trainwreck_analyzer.clocks import match
from trainwreck_analyzer.clocks.marks import Mark
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.verdict import Diagnosis, Incident

KILL = datetime(2026, 11, 20, 9, 2, 1, tzinfo=UTC)
"""When the kernel killed the rank, in UTC."""
BOOT = KILL - timedelta(seconds=81_234.5)
OOM = (
    "Memory cgroup out of memory: Killed process 4721 (python) total-vm:90281728kB,"
    " anon-rss:67108864kB, file-rss:1024kB, shmem-rss:0kB, UID:1000 pgtables:140000kB"
    " oom_score_adj:0"
)
XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4721, name=python, GPU has fallen off the bus."
NFS = "nfs: server fs1 not responding, still trying"


def training(hours: float, *, skew_s: float = 0.0) -> str:
    """A log of the run that dies at ``KILL``, on a clock that names no zone."""

    def at(seconds: float) -> datetime:
        return KILL + timedelta(hours=hours, seconds=seconds + skew_s)

    steps = "".join(
        f"{at(n - 120):%Y-%m-%d %H:%M:%S},000 INFO step {n} loss {2.5 - n / 1000:.4f}\n"
        for n in range(1, 120)
    )
    return steps + (
        "============================================================\n"
        "train.py FAILED\n"
        "------------------------------------------------------------\n"
        "Root Cause (first observed failure):\n"
        "[0]:\n"
        f"  time      : {at(2):%Y-%m-%d_%H:%M:%S}\n"
        "  host      : node7\n"
        "  rank      : 2 (local_rank: 2)\n"
        "  exitcode  : -9 (pid: 4721)\n"
        "  error_file: <N/A>\n"
        "  traceback : Signal 9 (SIGKILL) received by PID 4721\n"
        "============================================================\n"
    )


def dmesg(*lines: tuple[float, str]) -> str:
    return "".join(f"[{seconds:12.6f}] {text}\n" for seconds, text in lines)


def journal(*lines: tuple[datetime, str]) -> str:
    return "".join(
        json.dumps(
            {
                "MESSAGE": text,
                "__REALTIME_TIMESTAMP": str(int(time.timestamp() * 1e6)),
                "__MONOTONIC_TIMESTAMP": str(int((time - BOOT).total_seconds() * 1e6)),
                "_HOSTNAME": "node7",
                "_TRANSPORT": "kernel",
            }
        )
        + "\n"
        for time, text in lines
    )


def told(tmp_path: Path, **files: str) -> Diagnosis:
    """The diagnosis of some files, named after the arguments."""
    for name, text in files.items():
        (tmp_path / f"{name}.log").write_text(text)
    return diagnose([tmp_path / f"{name}.log" for name in files])


def only(found: Diagnosis) -> Incident:
    (incident,) = found.incidents
    return incident


def times(incident: Incident) -> dict[str, datetime | None]:
    """Time of the first evidence out of each file."""
    return {
        Path(e.source).stem: e.time
        for h in reversed(incident.hypotheses)
        for e in reversed(h.evidence)
        if e.source is not None
    }


def test_three_clocks_come_on_one_line(tmp_path: Path) -> None:
    """Local time, seconds since boot, UTC: the dmesg has its boot from the journal's line."""
    found = told(
        tmp_path,
        train=training(+9),
        dmesg=dmesg((10.0, "usb 1-1: new device"), (81_234.5, OOM)),
        journal=journal((KILL, OOM)),
    )
    incident = only(found)
    assert incident.verdict.cause == "host_oom"
    assert times(incident)["dmesg"] == KILL
    assert times(incident)["journal"] == KILL
    assert times(incident)["train"] == KILL + timedelta(seconds=2)
    assert (
        "train.log: UTC+09:00 by 1 event shared with journal.log, no skew"
        in incident.verdict.summary
    )
    assert (
        "dmesg.log: seconds since the boot at 2026-11-19 10:28:06 UTC" in incident.verdict.summary
    )
    assert "\n" not in incident.verdict.summary
    assert found.inputs[0].last_time == KILL + timedelta(seconds=2)


@pytest.mark.parametrize("hours", [-8, -3.5, 0, 1, 5.75, 14])
@pytest.mark.parametrize("skew_s", [0.0, -7.0, 95.0])
def test_a_zone_is_found_by_the_end_of_one_process(
    tmp_path: Path, hours: float, skew_s: float
) -> None:
    """A report comes after the death: 2 s here. One that says earlier is slow."""
    incident = only(
        told(tmp_path, train=training(hours, skew_s=skew_s), journal=journal((KILL, OOM)))
    )
    assert times(incident)["journal"] == KILL
    assert incident.end is not None
    assert incident.end - KILL == timedelta(seconds=max(0, 2 + skew_s))
    assert ("4.0 s slow" in incident.verdict.summary) == (skew_s == -7.0)


def test_a_clock_that_is_right_is_not_talked_of(tmp_path: Path) -> None:
    incident = only(told(tmp_path, train=training(0), journal=journal((KILL, OOM))))
    assert times(incident)["train"] == KILL + timedelta(seconds=2)
    assert "Clocks" not in incident.verdict.summary


def test_lines_that_name_the_zone_date_those_beside_them(tmp_path: Path) -> None:
    head = f"{KILL + timedelta(hours=2, seconds=-121):%Y-%m-%dT%H:%M:%S}+02:00 job starts\n"
    found = told(tmp_path, train=head + training(+2), journal=journal((KILL, NFS)))
    assert "UTC+02:00 by its own lines that name the zone" in only(found).verdict.summary
    assert only(found).end == KILL + timedelta(seconds=2)


def test_a_table_without_a_zone_is_dated_by_the_lines_above_it(tmp_path: Path) -> None:
    """torchelastic prints local time in whole seconds under lines that name their zone."""
    table = training(+9).split("=" * 60, 1)[1]
    steps = "".join(
        f"{KILL + timedelta(seconds=n - 120):%Y-%m-%dT%H:%M:%S}.250Z INFO step {n} loss 2.5\n"
        for n in range(1, 120)
    )
    warned = f"{KILL + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}.250Z ERROR failed (exitcode: -9) local_rank: 2 (pid: 4721)\n"
    incident = only(told(tmp_path, train=steps + warned + table, journal=journal((KILL, NFS))))
    assert incident.end == KILL + timedelta(seconds=2)


def test_whole_seconds_are_no_skew(tmp_path: Path) -> None:
    """The report says 09:02:03, the kernel 09:02:03.7: its second has just not passed."""
    kill = KILL + timedelta(seconds=2.7)
    incident = only(told(tmp_path, train=training(+9), journal=journal((kill, OOM))))
    assert "UTC+09:00 by 1 event shared with journal.log, no skew" in incident.verdict.summary


def test_a_kernel_log_dates_itself_by_its_record_of_the_boot(tmp_path: Path) -> None:
    epoch = int((BOOT + timedelta(seconds=1)).timestamp())
    rtc = f"rtc_cmos 00:01: setting system clock to 2026-11-19T10:28:07 UTC ({epoch})"
    incident = only(told(tmp_path, dmesg=dmesg((1.5, rtc), (81_234.5, XID))))
    assert incident.start is not None
    assert abs(incident.start - KILL) <= timedelta(seconds=1)
    assert "by its own record of the boot" in incident.verdict.summary


def test_an_audit_record_tells_the_boot_more_exactly(tmp_path: Path) -> None:
    at_s = (BOOT + timedelta(seconds=12.25)).timestamp()
    audit = f"audit: type=1400 audit({at_s:.3f}:2): apparmor=status"
    incident = only(told(tmp_path, dmesg=dmesg((12.25, audit), (81_234.5, XID))))
    assert incident.start == KILL


def test_two_boots_in_one_file_are_not_dated_by_one_record(tmp_path: Path) -> None:
    audit = f"audit: type=1400 audit({BOOT.timestamp():.3f}:2): x"
    text = dmesg((900.0, "usb 1-1: new device"), (0.5, audit), (900.0, audit), (2.0, audit))
    incident = only(told(tmp_path, dmesg=text + dmesg((81_234.5, XID))))
    assert incident.start is None


def test_the_skew_of_two_clocks_that_name_their_zone_is_said(tmp_path: Path) -> None:
    late = KILL + timedelta(seconds=42.5)
    text = f"{late:%Y-%m-%dT%H:%M:%S.%f}+00:00 node7 kernel: {XID}\n"
    incident = only(told(tmp_path, journal=journal((KILL, XID)), syslog=text))
    assert "syslog.log: 42.5 s fast, by 1 event shared with journal.log" in incident.verdict.summary
    assert (incident.start, incident.end) == (KILL, KILL)


def test_the_first_cause_is_the_first_in_aligned_time(tmp_path: Path) -> None:
    """As they stand the disk was full nine hours after the GPU was lost; in truth before it."""
    full = KILL + timedelta(hours=9, seconds=-60)
    lost = KILL + timedelta(hours=9, seconds=3)
    log = (
        f"{full:%Y-%m-%d %H:%M:%S},000 ERROR OSError: [Errno 28] No space left on device\n"
        f"{lost:%Y-%m-%d %H:%M:%S},000 ERROR exitcode : -9 (pid: 4721)\n"
    )
    incident = only(told(tmp_path, train=log, journal=journal((KILL, XID))))
    assert incident.start == KILL - timedelta(seconds=60)
    assert incident.end == KILL + timedelta(seconds=3)


def test_what_nothing_aligns_is_not_compared_and_that_is_said(tmp_path: Path) -> None:
    log = "2026-11-20 18:00:00,000 ERROR OSError: [Errno 28] No space left on device\n"
    found = told(tmp_path, train=log, dmesg=dmesg((500.0, XID)), journal=journal((KILL, XID)))
    incident = only(found)
    assert times(incident)["train"] is None
    assert found.inputs[0].first_time is None
    assert any("train.log" in line and "not compared" in line for line in incident.not_measured)
    assert times(incident)["dmesg"] == KILL


def test_a_fault_of_another_day_is_not_put_before_a_log_without_a_zone(tmp_path: Path) -> None:
    log = "2026-11-20 18:00:00,000 ERROR OSError: [Errno 28] No space left on device\n"
    old = KILL - timedelta(days=3)
    found = told(tmp_path, train=log, journal=journal((old, XID)))
    assert [i.verdict.cause for i in found.incidents] == ["gpu_fell_off_bus", "disk_full"]
    assert found.incidents[1].start is None


def test_seconds_since_boot_without_a_boot_are_not_dated(tmp_path: Path) -> None:
    found = told(
        tmp_path, train=training(0), dmesg=dmesg((500.0, NFS), (900.0, XID.replace("4721", "9")))
    )
    assert times(only(found)).get("dmesg") is None
    assert any("counts seconds since boot" in line for line in only(found).not_measured)


def test_ranks_side_by_side_share_a_clock_and_take_the_zone_of_one(tmp_path: Path) -> None:
    other = training(+9).split("=====")[0] + (
        f"{KILL + timedelta(hours=9, seconds=5):%Y-%m-%d %H:%M:%S},000 ERROR RuntimeError: "
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer\n"
    )
    found = told(tmp_path, rank0=other, rank2=training(+9), journal=journal((KILL, OOM)))
    assert found.inputs[0].last_time == KILL + timedelta(seconds=5)
    assert only(found).verdict.cause == "host_oom"
    assert "rank2.log and 1 more: UTC+09:00" in only(found).verdict.summary


def test_where_no_file_names_its_zone_that_is_said(tmp_path: Path) -> None:
    fault = f"[Fri Nov 20 09:02:00 2026] {XID.replace('4721', '9')}\n"
    summary = only(told(tmp_path, rank0=training(0), dmesg=fault)).verdict.summary
    assert "rank0.log: no zone named, taken as UTC" in summary
    assert "dmesg.log: UTC+00:00 if its fault" in summary


@pytest.mark.parametrize("hours", [0, 1, -8])
def test_sacct_is_dated_by_the_end_of_the_jobs_log(tmp_path: Path, hours: float) -> None:
    end = KILL + timedelta(hours=hours, seconds=40)
    sacct = f"JobID|State|ExitCode|End|\n77|OUT_OF_MEMORY|0:125|{end:%Y-%m-%dT%H:%M:%S}|\n"
    log = f"{KILL - timedelta(seconds=2):%Y-%m-%dT%H:%M:%SZ} step 1 loss 2.5\n"
    last = (
        f"{KILL:%Y-%m-%dT%H:%M:%SZ} slurmstepd: error: Detected 1 oom_kill event in StepId=77.0\n"
    )
    incident = only(told(tmp_path, train=log + last, sacct=sacct))
    assert incident.end == KILL + timedelta(seconds=40)


def test_one_log_without_a_zone_is_taken_as_it_stands(tmp_path: Path) -> None:
    incident = only(told(tmp_path, train=training(0)))
    assert incident.end == KILL + timedelta(seconds=2)
    assert "Clocks" not in incident.verdict.summary


@given(
    st.integers(-56, 56),
    st.floats(-100, 100),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20, unique=True),
)
def test_a_shared_event_gives_zone_and_skew(quarters: int, skew_s: float, at: list[float]) -> None:
    own = [Mark(("kernel", "x", str(i)), t - quarters * 900 - skew_s) for i, t in enumerate(at)]
    other = [Mark(("kernel", "x", str(i)), t) for i, t in enumerate(at)]
    found = match.wall(own, other)
    assert found is not None
    # A clock that shows whole seconds hides less than one of them.
    whole = any(float(mark.at_s).is_integer() for mark in (*own, *other))
    near = 1.002 if whole else 0.002
    assert found.shift_s == pytest.approx(quarters * 900 + skew_s, abs=near)
    assert found.skew_s == pytest.approx(skew_s, abs=near)


@given(
    st.floats(0, 2e9),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 60)), min_size=1, max_size=20),
)
def test_a_boot_is_never_put_after_what_reports_allow(
    boot_s: float, deaths: list[tuple[float, float]]
) -> None:
    own = [Mark(("death", str(i)), at) for i, (at, _) in enumerate(deaths)]
    other = [Mark(("death", str(i)), boot_s + at + late, late=True) for i, (at, late) in
             enumerate(deaths)]  # fmt: skip
    found = match.since_boot(own, other)
    assert found is not None
    least = min(late for _, late in deaths)
    assert found.shift_s == pytest.approx(boot_s + least, abs=0.01)


_KEYS = st.tuples(st.sampled_from(["death", "kernel", "step"]), st.sampled_from("abc"))
_MARKS = st.lists(st.builds(Mark, _KEYS, st.floats(-1e12, 1e12), st.booleans()), max_size=30)


@given(_MARKS, _MARKS)
@settings(max_examples=200)
def test_any_marks_can_be_compared(own: list[Mark], other: list[Mark]) -> None:
    for compare in (match.wall, match.same_clock, match.since_boot):
        found = compare(own, other)
        assert found is None or found.events >= 1
        if found is not None and compare is match.wall:
            assert abs(found.skew_s) <= match.LARGEST_SKEW_S
            assert abs(found.shift_s - found.skew_s) <= clock.FARTHEST_ZONE_S


@given(st.lists(st.text(max_size=60)))
def test_any_lines_may_name_a_zone(lines: list[str]) -> None:
    reader = Clock()
    stamps = [stamp for line in lines if (stamp := reader.stamp(line)) is not None]
    shift_s = stated_shift_s(stamps)
    assert shift_s is None or shift_s % clock.ZONE_STEP_S == 0


@given(st.lists(st.tuples(st.text(max_size=80), st.floats(0, 1e9))))
def test_any_kernel_line_may_tell_of_the_boot(lines: list[tuple[str, float]]) -> None:
    boot = Boot()
    for text, at_s in lines:
        boot.saw(at_s)
        boot.feed(text, at_s)
    assert boot.utc_s is None or not boot.several


def test_a_time_of_a_line_before_tells_no_skew(tmp_path: Path) -> None:
    """The traceback stands below a step 8 s before the kill: no clock is fast."""
    steps = "".join(
        f"{KILL + timedelta(seconds=10 * n - 608):%Y-%m-%d %H:%M:%S},000 INFO step {n}"
        f" loss {2.5 - n / 1000:.4f}\n"
        for n in range(61)
    )
    killed = "[rank3]: RuntimeError: DataLoader worker (pid 4721) is killed by signal: Killed.\n"
    kern = f"{KILL:%b %d %H:%M:%S} node7 kernel: {OOM}\n"
    incident = only(told(tmp_path, train=steps + killed, kern=kern))
    assert incident.verdict.cause == "host_oom"
    assert times(incident)["kern"] == KILL
    assert "fast" not in incident.verdict.summary
    assert "slow" not in incident.verdict.summary


def test_a_complaint_without_a_time_is_no_earlier_than_the_fault(tmp_path: Path) -> None:
    """The fault comes 6 s after the last step that stands above the complaint."""
    steps = "".join(
        f"{KILL + timedelta(seconds=10 * n - 600):%Y-%m-%d %H:%M:%S},000 INFO step {n}"
        f" loss {2.5 - n / 1000:.4f}\n"
        for n in range(61)
    )
    retry = (
        "node1:500:600 [3] transport/net_ib.cc:1298 NCCL WARN NET/IB : Got completion from peer"
        " 10.0.0.12<52144> with status=12 opcode=0 len=0 vendor err 129 (Send)\n"
    )
    fault = f"{KILL + timedelta(seconds=6):%b %d %H:%M:%S} node2 kernel: {XID}\n"
    found = told(tmp_path, train=steps + retry, kern=fault)
    assert times(only(found))["kern"] == KILL + timedelta(seconds=6)
    assert only(found).verdict.component.host == "node2"
