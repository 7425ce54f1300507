"""Logs whose clock names no zone, or counts from boot, are dated by what the recorder saw."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from recorded import START, Recorded
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.verdict import Incident

XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=300, name=python, GPU has fallen off the bus."
BOOT_S = -5000.0
"""When the machine booted, from ``START``."""


def log(hours: float, *, end: str) -> str:
    """Steps up to second 60 and an end at second 61, on a clock ``hours`` before UTC."""

    def at(second: float) -> str:
        return f"{START + timedelta(hours=hours, seconds=second):%Y-%m-%d %H:%M:%S},000"

    steps = "".join(f"{at(s)} INFO step {s} loss {2.5 - s / 1000:.4f}\n" for s in range(1, 60))
    return f"{steps}{at(61)} {end}\n"


def incidents(recorded: Recorded, tmp_path: Path, **files: str) -> tuple[Incident, ...]:
    for at_s in range(0, 80, 5):
        recorded.add("memory", at_s, total_bytes=64 << 30, available_bytes=60 << 30)
    for name, text in files.items():
        (tmp_path / f"{name}.log").write_text(text)
    paths = [tmp_path / f"{name}.log" for name in files]
    return diagnose(paths, [recorded.write()]).incidents


@pytest.mark.parametrize("hours", [0, 9, -7, 5.5])
def test_the_end_of_a_process_tells_the_zone(
    recorded: Recorded, tmp_path: Path, hours: float
) -> None:
    recorded.end(60, 300, signal=9)
    (incident,) = incidents(
        recorded, tmp_path, train=log(hours, end="ERROR exitcode : -9 (pid: 300)")
    )
    assert incident.start == START + timedelta(seconds=60)
    assert incident.end == START + timedelta(seconds=61)
    assert ("the recorder saw" in incident.verdict.summary) == bool(hours)


@pytest.mark.parametrize("hours", [0, 9])
def test_an_end_that_was_polled_tells_the_zone_and_no_skew(
    recorded: Recorded, tmp_path: Path, hours: float
) -> None:
    """Without root the recorder misses a process only at its next look, up to seconds later."""
    recorded.end(63.5, 300, source="poll")
    end = "ERROR exitcode : 1 (pid: 300)"
    (incident,) = incidents(recorded, tmp_path, train=log(hours, end=end))
    assert incident.end == START + timedelta(seconds=61)
    assert "slow" not in incident.verdict.summary


def test_steps_that_the_recorder_followed_tell_the_zone(recorded: Recorded, tmp_path: Path) -> None:
    """It reads a line up to a second after it was written, and old lines at its start."""
    for step in range(1, 60):
        recorded.add("training_event", max(20, step) + 0.6, path="/other/train.log", line=step,
                     kind="step", step=step, loss=2.5 - step / 1000)  # fmt: skip
    end = "ERROR OSError: [Errno 28] No space left on device"
    (incident,) = incidents(recorded, tmp_path, train=log(-4, end=end))
    assert incident.verdict.cause == "disk_full"
    assert incident.start == START + timedelta(seconds=61)
    assert "train.log: UTC-04:00 by" in incident.verdict.summary


def test_a_recorded_kernel_line_dates_the_same_line_of_dmesg(
    recorded: Recorded, tmp_path: Path
) -> None:
    recorded.add("kernel_event", 30, boot_id="b", seq=1, priority=3, text=XID,
                 monotonic_us=int((30 - BOOT_S) * 1e6))  # fmt: skip
    (incident,) = incidents(recorded, tmp_path, dmesg=f"[{30 - BOOT_S:12.6f}] {XID}\n")
    assert incident.start == START + timedelta(seconds=30)
    assert (
        "dmesg.log: seconds since the boot at 2026-11-24 07:36:40 UTC" in incident.verdict.summary
    )


def test_the_recorded_boot_dates_dmesg_where_no_kernel_line_could_be_read(
    recorded: Recorded, tmp_path: Path
) -> None:
    boot_us = int((START + timedelta(seconds=BOOT_S)).timestamp() * 1e6)
    recorded.add("host", 0, boot_id="b", event="start", boot_time_us=boot_us)
    (incident,) = incidents(recorded, tmp_path, dmesg=f"[{30 - BOOT_S:12.6f}] {XID}\n")
    assert incident.start == START + timedelta(seconds=30)
    assert "by the recorder's record of it" in incident.verdict.summary


def test_of_two_recorded_boots_none_is_guessed(recorded: Recorded, tmp_path: Path) -> None:
    for boot, at_s in (("a", -90000.0), ("b", BOOT_S)):
        boot_us = int((START + timedelta(seconds=at_s)).timestamp() * 1e6)
        recorded.add("host", 0, boot_id=boot, event="start", boot_time_us=boot_us)
    (incident,) = incidents(recorded, tmp_path, dmesg=f"[{30 - BOOT_S:12.6f}] {XID}\n")
    assert incident.start is None
    assert "not compared" in incident.not_measured[0]


def test_a_log_that_the_recorder_knows_nothing_of_is_said_to_be_taken_as_utc(
    recorded: Recorded, tmp_path: Path
) -> None:
    end = "ERROR OSError: [Errno 28] No space left on device"
    (incident,) = incidents(recorded, tmp_path, train=log(0, end=end))
    assert "train.log: no zone named, taken as UTC" in incident.verdict.summary
