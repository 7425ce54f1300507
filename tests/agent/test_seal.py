"""Every row is seen once and only once, before, while and after it is sealed, merged and cleaned."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest
from trainwreck_agent import cleaning, retention, seal, store, views
from trainwreck_agent.collector import Row
from trainwreck_agent.journal import encode
from trainwreck_agent.layout import Layout, Span
from trainwreck_agent.schema import tables
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, INCIDENT, KERNEL_EVENT

HOUR_US = 3_600_000_000
PER_JOURNAL = 20


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory, to be copied: making every view takes seconds."""
    layout = Layout(tmp_path_factory.mktemp("template") / "data")
    layout.create()
    store.prepare(layout)
    return layout.root


@pytest.fixture
def prepared(template: Path, tmp_path: Path) -> Layout:
    return Layout(shutil.copytree(template, tmp_path / "prepared"))


def with_rows(layout: Layout) -> list[int]:
    """Journals that still hold something; emptied ones are deleted hours later."""
    return [n for n in layout.journals() if layout.journal_path(n).stat().st_size]


def empty_segment(path: Path) -> Path:
    """The file without rows that stands in the place of one that was given up."""
    return next(path.parent.glob("0000000000-*.parquet"))


def fill(layout: Layout, number: int, ts_us: int | None = None) -> None:
    """A journal with rows of two tables; ``seq`` tells every row of a directory apart."""
    ts_us = time.time_ns() // 1000 if ts_us is None else ts_us
    lines = []
    for n in range(PER_JOURNAL):
        values = ("boot", number * PER_JOURNAL + n, 3, 0, 5, f"line\t{n}" + "x" * 200)
        lines.append(encode(Row(KERNEL_EVENT, values), ts_us + n))
    health = ("recorder", "ok", None, number, None, None, None, None)
    lines.append(encode(Row(COLLECTOR_HEALTH, health), ts_us))
    layout.journal_path(number).write_text("".join(lines))


def view(layout: Layout) -> str:
    """The view of kernel events, with the whole machinery of segments and journals."""
    return views.select(KERNEL_EVENT, layout.root, "host")


def seqs(connection: duckdb.DuckDBPyConnection, layout: Layout) -> list[int]:
    found = connection.execute(f"SELECT seq FROM ({view(layout)}) ORDER BY seq").fetchall()
    return [seq for (seq,) in found]


def expected(first: int, last: int) -> list[int]:
    return list(range(first * PER_JOURNAL, (last + 1) * PER_JOURNAL))


def settle(layout: Layout, monkeypatch: pytest.MonkeyPatch, hours: float = 1.0) -> None:
    """Clean as it will be done some hours from now."""
    cleaning.clean(layout, time.time_ns() // 1000 + int(hours * HOUR_US))


def test_sealed_rows_are_the_journals_rows(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = duckdb.connect()
    fill(prepared, 1)
    before = connection.execute(f"SELECT * FROM ({view(prepared)}) ORDER BY seq").fetchall()
    seal.seal(prepared, 1)
    assert seqs(connection, prepared) == expected(1, 1)
    settle(prepared, monkeypatch)
    assert with_rows(prepared) == []
    after = connection.execute(f"SELECT * FROM ({view(prepared)}) ORDER BY seq").fetchall()
    assert after == before


def test_rows_are_seen_once_while_they_are_sealed_merged_and_cleaned(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that asks all the time, in another thread, never sees a row twice or misses one."""
    monkeypatch.setattr(seal, "ACTIVE_AFTER_S", 6)
    monkeypatch.setattr(cleaning, "GRACE_S", 2)
    done = threading.Event()
    wrong: list[object] = []
    looks = [0]
    through = 9
    for number in range(1, through + 1):
        fill(prepared, number)
    want = expected(1, through)

    def ask() -> None:
        connection = duckdb.connect(config={"threads": 1})
        while not done.is_set():
            try:
                got = seqs(connection, prepared)
            except duckdb.Error as error:
                wrong.append(error)
                continue
            looks[0] += 1
            if got != want:
                wrong.append((len(got), len(set(got)), prepared.spans()))

    reader = threading.Thread(target=ask)
    reader.start()
    try:
        for number in range(1, through):
            assert seal.seal(prepared, number) is not None
            cleaning.clean(prepared, time.time_ns() // 1000)
        assert seal.merge(prepared) is not None
        give_up_s = time.monotonic() + 60
        while len(prepared.spans()) > 1 or len(with_rows(prepared)) > 1:
            cleaning.clean(prepared, time.time_ns() // 1000)
            assert time.monotonic() < give_up_s, prepared.spans()
            done.wait(0.1)
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert looks[0] > 5
    assert [(s.first, s.last) for s in prepared.spans()] == [(1, through - 1)]


def test_a_reader_in_the_middle_of_a_replaced_file_reads_on(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "GRACE_S", 0)
    monkeypatch.setattr(seal, "ACTIVE_AFTER_S", 3)
    fill(prepared, 1)
    body = prepared.journal_path(1).read_bytes()
    seal.seal(prepared, 1)
    with prepared.journal_path(1).open("rb") as opened:
        after_us = time.time_ns() // 1000 + 60_000_000
        cleaning.clean(prepared, after_us)
        assert prepared.journal_path(1).stat().st_size == 0
        assert opened.read() == body


def test_a_half_written_segment_is_no_readers_business(prepared: Layout) -> None:
    fill(prepared, 1)
    seen: list[list[int]] = []
    connection = duckdb.connect()
    real = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(seqs(connection, prepared))  # written, not yet in place
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", look)
        seal.seal(prepared, 1)
    assert seen == [expected(1, 1)] * 2
    assert [p.name for p in prepared.segments.rglob("*") if p.name.startswith((".", "tmp"))] == []


@pytest.mark.fault
def test_a_killed_sealer_leaves_every_row_once(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at a random moment, many times; the last one may finish."""
    random.seed(20)
    connection = duckdb.connect()
    code = (
        "import sys; from trainwreck_agent import cleaning, seal;"
        "seal.ACTIVE_AFTER_S = cleaning.GRACE_S = 3; print(flush=True);"
        "sys.exit(seal.main([sys.argv[1], '--through', sys.argv[2]]))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(seal.__file__).parents[1])}
    rounds = 10
    for number in range(1, rounds + 1):
        fill(prepared, number)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(prepared.root), str(number)],
            env=env, stdout=subprocess.PIPE,
        ) as sealer:  # fmt: skip
            assert sealer.stdout is not None
            sealer.stdout.readline()
            if number < rounds:
                try:
                    sealer.wait(random.uniform(0.0, 0.4))
                except subprocess.TimeoutExpired:
                    sealer.send_signal(signal.SIGKILL)
        assert seqs(connection, prepared) == expected(1, number)
    settle(prepared, monkeypatch)
    assert seqs(connection, prepared) == expected(1, rounds)
    assert with_rows(prepared) == []


def test_two_sealers_are_one_too_many(prepared: Layout) -> None:
    fill(prepared, 1)
    assert cleaning.alone(prepared, wait=False)
    assert seal.main([str(prepared.root), "--through", "1"]) == 0
    assert prepared.spans() == []


def test_where_memory_ends_the_sealer_goes_and_not_the_recorder_nor_a_rank() -> None:
    code = (
        "from trainwreck_agent import seal; seal.be_killed_first();"
        "print(open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == seal.OOM_SCORE_ADJUSTMENT > 0


def test_a_clock_set_back_after_a_seal_hides_nothing(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed a day in the future; the clock is put right before the seal could be seen."""
    connection = duckdb.connect()
    fill(prepared, 1)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 24 * HOUR_US * 1000)
    seal.seal(prepared, 1)
    monkeypatch.setattr(time, "time_ns", real)
    assert seqs(connection, prepared) == expected(1, 1)
    fill(prepared, 2)
    assert [span.first for span in seal.drop_future(prepared)] == [1]
    seal.seal(prepared, 2)
    assert seqs(connection, prepared) == expected(1, 2)
    settle(prepared, monkeypatch)
    assert seqs(connection, prepared) == expected(1, 2)
    assert with_rows(prepared) == []


def test_a_clock_set_back_after_it_was_seen_hides_nothing(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = duckdb.connect()
    fill(prepared, 1)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 24 * HOUR_US * 1000)
    seal.seal(prepared, 1)
    cleaning.clean(prepared, time.time_ns() // 1000 + HOUR_US)
    monkeypatch.setattr(time, "time_ns", real)
    fill(prepared, 2)
    assert seal.drop_future(prepared) == []
    seal.seal(prepared, 2)
    settle(prepared, monkeypatch, 48)
    assert seqs(connection, prepared) == expected(1, 2)


def test_what_follows_a_clock_that_was_a_day_ahead_is_sealed_in_time(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock went forward a day, was seen so, and came back: nobody waits for that day."""
    connection = duckdb.connect()
    real = time.time_ns
    for number in (1, 2):
        fill(prepared, number, real() // 1000 + 24 * HOUR_US)
        monkeypatch.setattr(time, "time_ns", lambda: real() + 24 * HOUR_US * 1000)
        seal.seal(prepared, number)
        cleaning.clean(prepared, time.time_ns() // 1000 + HOUR_US)
    monkeypatch.setattr(time, "time_ns", real)
    monkeypatch.setattr(seal, "MERGE_COUNT", 2)
    fill(prepared, 3)
    span = seal.seal(prepared, 3)
    assert span is not None
    assert span.active_us <= real() // 1000 + seal.ACTIVE_AFTER_S * 1_000_000
    assert seal.drop_future(prepared) == []
    assert seal.merge(prepared) is None  # what would replace them could not be seen before
    assert seqs(connection, prepared) == expected(1, 3)
    cleaning.clean(prepared, span.active_us + HOUR_US)
    assert seqs(connection, prepared) == expected(1, 3)
    assert with_rows(prepared) == []


def test_a_seal_that_takes_too_long_is_taken_back(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "ACTIVE_AFTER_S", 1)
    monkeypatch.setattr(seal, "LONGER", (1,))
    fill(prepared, 1)
    with pytest.raises(TimeoutError):
        seal.seal(prepared, 1)
    assert prepared.spans() == []
    assert list(prepared.segments.glob("*/*-0000000001.*")) == []


def test_a_machine_too_busy_to_seal_in_time_is_given_more(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "ACTIVE_AFTER_S", 1)  # never enough
    monkeypatch.setattr(seal, "LONGER", (1, 3600))
    fill(prepared, 1)
    span = seal.seal(prepared, 1)
    assert span is not None
    assert span.active_us > time.time_ns() // 1000 + HOUR_US // 2
    assert prepared.spans() == [span]
    assert seal.drop_future(prepared) == []
    assert seqs(duckdb.connect(), prepared) == expected(1, 1)
    settle(prepared, monkeypatch, 2)
    assert seqs(duckdb.connect(), prepared) == expected(1, 1)
    assert with_rows(prepared) == []


def test_leavings_without_a_marker_go_after_a_grace(prepared: Layout) -> None:
    left = prepared.segments / "kernel_event" / "0000000001-0000000001.0000000000000001.parquet"
    left.write_bytes(b"")
    cleaning.clean(prepared, time.time_ns() // 1000)
    assert left.stat().st_ino == empty_segment(left).stat().st_ino  # it has no rows any more


def test_a_settled_span_keeps_its_first_marker_for_a_grace(
    prepared: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename could hide both names from who lists the folder at that moment."""
    fill(prepared, 1)
    span = seal.seal(prepared, 1)
    assert span is not None
    cleaning.settle(prepared, span.active_us + 1)
    assert {p.name for p in prepared.sealed.iterdir()} == set(span.markers)
    assert prepared.spans() == [span]
    cleaning.settle(prepared, time.time_ns() // 1000 + HOUR_US)
    assert [p.name for p in prepared.sealed.iterdir()] == [span.markers[1]]


@pytest.fixture(scope="session")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    prepared = Layout(shutil.copytree(template, tmp_path_factory.mktemp("filled") / "data"))
    start_us = 1_700_000_000_000_000
    with pytest.MonkeyPatch.context() as patch:
        for day in range(1, 6):
            end_us = start_us + day * retention.DAY_US
            patch.setattr(time, "time_ns", lambda end_us=end_us: end_us * 1000)
            fill(prepared, day, end_us - 12 * HOUR_US)
            seal.seal(prepared, day)
            cleaning.clean(prepared, end_us + HOUR_US)
    return prepared.root, start_us + 5 * retention.DAY_US


@pytest.fixture
def five_days(filled: tuple[Path, int], tmp_path: Path) -> tuple[Layout, int]:
    """Five settled spans, one a day; now is at the end of the fifth day."""
    root, now_us = filled
    return Layout(shutil.copytree(root, tmp_path / "five_days")), now_us


def days(layout: Layout) -> list[int]:
    return [span.first for span in seal.in_force(layout.spans())]


@pytest.mark.parametrize(
    ("retain_days", "kept"),
    [(0, [1, 2, 3, 4, 5]), (10, [1, 2, 3, 4, 5]), (3, [3, 4, 5]), (2.4, [4, 5]), (2.6, [3, 4, 5]),
     (0.1, [])],
)  # fmt: skip
def test_age_is_that_of_the_newest_row(
    five_days: tuple[Layout, int], retain_days: float, kept: list[int]
) -> None:
    layout, now_us = five_days
    retention.retain(layout, retain_days, 0, now_us)
    assert days(layout) == kept
    assert seqs(duckdb.connect(), layout) == [n for day in kept for n in expected(day, day)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_bytes_cost_the_oldest_and_only_them(five_days: tuple[Layout, int], count: int) -> None:
    layout, now_us = five_days
    sizes = [cleaning.size_bytes(layout, span) for span in layout.spans()]
    limit = sum(sizes[5 - count :]) or 1
    retention.retain(layout, 0, limit, now_us)
    assert days(layout) == [1, 2, 3, 4, 5][5 - count :]
    layout.journal_path(6).write_text("x" * sizes[-1])
    retention.retain(layout, 0, limit, now_us)
    assert days(layout) == [1, 2, 3, 4, 5][6 - count :][: max(count, 0)]


def test_what_retention_gave_up_is_deleted_by_the_next_cleaning(
    five_days: tuple[Layout, int],
) -> None:
    layout, now_us = five_days
    gone = retention.retain(layout, 3, 0, now_us)
    assert all(cleaning.segments(layout, span) for span in gone)  # a query may still read them
    cleaning.clean(layout, now_us + HOUR_US)
    for path in (path for span in gone for path in cleaning.segments(layout, span)):
        assert path.stat().st_ino == empty_segment(path).stat().st_ino
    stamp = layout.state / "swept"  # emptied first, deleted at the next sweep
    os.utime(stamp, (0, 0))
    cleaning.clean(layout, now_us + HOUR_US)
    assert not any(cleaning.segments(layout, span) for span in gone)
    assert seqs(duckdb.connect(), layout) == expected(3, 5)
    assert layout.next_number() == 6


def test_nothing_is_deleted_while_a_reader_of_ours_may_open_it(
    five_days: tuple[Layout, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_held", {})
    layout, now_us = five_days
    gone = retention.retain(layout, 3, 0, now_us)
    now_us = time.time_ns() // 1000 + HOUR_US
    cleaning.clean(layout, now_us)  # emptied now
    stamp = layout.state / "swept"
    os.utime(stamp, (now_us / 1e6 - cleaning.SWEEP_EVERY_S - 1,) * 2)
    store.connect([layout.root])
    cleaning.clean(layout, now_us)
    assert all(cleaning.segments(layout, span) for span in gone)
    os.utime(stamp, (now_us / 1e6 - cleaning.SWEEP_AT_LAST_S - 1,) * 2)  # it is there for hours
    cleaning.clean(layout, now_us)
    assert not any(cleaning.segments(layout, span) for span in gone)
    for fd in store._held.values():
        os.close(fd)


def incident(layout: Layout, name: str, start_us: int, ended_us: int | None) -> None:
    values = (name, ended_us, "host_oom", "memory", 0.9, "s", None, None, None)
    (layout.incidents / f"{name}.tsv").write_text(encode(Row(INCIDENT, values), start_us))


def test_a_pinned_incident_keeps_what_was_recorded_around_it(
    five_days: tuple[Layout, int],
) -> None:
    layout, now_us = five_days
    noon_us = now_us - 3 * retention.DAY_US - 12 * HOUR_US  # the second day
    incident(layout, "pinned", noon_us, None)
    incident(layout, "not-pinned", noon_us - retention.DAY_US, None)
    (layout.incidents / "pinned.pin").touch()
    retention.retain(layout, 1, 1, now_us)
    assert days(layout) == [2]
    (layout.incidents / "pinned.pin").unlink()
    retention.retain(layout, 1, 1, now_us)
    assert days(layout) == []


@pytest.mark.parametrize(
    ("before_s", "after_s", "kept"),
    [(3599, 0, True), (3700, 0, False), (0, 599, True), (0, 700, False)],
)
def test_the_pinned_window(
    five_days: tuple[Layout, int], before_s: int, after_s: int, kept: bool
) -> None:
    """An hour before the start, ten minutes after the end."""
    layout, now_us = five_days
    rows_us = now_us - 3 * retention.DAY_US - 12 * HOUR_US
    if before_s:
        start_us = end_us = rows_us + before_s * 1_000_000
    else:
        start_us, end_us = rows_us - 30 * HOUR_US // 24, rows_us - after_s * 1_000_000
        start_us = min(start_us, end_us)
    incident(layout, "one", start_us, end_us)
    (layout.incidents / "one.pin").touch()
    retention.retain(layout, 1, 0, now_us)
    assert (2 in days(layout)) is kept


def test_a_pin_whose_incident_cannot_be_read_keeps_everything(
    five_days: tuple[Layout, int],
) -> None:
    layout, now_us = five_days
    (layout.incidents / "gone.pin").touch()
    assert retention.retain(layout, 1, 1, now_us) == []


def test_a_month_of_quarter_hours_is_few_segments() -> None:
    """Each file is opened by each query; each row is written again at most three times."""
    spans: list[Span] = []
    written = 0
    for number in range(1, 30 * 96 + 1):
        spans.append(Span(number, number, 2 * number))
        if run := seal._run_to_merge(spans):
            merged = Span(run[0].first, run[-1].last, 2 * number + 1)
            written += merged.last - merged.first + 1
            spans = seal.in_force([*spans, merged])
        assert len(spans) <= 40
    assert [span.first for span in spans] == [1, *(span.last + 1 for span in spans[:-1])]
    assert max(span.last - span.first + 1 for span in spans) <= seal.MERGE_JOURNALS_MAX
    assert written <= 3 * 30 * 96


def test_a_span_that_is_not_seen_yet_is_not_skipped_by_a_merge() -> None:
    spans = [Span(n, n, n) for n in range(1, seal.MERGE_COUNT + 2)]
    assert len(seal._run_to_merge(spans)) == seal.MERGE_COUNT
    far_us = time.time_ns() // 1000 + HOUR_US
    spans[3] = Span(4, 4, far_us)
    assert seal._run_to_merge(spans) == []


def test_row_groups_are_large_where_rows_are_narrow() -> None:
    """A wide table's are bounded by the memory to write them, a narrow one's are few."""
    rows = {name: seal.row_group_rows(table) for name, table in tables().items()}
    assert rows["gpu"] == min(rows.values())
    assert rows["memory"] >= 86_400  # a day at a row a second
    assert all(count % 2048 == 0 for count in rows.values())


def test_segments_do_not_grow_beyond_what_retention_can_delete(
    five_days: tuple[Layout, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MERGE_COUNT", 3)
    layout, _ = five_days
    assert seal.merge(layout, max_bytes=1000) is None
    assert seal.merge(layout, max_bytes=1 << 30) is not None


def test_a_span_covers_older_ones_inside_it_only() -> None:
    old, new, beside = Span(1, 2, 10), Span(1, 4, 20), Span(4, 6, 5)
    assert new.covers(old)
    assert not old.covers(new)
    assert not new.covers(beside)
    assert not new.covers(Span(1, 4, 20, settled=True))
    assert seal.in_force([beside, new, old]) == [new, beside]
