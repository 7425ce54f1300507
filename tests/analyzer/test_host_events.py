"""What befell the host before the run began is an incident of the host, not of the run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.render.json import from_json, to_json
from trainwreck_analyzer.render.text import to_text
from trainwreck_analyzer.verdict import Run

BEGAN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
EXT4 = "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory"
OOM = (
    "Memory cgroup out of memory: Killed process 4721 (python) total-vm:90281728kB,"
    " anon-rss:67108864kB, file-rss:1024kB, shmem-rss:0kB, UID:1000 pgtables:140000kB"
    " oom_score_adj:0"
)


def write(folder: Path, kernel_minutes: float, *, job_starts: str = "") -> list[Path]:
    """A log of two minutes whose rank is killed, and a kernel log with an error before it."""
    log, kernel = folder / "train.log", folder / "kernel.log"
    at = [f"{BEGAN + timedelta(seconds=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(121)]
    steps = "".join(f"{t} INFO step {n} loss {2.5 - n / 1000:.4f}\n" for n, t in enumerate(at))
    log.write_text(job_starts + steps + f"{at[-1]} ERROR exitcode: -9 (pid: 4721)\n")
    early = BEGAN - timedelta(minutes=kernel_minutes)
    kernel.write_text(
        f"{early:%Y-%m-%dT%H:%M:%SZ} node7 kernel: {EXT4}\n"
        f"{BEGAN + timedelta(seconds=119):%Y-%m-%dT%H:%M:%SZ} node7 kernel: {OOM}\n"
    )
    return [log, kernel]


@pytest.mark.parametrize("minutes", [8, 55])
def test_the_run_comes_first_and_the_host_is_marked(tmp_path: Path, minutes: float) -> None:
    found = diagnose(write(tmp_path, minutes))
    of_run, of_host = found.incidents
    assert of_run.verdict.cause == "host_oom"
    assert (of_run.before_run, of_run.run.last_step) == (False, 120)
    assert of_host.end is not None
    assert of_host.end < BEGAN
    assert (of_host.before_run, of_host.run) == (True, Run())
    assert "over before the run began at 09:00:00 UTC" in of_host.verdict.summary
    words = to_text(found)
    assert words.index("OUT OF MEMORY") < words.index("before the run")
    assert from_json(to_json(found)) == found


def test_what_the_log_itself_tells_is_of_its_run(tmp_path: Path) -> None:
    """The line of an earlier attempt, with the time of then, is not dropped."""
    then = BEGAN - timedelta(hours=3)
    stale = f"{then:%Y-%m-%dT%H:%M:%SZ} ERROR OSError: [Errno 28] No space left on device\n"
    paths = write(tmp_path, 8, job_starts=stale)
    assert not any(incident.before_run for incident in diagnose(paths).incidents)


def test_without_a_run_nothing_was_before_it(tmp_path: Path) -> None:
    _, kernel = write(tmp_path, 55)
    found = diagnose([kernel])
    assert [incident.before_run for incident in found.incidents] == [False, False]


def test_a_log_without_times_does_not_say_when_its_run_began(tmp_path: Path) -> None:
    log, kernel = write(tmp_path, 55)
    log.write_text("step 1 loss 2.5\nstep 2 loss 2.4\nERROR exitcode: -9 (pid: 4721)\n")
    assert not any(incident.before_run for incident in diagnose([log, kernel]).incidents)
