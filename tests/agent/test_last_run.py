"""Recorders that end and start again: how the one before ended, and what was missed, is on record."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainwreck_agent import last_run
from trainwreck_agent.layout import Layout

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")


def told(layout: Layout, boot: str, interval_s: float = 1.0) -> list[tuple[Any, ...]]:
    return [row.values for row in last_run.begin(layout, boot, interval_s)]


@pytest.mark.parametrize(
    ("asked", "boot", "how"),
    [
        (True, "a", last_run.STOPPED),
        (False, "a", last_run.KILLED),
        (True, "b", last_run.RESTARTED),
        (False, "b", last_run.WENT_DOWN),
    ],
)
def test_how_the_one_before_ended(layout: Layout, asked: bool, boot: str, how: str) -> None:
    assert told(layout, "a") == []  # nobody was here before
    if asked:
        last_run.end(layout, "a")
    assert told(layout, "a") == []  # it wrote nothing
    if asked:
        last_run.end(layout, "a")
    path = layout.journal_path(1)
    path.write_text("something\n")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))
    ((name, status, detail, _, _, lost, *_),) = told(layout, boot, interval_s=10.0)
    assert (name, status, lost) == ("recorder", "lost", 10)
    assert detail.startswith("nothing was recorded for 10")
    assert detail.endswith(how)


def test_a_clock_set_back_meanwhile_gives_no_negative_time(layout: Layout) -> None:
    told(layout, "a")
    path = layout.journal_path(1)
    path.write_text("something\n")
    os.utime(path, (2e9, 2e9))
    ((_, _, detail, _, _, lost, *_),) = told(layout, "a")
    assert "for 0.0 s" in detail
    assert lost == 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a", b"\n \n", b"x" * 100_000])
def test_a_note_that_is_none_stops_nobody(layout: Layout, content: bytes) -> None:
    (layout.state / "run").write_bytes(content)
    layout.journal_path(1).write_text("something\n")
    assert len(told(layout, "a")) <= 1


@pytest.mark.fault
def test_a_recorder_restarted_during_the_crash(record: Callable[..., Any], tmp_path: Path) -> None:
    """Killed with the job, started again: the kernel's lines of the meantime are not lost."""
    kmsg, log = tmp_path / "kmsg", tmp_path / "train.log"
    kmsg.write_text("6,1,1,-;before\n")
    log.write_text("step 1 loss 2.0\n")
    options = ("--kmsg", str(kmsg), "--log", str(log))
    first = record(None, *options)
    first.wait_text("before")
    first.wait_text("\tstep\t")
    first.stop(signal.SIGKILL)
    with kmsg.open("a") as file:
        file.write("3,2,2,-;Out of memory: Killed process 4711 (python)\n")
    with log.open("a") as file:
        file.write("step 2 loss 1.9\nRuntimeError: Connection reset by peer\n")
    second = record(None, *options)
    second.wait_text("Killed process")
    second.wait_text("Connection reset")
    second.wait_ticks(1)
    assert second.stop() == 0
    assert second.rows("SELECT seq FROM kernel_event ORDER BY seq") == [(1,), (2,)]
    lines = second.rows("SELECT kind, line FROM training_event ORDER BY line")
    assert lines == [("step", 1), ("step", 2), ("alarm", 3)]
    query = "SELECT detail FROM collector_health WHERE collector = 'recorder' AND status = 'lost'"
    assert any(last_run.KILLED in detail for (detail,) in second.rows(query))


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A small ext4 of our own, and the file that makes the kernel find an error in it."""
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(24 << 20)
    made = shell("mkfs.ext4", "-q", str(image))
    if made.returncode == 0:
        made = shell("mount", "-o", "loop,errors=remount-ro", str(image), str(mount))
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.strip()}")
    try:
        device = shell("findmnt", "-n", "-o", "SOURCE", str(mount)).stdout.strip()
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel has no way to make a file system fail")
        yield mount, trigger
    finally:
        while shell("umount", "-l", str(mount)).returncode == 0:
            pass


@pytest.mark.fault
@ROOT
def test_a_file_system_that_the_kernel_makes_read_only(
    record: Callable[..., Any], wait_for: Callable[..., Any], disk: tuple[Path, Path]
) -> None:
    """It is read on, nothing is lost, and a new disk in its place gets the rows."""
    mount, trigger = disk
    run = record(mount / "data")
    run.wait_ticks()
    seen = run.ticks()
    trigger.write_text("a test of ours\n")
    wait_for(lambda: "keeping rows in memory" in run.errors.read_text())
    assert "Read-only file system" in run.errors.read_text()
    assert run.process.poll() is None
    ((count,),) = run.rows("SELECT count(*) FROM memory")
    assert count >= seen
    assert shell("umount", "-l", str(mount)).returncode == 0
    assert shell("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(mount)).returncode == 0
    run.wait_text("had vanished")
    run.wait_text("Read-only file system")
    run.wait_text("the disk takes rows again")
    run.wait_ticks(2)
    assert run.stop() == 0
    query = "SELECT DISTINCT status FROM collector_health WHERE collector = 'journal'"
    assert {"error", "ok", "lost"} >= {s for (s,) in run.rows(query)} >= {"error", "ok"}
