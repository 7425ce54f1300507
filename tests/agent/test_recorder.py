"""The whole recorder as a process: it starts, records, survives, stops, and says what it lost."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.daemon import Recorder, Settings
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.layout import DataDirectoryError, Layout
from trainwreck_agent.process_exits import _listen
from trainwreck_agent.schedule import Schedule
from trainwreck_agent.tables.process import PROCESS_EXIT

Record = Callable[..., Any]
Wait = Callable[..., Any]


def connector() -> str:
    """Why the kernel tells no exits here; empty: it does."""
    try:
        _listen().close()
    except Unavailable as error:
        return error.detail
    return ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_stops_cleanly_when_asked(
    record: Record, wait_end: Wait, tmp_path: Path, number: int
) -> None:
    run = record(None, "--log", str(tmp_path / "none.log"))
    run.wait_ticks()
    children = run.children()
    assert run.stop(number) == 0
    for pid in children:
        wait_end(pid)
    assert "Traceback" not in run.errors.read_text()
    assert run.layout.locked_by() is None
    assert run.journal().endswith("$\n")


def test_a_tick_that_comes_late_costs_no_later_one() -> None:
    read_at: list[float] = []

    class Each(Collector):
        every_s = 1.0

        def collect(self) -> Iterator[Row]:
            read_at.append(planned_s)
            return iter(())

    schedule = Schedule(Host())
    schedule.add("each", Each)
    recorder = SimpleNamespace(
        _health=[], _waiting=[], sources=[], schedule=schedule, _clock_step=list,
        _write=lambda rows, tick_us: None, _notify=lambda state: None,
        sealer=SimpleNamespace(check=lambda now_s, writer: []), writer=None,
    )  # fmt: skip
    for planned_s in (1.0, 2.0, 3.0):  # long ago: each of these ticks comes late
        Recorder._tick(recorder, planned_s)  # type: ignore[arg-type]
    assert read_at == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("role", "signal_number", "at_once"),
    [("training", None, True), ("child", None, True), ("other", 9, True), ("other", None, False)],
)
def test_the_end_of_a_rank_and_a_killed_process_are_on_disk_at_once(
    role: str, signal_number: int | None, at_once: bool
) -> None:
    known = {"role": role, "signal": signal_number, "exit_code": None if signal_number else 1}
    row = Row(PROCESS_EXIT, tuple(known.get(column.name) for column in PROCESS_EXIT.columns))
    written: list[Row] = []
    recorder = SimpleNamespace(
        _waiting=[], _urgent=0, _write=lambda rows, tick_us: written.extend(rows)
    )
    source = SimpleNamespace(read=lambda: [row], fileno=lambda: 3)
    Recorder._take(recorder, source)  # type: ignore[arg-type]
    assert (written, recorder._waiting) == (([row], []) if at_once else ([], [row]))


def test_it_may_open_more_files_than_a_service_usually_may() -> None:
    """With 1,024 a host of a thousand processes would leave none for the journal."""
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 2000));"
        "from trainwreck_agent import daemon; daemon._allow_files();"
        "print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(2000, 2000)\n"


def test_it_ends_by_itself_after_its_duration(record: Record) -> None:
    run = record(None, "--duration", "500ms")
    assert run.process.wait(60) == 0
    assert run.ticks() >= 1


def test_killed_it_keeps_what_was_written_and_starts_again(record: Record, wait_end: Wait) -> None:
    run = record()
    run.wait_ticks()
    seen, children = run.journal(), run.children()
    assert run.stop(signal.SIGKILL) == -signal.SIGKILL
    assert run.journal().startswith(seen)
    for pid in children:
        wait_end(pid)
    again = record()
    again.wait_ticks()
    assert again.layout.locked_by() == again.process.pid
    assert again.stop() == 0
    count = again.rows("SELECT count(DISTINCT ts), count(*) FROM memory")
    assert count == [(again.ticks(), again.ticks())]


def test_a_second_recorder_is_refused_and_told_of_the_first(record: Record) -> None:
    first = record()
    first.wait_ticks(1)
    second = record()
    assert second.process.wait(60) == 2
    (line,) = second.errors.read_text().splitlines()
    assert f"pid {first.process.pid}" in line
    first.wait_ticks(1)
    assert first.stop() == 0


@pytest.mark.parametrize(
    ("meta", "words"), [("{", "damaged"), ('{"schema_version": 7, "host": "h"}', "version 7")]
)
def test_a_directory_of_another_kind_is_refused(
    record: Record, layout: Layout, meta: str, words: str
) -> None:
    (layout.root / "meta.json").write_text(meta)
    run = record(layout.root)
    assert run.process.wait(60) == 2
    (line,) = run.errors.read_text().splitlines()
    assert words in line
    assert (layout.root / "meta.json").read_text() == meta


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/nothing"])
def test_a_place_that_is_no_directory_is_refused(
    record: Record, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").touch()
    run = record(tmp_path / where) if not where.startswith("/") else None
    if run is None:
        run = record(tmp_path / "d", "--data", where)
    assert run.process.wait(60) == 2
    assert len(run.errors.read_text().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")
@pytest.mark.parametrize("made", [True, False])
def test_a_directory_of_somebody_else_is_refused(made: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, data = Path(folder), Path(folder) / "data"
        root.chmod(0o755)
        if made:
            Layout(data).create()
            for path in (data, *data.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
        os.seteuid(65534)
        try:
            with pytest.raises(DataDirectoryError, match="cannot write") as caught:
                Recorder(Settings(str(data)))
        finally:
            os.seteuid(0)
    assert "\n" not in str(caught.value)


def test_nothing_is_readable_by_others_and_no_link_is_followed(
    record: Record, layout: Layout, tmp_path: Path, wait_for: Wait
) -> None:
    target = tmp_path / "target"
    (layout.state / "kernel_log.cursor").symlink_to(target)
    run = record(layout.root)
    run.wait_ticks()
    wait_for(layout.prepared.exists)
    assert run.stop() == 0
    assert not target.exists()
    for path in layout.root.rglob("*"):
        if not path.is_symlink():
            allowed = 0o750 if path.is_dir() else 0o640
            assert stat.S_IMODE(path.stat().st_mode) == allowed, path
    (layout.root / "lock").unlink()
    (layout.root / "lock").symlink_to(target)
    refused = record(layout.root)
    assert refused.process.wait(60) == 2
    assert not target.exists()


TRAINING = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "SLURM_JOB_ID": "4711"}
CODE = "import sys, os, signal; print(flush=True); sys.stdin.readline(); {end}"


def trainee(end: str) -> subprocess.Popen[str]:
    """A rank that waits for a line and then ends as told."""
    made = subprocess.Popen(
        [sys.executable, "-c", CODE.format(end=end)],
        env={**os.environ, **TRAINING}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert made.stdout is not None
    made.stdout.readline()
    return made


@pytest.mark.skipif(bool(connector()), reason=connector() or "-")
@pytest.mark.parametrize(
    ("end", "code", "number"),
    [
        ("sys.exit(7)", 7, None),
        ("os.kill(os.getpid(), signal.SIGKILL)", None, 9),
        ("pass", 0, None),
    ],
)
def test_the_kernel_tells_how_a_rank_ended(
    record: Record, end: str, code: int | None, number: int | None
) -> None:
    run = record()
    run.wait_ticks()
    process = trainee(end)
    run.wait_text("process\t")
    run.wait_text("\ttraining\t3\t1\t8\t4711\t")
    process.communicate("go\n", timeout=60)
    run.wait_text("process_exit\t")
    assert run.stop() == 0
    query = (
        "SELECT rank, world_size, job, role, exit_code, signal, source FROM process_exit"
        " WHERE pid = ?"
    )
    assert run.rows(query, process.pid) == [(3, 8, "4711", "training", code, number, "connector")]


def test_the_kernel_log_through_a_pipe(record: Record, tmp_path: Path) -> None:
    """Records, a gap in their numbers, and a writer that leaves and comes back."""
    pipe = tmp_path / "kmsg"
    os.mkfifo(pipe)
    run = record(None, "--kmsg", str(pipe))
    run.wait_ticks(1)
    with pipe.open("w") as writer:
        writer.write("6,10,1000000,-;first\n3,11,1000001,-;NVRM: Xid\n SUBSYSTEM=pci\n")
    run.wait_text("NVRM: Xid")
    with pipe.open("w") as writer:
        writer.write("garbage\n4,15,1000002,-;after a gap\n4,16,1000003,-;tab\\x09\n")
    run.wait_text("after a gap")
    run.wait_ticks()
    assert run.stop() == 0
    got = run.rows("SELECT seq, priority, text FROM kernel_event ORDER BY seq")
    assert got == [(10, 6, "first"), (11, 3, "NVRM: Xid"), (15, 4, "after a gap"), (16, 4, "tab\t")]
    query = "SELECT detail, lost_count FROM collector_health WHERE status = 'gap'"
    assert run.rows(query) == [("records 12 to 14 are missing", 3)]


def test_a_pipe_that_its_writer_left_does_not_keep_the_recorder_busy(
    record: Record, tmp_path: Path
) -> None:
    pipe = tmp_path / "kmsg"
    os.mkfifo(pipe)
    run = record(None, "--kmsg", str(pipe))
    run.wait_ticks(1)
    with pipe.open("w") as writer:
        writer.write("6,10,1000000,-;first\n")
    run.wait_text("first")

    def busy_ticks() -> int:
        words = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    before, ticks = busy_ticks(), run.ticks()
    run.wait_ticks(10)
    per_tick = (busy_ticks() - before) / (run.ticks() - ticks)
    assert per_tick < 5  # of the 10 hundredths between two ticks; spinning takes them all
    assert run.stop() == 0


def test_a_restart_neither_repeats_nor_skips_kernel_lines(record: Record, tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("".join(f"6,{n},{n},-;line {n}\n" for n in range(1, 6)))
    first = record(None, "--kmsg", str(log))
    first.wait_text("line 5")
    first.wait_ticks(1)
    assert first.stop(signal.SIGKILL) == -9
    with log.open("a") as file:
        file.write("".join(f"6,{n},{n},-;line {n}\n" for n in range(6, 9)))
    second = record(None, "--kmsg", str(log))
    second.wait_text("line 8")
    assert second.stop() == 0
    got = second.rows("SELECT seq FROM kernel_event ORDER BY seq")
    assert got == [(n,) for n in range(1, 9)]


def fill_up(filler: Path) -> None:
    """Write until there is no room."""
    with filler.open("ab", buffering=0) as file:
        for size in (4096, 64):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_a_full_disk_costs_nothing_while_memory_lasts(record: Record, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.decode().strip()}")
    try:
        log = tmp_path / "kmsg"
        log.write_text("6,1,1,-;before\n")
        run = record(mount / "data", "--kmsg", str(log))
        run.wait_text("before")
        run.wait_ticks()
        filler = mount / "filler"
        while "keeping rows in memory" not in run.errors.read_text():
            fill_up(filler)
            time.sleep(0.05)
        with log.open("a") as file:
            file.write("6,2,2,-;in the full time\n")
        time.sleep(0.3)  # some ticks that nobody can see
        assert run.process.poll() is None
        filler.unlink()
        run.wait_text("the disk takes rows again")
        run.wait_text("in the full time")
        assert run.stop() == 0
        told = run.rows(
            "SELECT status FROM collector_health WHERE collector = 'journal' ORDER BY ts"
        )
        assert {status for (status,) in told} == {"error", "ok"}
        assert run.rows("SELECT seq FROM kernel_event ORDER BY seq") == [(1,), (2,)]
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.fault
def test_a_directory_deleted_under_it_is_made_again(record: Record, wait_for: Wait) -> None:
    run = record()
    run.wait_ticks()
    wait_for(run.layout.prepared.exists)
    gone = run.data.rename(run.data.with_name("gone"))
    run.wait_text("had vanished")
    run.wait_ticks()
    wait_for(run.layout.prepared.exists, "no database file in the new directory")
    assert run.layout.locked_by() == run.process.pid
    assert run.stop() == 0
    assert Layout(gone).journals() != []


def test_a_machine_below_another_root(record: Record, tmp_path: Path) -> None:
    """5,000 processes and a memory file: what a recorded machine has is recorded."""
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text("MemTotal:       24683656 kB\nMemFree: 5 kB\n")
    rest = " ".join(["0"] * 16)
    for pid in range(1, 5001):
        folder = root / "proc" / str(pid)
        folder.mkdir()
        line = f"{pid} (p) {pid}) S 1 0 0 0 -1 0 0 0 {pid} 0 3 4 0 0 20 0 1 0 77 0 {1 << 20} {rest}"
        (folder / "stat").write_text(line)
        if pid % 100 == 0:
            (folder / "cmdline").write_bytes(b"python\0train.py\0--api-key\0hunter2hunter2\0")
            (folder / "environ").write_bytes(b"A=b\0RANK=%d\0WORLD_SIZE=50\0" % (pid // 100))
    run = record(None, "--host-root", str(root))
    run.wait_text("\ttraining\t50\t")
    assert run.stop() == 0
    query = "SELECT count(DISTINCT rank), any_value(command) FROM process WHERE role = 'training'"
    assert run.rows(query) == [(50, "python train.py --api-key ***")]
    assert run.rows("SELECT DISTINCT total_bytes FROM memory") == [(24683656 * 1024,)]
    query = "SELECT status FROM collector_health WHERE collector = 'process'"
    assert {status for (status,) in run.rows(query)} & {"ok", "slow"}
