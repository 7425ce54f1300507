"""Training logs that rotate, are cut and copied, and recorders that start again beside them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent import followed_log, log_file, log_position, seal, store, training_log
from trainwreck_agent.host import Host
from trainwreck_agent.journal import encode, escape, unescape
from trainwreck_agent.layout import Layout
from trainwreck_agent.training_log import TrainingLog

Wait = Callable[..., Any]


class Recorder:
    """Follows logs and writes its rows down, as the recorder does; may be killed at any time."""

    def __init__(self, layout: Layout, *paths: Path) -> None:
        self._layout = layout
        self._log = TrainingLog(Host("/"), [str(path) for path in paths], layout=layout)
        self._number = layout.next_number()

    def poll(self) -> list[tuple[str, int, int]]:
        """(file name, line, step) of the rows of one look, which are on disk now."""
        rows = list(self._log.collect())
        with self._layout.journal_path(self._number).open("a") as journal:
            journal.write("".join(encode(row, 1_700_000_000_000_000) for row in rows))
        found = [row.values for row in rows if row.table.name == "training_event"]
        return [(Path(str(v[0])).name, int(str(v[1])), int(str(v[4]))) for v in found]


def say(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        file.write("".join(f"step {n} loss {1 + n / 7:.6f}\n" for n in numbers))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder / "train.log"


@pytest.mark.parametrize("sealed", [False, True])
def test_a_restart_neither_repeats_nor_skips_lines(layout: Layout, log: Path, sealed: bool) -> None:
    say(log, 1, 2)
    log.open("a").write("step 3 lo")
    assert Recorder(layout, log).poll() == [("train.log", 1, 1), ("train.log", 2, 2)]
    if sealed:
        store.prepare(layout)
        seal.seal(layout, 1)
        for number in layout.journals():
            layout.journal_path(number).write_text("")
    log.open("a").write("ss 0.5\n")
    say(log, 4)
    again = Recorder(layout, log)
    assert again.poll() == [("train.log", 3, 3), ("train.log", 4, 4)]
    assert again.poll() == []


def test_rows_that_did_not_reach_the_disk_are_read_again(layout: Layout, log: Path) -> None:
    say(log, 1, 2)
    assert Recorder(layout, log).poll() == [("train.log", 1, 1), ("train.log", 2, 2)]
    journal = layout.journal_path(1)
    lines = journal.read_text().splitlines(keepends=True)
    assert lines[-1].startswith("training_log_position")
    journal.write_text("".join(lines[:-1]) + lines[-1][:-3])  # the power went in the last line
    assert len(Recorder(layout, log).poll()) == 2


def test_the_tail_of_a_renamed_log_comes_before_its_successor(layout: Layout, log: Path) -> None:
    recorder = Recorder(layout, log)
    say(log, 1)
    recorder.poll()
    say(log, 2)
    old = log.rename(log.with_name("train.log.1"))
    say(log, 3)
    assert recorder.poll() == [("train.log", 2, 2), ("train.log", 1, 3)]
    say(old, 4)  # its writer had it open still
    assert recorder.poll() == [("train.log", 3, 4)]
    assert recorder.poll() == []


def test_a_log_renamed_while_nobody_recorded(layout: Layout, log: Path) -> None:
    say(log, 1)
    Recorder(layout, log).poll()
    say(log, 2)
    log.rename(log.with_name("train.log-20260101"))
    say(log, 3)
    assert Recorder(layout, log).poll() == [("train.log", 2, 2), ("train.log", 1, 3)]


def copytruncate(log: Path, *more: int) -> Path:
    """What logrotate does: copy, then cut; ``more`` came before the copy."""
    say(log, *more)
    copy = log.with_name(log.name + ".1")
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    return copy


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("regrown", [[9], list(range(100, 300))])
def test_the_tail_of_a_log_that_was_copied_and_cut(
    layout: Layout, log: Path, restart: bool, regrown: list[int]
) -> None:
    """Also where it has grown beyond its old size before anybody looked."""
    recorder = Recorder(layout, log)
    say(log, *range(50))
    recorder.poll()
    copytruncate(log, 50, 51)
    say(log, *regrown)
    if restart:
        recorder = Recorder(layout, log)
    want = [("train.log", 51, 50), ("train.log", 52, 51)]
    assert recorder.poll() == want + [("train.log", i, n) for i, n in enumerate(regrown, 1)]
    assert recorder.poll() == []


def test_a_log_cut_under_a_writer_that_does_not_append(layout: Layout, log: Path) -> None:
    """It goes on where it was, behind a hole as large as what was cut."""
    recorder = Recorder(layout, log)
    with log.open("w") as file:
        file.write("step 1 loss 2.0\n" * 10_000)
        file.flush()
        while recorder.poll():
            pass
        os.truncate(log, 0)
        file.write("step 2 loss 1.0\n")
        file.flush()
        (row,) = recorder.poll()
    assert row[2] == 2


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_whose_logs_rotate_repeats_nothing(
    layout: Layout, log: Path, restart: bool
) -> None:
    recorder = Recorder(layout, log.parent)
    seen = []
    for turn in range(6):
        say(log, 10 * turn)
        seen += recorder.poll()
        say(log, 10 * turn + 1)
        for n in range(turn, 0, -1):
            log.with_name(f"train.log.{n}").rename(log.with_name(f"train.log.{n + 1}"))
        log.rename(log.with_name("train.log.1"))
        if restart:
            recorder = Recorder(layout, log.parent)
    say(log, 60)
    seen += recorder.poll() + recorder.poll()
    steps = sorted(step for _, _, step in seen)
    assert steps == [*(10 * turn + n for turn in range(6) for n in (0, 1)), 60]


def test_a_copy_that_is_made_beside_a_followed_log_repeats_nothing(
    layout: Layout, log: Path
) -> None:
    recorder = Recorder(layout, log.parent)
    say(log, *range(20))
    assert len(recorder.poll()) == 20
    copy = log.with_name("train.log.1")
    whole = log.read_bytes()
    for size in (100, 200, len(whole)):  # a large one takes more than a look
        copy.write_bytes(whole[:size])
        assert recorder.poll() == []
    assert Recorder(layout, log.parent).poll() == []
    say(log, 20)
    copy.write_bytes(log.read_bytes())
    os.truncate(log, 0)
    say(log, 21)
    assert [step for _, _, step in recorder.poll()] == [20, 21]
    assert recorder.poll() == []


def test_logs_that_begin_alike_are_told_apart(layout: Layout, log: Path) -> None:
    recorder = Recorder(layout, log.parent)
    for name in ("rank", "rank.0"):
        say(log.with_name(name), 1)
    recorder.poll()
    say(log.with_name("rank"), 2)
    say(log.with_name("rank.0"), 3)
    found = [*recorder.poll(), *recorder.poll()]
    assert {("rank", 2, 2), ("rank.0", 2, 3)} <= set(found)


def test_an_inode_that_is_used_again_is_another_log(layout: Layout, log: Path) -> None:
    say(log, 1, 2)
    Recorder(layout, log).poll()
    status = log.stat()
    body = "step 7 loss 1.0\nstep 8 loss 1.0\nstep 9 loss 1.0\n"
    log.write_text(body)  # in place: what a new file with the old one's number looks like
    assert log.stat().st_ino == status.st_ino
    assert [step for _, _, step in Recorder(layout, log).poll()] == [7, 8, 9]


def test_positions_of_other_logs_are_nobodys_business(layout: Layout, log: Path) -> None:
    other = log.with_name("other.log")
    say(other, 1)
    Recorder(layout, other).poll()
    say(other, 2)
    say(log, 3)
    assert Recorder(layout, log).poll() == [("train.log", 1, 3)]


def test_what_is_gone_is_forgotten_after_a_while(
    layout: Layout, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_log, "MOVED_FOR_S", -1.0)
    other = log.with_name("other.log")
    say(log, 1)
    say(other, 1)
    recorder = Recorder(layout, log, other)
    recorder.poll()
    log.unlink()
    recorder.poll()
    assert [file.path for file in recorder._log._logs.files.values()] == [str(other)]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("command", ["gzip {}.1", "rm {}.1", "gzip {}.1; rm {}.1.gz"])
def test_what_was_written_last_before_a_log_was_packed_is_read(
    layout: Layout, log: Path, folder: bool, command: str
) -> None:
    """Renamed, packed and deleted between two looks, as rotation does it in less than 0.1 s."""
    recorder = Recorder(layout, log.parent if folder else log)
    say(log, 1)
    assert recorder.poll() == [("train.log", 1, 1)]
    say(log, 2, 3)
    mine = f"mv {log} {log}.1; {command.format(log, log)}; : > {log}"
    subprocess.run(["sh", "-c", mine], check=True)
    say(log, 4)
    assert recorder.poll() == [("train.log", 2, 2), ("train.log", 3, 3), ("train.log", 1, 4)]
    assert recorder.poll() == []


def test_who_writes_on_into_a_deleted_log_is_heard(layout: Layout, log: Path) -> None:
    recorder = Recorder(layout, log)
    with log.open("a") as writer:
        for n in range(4):
            writer.write(f"step {n} loss 1.5\n")
            writer.flush()
            assert [step for _, _, step in recorder.poll()] == [n]
            log.unlink(missing_ok=True)


def open_logs(folder: Path) -> int:
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return sum(link.startswith(str(folder)) for link in links)


def test_a_log_that_is_still_for_long_is_let_go(
    layout: Layout, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept open cannot be unmounted, and has its space on the disk after its deletion."""
    recorder = Recorder(layout, log.parent)
    say(log, 1)
    say(log.with_name("other.log"), 2)
    recorder.poll()
    assert open_logs(log.parent) == 2
    monkeypatch.setattr(followed_log, "HELD_FOR_S", -1.0)
    recorder.poll()
    assert open_logs(log.parent) == 0
    say(log, 3)
    assert [step for _, _, step in recorder.poll()] == [3]
    assert open_logs(log.parent) == 1
    log.unlink()
    monkeypatch.setattr(followed_log, "MOVED_FOR_S", -1.0)
    recorder.poll()
    recorder.poll()
    assert open_logs(log.parent) == 0


def test_of_many_logs_those_written_last_are_kept_open(
    layout: Layout, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_log, "HELD_MAX", 3)
    recorder = Recorder(layout, log.parent)
    for n in range(8):
        say(log.with_name(f"rank{n}.log"), n)
    assert len(recorder.poll()) == 8
    assert open_logs(log.parent) == 3


def test_a_line_without_end_is_left_behind(layout: Layout, log: Path) -> None:
    recorder = Recorder(layout, log)
    with log.open("w") as file:
        for _ in range(40):
            file.write("\r 17%|" + "#" * 100_000)
            file.flush()
            assert recorder.poll() == []
        file.write("\nstep 5 loss 1.0\n")
    assert recorder.poll() == [("train.log", 2, 5)]


def test_random_lives_of_a_log(tmp_path: Path) -> None:
    """Growth, rotation of both kinds, and restarts in any order: every step once, in order."""
    for seed in range(30):
        draw = random.Random(seed)
        layout = Layout(tmp_path / f"data{seed}")
        layout.create()
        log = tmp_path / f"run{seed}" / "train.log"
        log.parent.mkdir()
        where = draw.choice([log, log.parent])
        recorder = Recorder(layout, where)
        seen: list[int] = []
        step = 0
        for _ in range(40):
            for _ in range(2):  # a log that came and went between two looks is nobody's
                seen += [n for _, _, n in recorder.poll()] if step else []
                for _ in range(draw.choice([1, 1, 30])):
                    say(log, step)
                    step += 1
            match draw.randrange(6):
                case 0:
                    log.rename(log.with_name(f"train.log.{step}"))
                    say(log, step)
                    step += 1
                case 1:
                    copytruncate(log).rename(log.with_name(f"train.log-{step}"))
                case 2:
                    recorder = Recorder(layout, where)
                case _:
                    pass
            seen += [n for _, _, n in recorder.poll()]
        seen += [n for _, _, n in recorder.poll()]
        assert sorted(seen) == list(range(step)), f"seed {seed}"


@given(st.binary(max_size=200))
def test_any_line_is_a_position_or_none(line: bytes) -> None:
    log_position.parse(line)
    log_position.parse(b"training_log_position\t0\t" + line + b"\t$\n")


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    st.lists(st.integers(0, 2**63), min_size=5, max_size=5),
)
def test_a_position_comes_back_as_it_was(path: str, numbers: list[int]) -> None:
    position = log_position.Position(path, *numbers)
    assert log_position.parse(encode(position.row(), 0).encode()) == position


@given(
    st.text(st.one_of(st.characters(exclude_categories=["Cc", "Cs"]), st.sampled_from("\\\t\n")))
)
def test_text_comes_back_as_it_was(text: str) -> None:
    assert unescape(escape(text)) == text


def test_as_many_positions_are_kept_as_there_may_be(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_position, "KEPT_MAX", 10)
    rows = [log_position.Position(f"/log/{n % 15}", 1, n % 15, n, n, n).row() for n in range(45)]
    layout.journal_path(1).write_text("".join(encode(row, 0) for row in rows))
    log_position.carry_over(layout, [1])
    layout.journal_path(1).write_text("")
    assert [p.offset for p in log_position.load(layout)] == list(range(35, 45))


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_recorder_that_starts_again_goes_on_in_the_log(
    record: Callable[..., Any], tmp_path: Path, number: int
) -> None:
    log = tmp_path / "train.log"
    say(log, *range(1, 6))
    first = record(None, "--log", str(log))
    first.wait_text("\tstep\t\t5\t")
    first.stop(number)
    say(log, *range(6, 9))
    second = record(None, "--log", str(log))
    second.wait_text("\tstep\t\t8\t")
    second.wait_ticks(3)
    assert second.stop() == 0
    got = second.rows("SELECT line, step FROM training_event WHERE kind = 'step' ORDER BY line")
    assert got == [(n, n) for n in range(1, 9)]


def test_checkpoints_keep_no_log_from_being_found(tmp_path: Path) -> None:
    for number in range(log_file.FILES_MAX + 10):
        (tmp_path / f"a{number:05d}.safetensors").touch()
    deep = tmp_path / "a" / "rank0.log"
    deep.parent.mkdir()
    deep.write_text("step 1\n")
    assert [found.name for found, _ in followed_log.FollowedLogs([str(tmp_path)]).poll()] == [
        str(deep)
    ]


def test_a_folder_that_takes_long_is_looked_through_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.log").write_text("step 1\n")
    spent_s = iter([0.0, 60.0])
    monkeypatch.setattr(log_file.time, "thread_time", lambda: next(spent_s))
    logs = followed_log.FollowedLogs([str(tmp_path)])
    assert [lines for _, lines in logs.poll()] == [[b"step 1\n"]]
    (tmp_path / "train.log").write_text("step 1\nstep 2\n")
    (tmp_path / "new.log").touch()
    assert [lines for _, lines in logs.poll()] == [[b"step 2\n"]]  # what is known is read


def test_many_logs_full_of_errors_push_nothing_out(tmp_path: Path) -> None:
    """Whoever runs a job could rid the disk of what was recorded before."""
    for number in range(20):
        (tmp_path / f"rank{number}.log").write_text("error\n" * 100)
    assert (
        len(list(TrainingLog(Host("/"), [str(tmp_path)]).collect())) == training_log.ALARMS_PER_LOOK
    )
