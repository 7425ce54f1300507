"""Collectors that throw, hang or lie; logs that rotate; ranks that fall silent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainwreck_agent import daemon, stacks, worker
from trainwreck_agent.collector import Collector, Row
from trainwreck_agent.collectors.process import SCAN_EVERY, Processes
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.kernel_log import KernelLog
from trainwreck_agent.schedule import Schedule
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.process import PROCESS_EXIT
from trainwreck_agent.training_log import Pace, TrainingLog
from trainwreck_agent.worker import EARLY_S, Worker

Wait = Callable[..., Any]
HOST = Host("/")


def said(detail: str) -> Row:
    return Row(COLLECTOR_HEALTH, ("good", "ok", detail, None, None, None, None, None))


class Good(Collector):
    every_s = 0.01

    def collect(self) -> Iterator[Row]:
        yield said("fine")


class Throws(Collector):
    def collect(self) -> Iterator[Row]:
        raise RuntimeError("broken\tdriver")


class Hangs(Collector):
    def collect(self) -> Iterator[Row]:
        time.sleep(3600)
        yield said("never")


class Lies(Collector):
    def collect(self) -> Iterator[Row]:
        yield Row(COLLECTOR_HEALTH, ("too short",))


class Dies(Collector):
    def collect(self) -> Iterator[Row]:
        os._exit(3)
        yield said("never")


def texts(rows: list[Row | str]) -> list[str]:
    return [row if isinstance(row, str) else "\t".join(map(str, row.values)) for row in rows]


@pytest.fixture
def play(wait_for: Wait, wait_end: Wait) -> Iterator[Callable[..., list[str]]]:
    """Runs collectors in a child until some text is told; gives all that was told."""
    made: list[Worker] = []

    def run(until: Callable[[list[str]], object], **kinds: type[Collector]) -> list[str]:
        one = Worker("test", HOST, list(kinds.values()), list(kinds), deadline_s=0.3)
        made.append(one)
        one.start()
        found: list[str] = []

        def done() -> object:
            found.extend(texts([*one.read(), *one.check(time.monotonic())]))
            return until(found)

        wait_for(done)
        return found

    yield run
    for one in made:
        pid = one._pid
        one.stop()
        if pid:
            wait_end(pid)
        for old in one._given_up:
            wait_end(old)
        one.check(time.monotonic()) if not one._given_up else None


def good_after(found: list[str], mark: str) -> bool:
    at = next((n for n, text in enumerate(found) if mark in text), None)
    return at is not None and any("\tfine\t" in text for text in found[at + 1 :])


def test_a_collector_that_throws_is_told_and_the_others_go_on(play: Any) -> None:
    found = play(lambda f: good_after(f, "RuntimeError"), good=Good, bad=Throws)
    (told,) = [text for text in found if "RuntimeError" in text]
    assert "bad\terror\tRuntimeError: broken\\tdriver" in told


def test_a_collector_that_hangs_is_left_out_and_the_others_go_on(play: Any) -> None:
    found = play(lambda f: good_after(f, "\thang\t"), good=Good, bad=Hangs)
    (told,) = [text for text in found if "\thang\t" in text]
    assert told.startswith("bad\thang\tno answer within 0.3 s")


def test_rows_of_the_wrong_width_are_told_and_the_others_go_on(play: Any) -> None:
    found = play(lambda f: good_after(f, "1 values for 8 columns"), good=Good, bad=Lies)
    assert not any("ended" in text for text in found)


def test_a_child_that_dies_is_started_again(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RESTART_S", 0.0)
    found = play(lambda f: sum("exit code 3" in t for t in f) >= 2, bad=Dies)
    assert "its process ended (exit code 3); restarted" in found[0]


def test_no_zombie_is_left_of_a_child_that_hung(wait_for: Wait) -> None:
    one = Worker("test", HOST, [Hangs], ["bad"], deadline_s=0.1)
    one.start()
    pid = one._pid

    def hung() -> bool:
        return any("\thang\t" in t for t in texts([*one.read(), *one.check(time.monotonic())]))

    wait_for(hung)
    wait_for(lambda: one.check(time.monotonic()) == [] and not one._given_up)
    one.stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_child_whose_reader_was_late_does_not_hang(wait_for: Wait) -> None:
    """The recorder waited for its disk; the answer has long been in the pipe."""
    one = Worker("test", HOST, [Good], ["good"], deadline_s=5.0)
    one.start()
    wait_for(lambda: one._running is None and one.read())
    one._control("good")
    one._running_since_s -= 100
    wait_for(lambda: one.read())
    assert one.check(time.monotonic()) == []
    one.stop()


def test_rows_of_a_turn_are_handed_over_together() -> None:
    """A position in a log must not reach the disk without the rows before it, nor they without it."""
    one = Worker("test", HOST, [Good], ["good"])
    one._pipe, writing = os.pipe()
    os.set_blocking(one._pipe, False)
    os.write(writing, b"@good\nrow 1\nrow")
    assert one.read() == []
    os.write(writing, b" 2\n@\n@good\nrow 3\n")
    assert one.read() == ["row 1\n", "row 2\n"]
    os.write(writing, b"@\n")
    assert one.read() == ["row 3\n"]
    os.close(writing)
    one._close()


def test_no_process_to_be_had_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Worker("test", HOST, [Good], ["good"])

    def refuse() -> int:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    one.start()
    (row,) = one.check(time.monotonic())
    assert row.values[:2] == ("test", "error")
    assert one.fileno() == -1


def test_what_is_absent_is_told_once_and_looked_for_later() -> None:
    tries: list[int] = []

    def make(_host: Host) -> Collector:
        tries.append(1)
        raise Unavailable("no such thing", retry_s=5.0)

    schedule = Schedule(HOST)
    schedule.add("x", make)
    (row,) = schedule.run(100.0)
    assert row.values[:3] == ("x", "absent", "no such thing")
    assert schedule.run(104.0) == []
    assert schedule.run(105.0) == []
    assert len(tries) == 2


def test_what_is_due_soon_is_read_with_what_is_due_and_keeps_its_pace() -> None:
    class Slow(Collector):
        tables = ()
        every_s = 2.5
        reads = 0

        def collect(self) -> Iterator[Row]:
            type(self).reads += 1
            return iter(())

    class Slower(Slow):
        every_s = 5.0
        reads = 0

    schedule = Schedule(HOST)
    for kind, begins_s in ((Slow, 0.0), (Slower, 0.2)):
        schedule.add(kind.__name__, kind)
        schedule.run_one(schedule.entries[-1], begins_s)
    wakes, now_s = 0, 0.0
    while (now_s := schedule.next_due_s()) < 100.0:
        wakes += 1
        for entry in schedule.due(now_s, EARLY_S):
            schedule.run_one(entry, now_s)
    assert wakes == 40
    assert (Slow.reads, Slower.reads) == (41, 20 + 1)


def test_a_collector_that_keeps_failing_is_asked_more_rarely() -> None:
    schedule = Schedule(HOST)
    schedule.add("x", Throws)
    asked = [
        now for now in range(200) if schedule.run(float(now)) or schedule.entries[0].due_s > now + 1
    ]
    assert schedule.entries[0].failures < 10
    assert asked


def follow(path: Path, **options: Any) -> TrainingLog:
    return TrainingLog(HOST, [str(path)], **options)


def steps(log: TrainingLog) -> list[tuple[Any, Any]]:
    return [(row.values[1], row.values[4]) for row in log.collect() if row.values[2] == "step"]


def test_a_log_that_grows_rotates_and_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("step 1 loss 2.0\nstep 2 lo")
    log = follow(path)
    assert steps(log) == [(1, 1)]
    with path.open("a") as file:
        file.write("ss 1.5\n")
    assert steps(log) == [(2, 2)]
    path.rename(tmp_path / "train.log.1")
    path.write_text("step 3 loss 1.0\n")
    assert steps(log) == [(1, 3)]
    path.write_text("step 4 loss\n")
    assert steps(log) == []
    assert steps(log) == []


def test_a_log_that_is_not_there_yet_is_looked_for_soon(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        list(follow(tmp_path / "later.log").collect())
    assert caught.value.retry_s == TrainingLog.every_s


def test_links_in_a_folder_of_logs_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("step 1 loss 2\n")
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "link.log").symlink_to(secret)
    (folder / "real.log").write_text("step 5 loss 2\n")
    assert steps(follow(folder)) == [(1, 5)]


def test_alarms_are_kept_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"\xff\xfe RuntimeError: token=abcdef\nall is well\n")
    (row,) = follow(path).collect()
    assert row.values[2] == "alarm"
    assert "abcdef" not in str(row.values)


def test_silence_is_measured_against_the_usual_pace() -> None:
    pace = Pace()
    for n in range(10):
        pace.step(n, n * 2.0)
    assert pace.silent_for_s(18.0 + 15.9) is None
    assert pace.silent_for_s(18.0 + 16.1) == pytest.approx(16.1)


def test_steps_read_late_tell_no_pace(tmp_path: Path) -> None:
    """A log of yesterday is read in one go: that is no run of a thousand steps a second."""
    path = tmp_path / "train.log"
    path.write_text("".join(f"step {n} loss 1.0\n" for n in range(100)))
    log = follow(path)
    assert len(steps(log)) == 100
    assert log._pace.silent_for_s(time.monotonic() + 3600) is None


def test_silence_takes_a_real_stack(tmp_path: Path, wait_for: Wait) -> None:
    if stacks.py_spy() is None:
        pytest.skip("py-spy is not installed")
    code = "import time\ndef waits_for_nobody():\n    print(flush=True)\n    time.sleep(600)\nwaits_for_nobody()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "RANK": "5", "WORLD_SIZE": "8"}, stdout=subprocess.PIPE,
    ) as rank:  # fmt: skip
        try:
            assert rank.stdout is not None
            rank.stdout.readline()
            path = tmp_path / "train.log"
            path.write_text("")
            log = follow(path, on_silence=lambda why: stacks.take(HOST, why))
            list(log.collect())
            now_s = time.monotonic()
            for n in range(5):
                log._pace.step(n, now_s - 100 + n)
            rows = list(log.collect())
        finally:
            rank.kill()
    assert rows[0].values[2] == "silence"
    mine = [row.values for row in rows if row.table.name == "stack" and row.values[0] == rank.pid]
    denied = [row.values[2] for row in rows if row.table.name == "collector_health"]
    if not mine and any("denied" in str(d) or "ermission" in str(d) for d in denied):
        pytest.skip(f"py-spy may not read processes here: {denied}")
    spied = [values for values in mine if values[4] == "py-spy"]
    assert spied, denied
    assert spied[0][2] == 5
    assert "waits_for_nobody" in str(spied[0][5])


def test_an_overrun_of_the_ring_buffer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kmsg"
    path.write_text("")
    log = KernelLog(HOST, str(path), "boot", str(tmp_path / "cursor"))
    records = [b"6,1,1,-;one\n", None, b"6,9,9,-;nine\n"]
    monkeypatch.setattr(log, "_records", lambda: records)
    rows = log.read()
    assert [row.table.name for row in rows] == [
        "kernel_event", "collector_health", "collector_health", "kernel_event",
    ]  # fmt: skip
    assert rows[1].values[:3] == (
        "kernel_log",
        "gap",
        "the ring buffer was overrun before it was read",
    )
    assert rows[2].values[5] == 7


def test_a_device_that_says_it_was_overrun_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EPIPE, once, and then the oldest record there is."""
    path = tmp_path / "kmsg"
    path.write_text("")
    log = KernelLog(HOST, str(path), "boot", str(tmp_path / "cursor"))
    log._device = True
    answers: list[bytes | OSError] = [
        b"6,1,1,-;one\n", BrokenPipeError(32, "Broken pipe"), b"6,9,9,-;nine\n",
        BlockingIOError(11, "Try again"),
    ]  # fmt: skip

    def read(_fd: int, _size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        rows = log.read()
    assert answers == []
    told = [row.values[2] for row in rows if row.table is COLLECTOR_HEALTH]
    assert told == [
        "the ring buffer was overrun before it was read", "records 2 to 8 are missing",
    ]  # fmt: skip
    assert [row.values[1] for row in rows if row.table is not COLLECTOR_HEALTH] == [1, 9]


def test_a_cursor_that_cannot_be_written_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kmsg"
    path.write_text("6,1,1,-;one\n")
    log = KernelLog(HOST, str(path), "boot", str(tmp_path / "cursor"))
    assert len(log.read()) == 1

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        log.commit()
    log.commit()
    again = KernelLog(HOST, str(path), "boot", str(tmp_path / "cursor"))
    assert again.read() == []


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> daemon.Recorder:
    """A recorder of which only the clocks are used."""
    made = object.__new__(daemon.Recorder)
    made.settings = daemon.Settings(str(tmp_path))
    made._offset_us, made._suspended_us, made._health = 0, 0, []
    return made


@pytest.mark.parametrize(
    ("offset_us", "suspended_us", "told"),
    [
        (400_000, 0, []),
        (-3_600_000_000, 0, [("clock", "the wall clock stepped by -3600.000 s", None)]),
        (86_400_000_000, 0, [("clock", "the wall clock stepped by +86400.000 s", None)]),
        (60_000_000, 60_000_000, [("lost", "the machine was suspended for 60.000 s", 60)]),
    ],
)
def test_clock_steps_and_suspends_are_told_apart(
    recorder: daemon.Recorder, monkeypatch: pytest.MonkeyPatch,
    offset_us: int, suspended_us: int, told: list[tuple[Any, ...]],
) -> None:  # fmt: skip
    monkeypatch.setattr(daemon, "_clock_offset_us", lambda: offset_us)
    monkeypatch.setattr(daemon, "_suspended_us", lambda: suspended_us)
    rows = recorder._clock_step()
    assert [(r.values[1], r.values[2], r.values[5]) for r in rows] == told
    assert recorder._clock_step() == []


def test_missed_ticks_are_counted(recorder: daemon.Recorder) -> None:
    assert recorder._skip(100.0, 107.5) == 107.0
    (row,) = recorder._health
    assert row.values[5] == 7


def test_a_rank_that_was_there_and_is_not_has_ended_in_an_unknown_way(tmp_path: Path) -> None:
    """Polling, the fallback without the process connector: no code and no signal, and no zero."""
    for pid in (1, 7):
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir(parents=True)
        rest = " ".join(["0"] * 16)
        line = f"{pid} (python) S 1 0 0 0 -1 0 0 0 0 0 3 4 0 0 20 0 1 0 9 0 77 {rest}"
        (folder / "stat").write_text(line)
        (folder / "cmdline").write_bytes(b"python\0train.py\0")
    (tmp_path / "proc" / "7" / "environ").write_bytes(b"RANK=2\0WORLD_SIZE=4\0")
    collector = Processes(Host(tmp_path))
    list(collector.collect())
    (tmp_path / "proc" / "7").rename(tmp_path / "gone")
    rows = [row for _ in range(SCAN_EVERY) for row in collector.collect()]
    (ended,) = [row.values for row in rows if row.table is PROCESS_EXIT]
    names = [column.name for column in PROCESS_EXIT.columns]
    told = dict(zip(names, ended, strict=True))
    assert (told["pid"], told["rank"], told["source"]) == (7, 2, "poll")
    assert (told["exit_code"], told["signal"], told["core_dumped"]) == (None, None, None)
