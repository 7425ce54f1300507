"""Retention to the row: by age, by bytes, and around what is pinned."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import duckdb
import pytest
from trainwreck_agent import cleaning, pins, retention, seal, store, views
from trainwreck_agent.collector import Row
from trainwreck_agent.journal import encode
from trainwreck_agent.layout import Layout
from trainwreck_agent.sealer import PINNED_CODE
from trainwreck_agent.tables.events import INCIDENT, KERNEL_EVENT

HOUR_US = 3_600_000_000
START_US = 1_700_000_000_000_000
HOURS = 48
PER_HOUR = 20


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settled spans of a day, a row every three minutes; ``seq`` counts them."""
    layout = Layout(tmp_path_factory.mktemp("two_days") / "data")
    layout.create()
    store.prepare(layout)
    draw = random.Random(7)
    with pytest.MonkeyPatch.context() as patch:
        for day in (1, 2):
            lines = []
            for n in range(24 * PER_HOUR):
                seq = (day - 1) * 24 * PER_HOUR + n
                values = ("boot", seq, 3, 0, 5, draw.randbytes(40).hex())
                lines.append(encode(Row(KERNEL_EVENT, values), ts_of(seq)))
            layout.journal_path(day).write_text("".join(lines))
            now_us = START_US + day * 24 * HOUR_US
            patch.setattr(time, "time_ns", lambda now_us=now_us: now_us * 1000)
            seal.seal(layout, day)
            cleaning.clean(layout, now_us + HOUR_US)
    return layout.root


@pytest.fixture
def layout(two_days: Path, tmp_path: Path) -> Layout:
    return Layout(shutil.copytree(two_days, tmp_path / "data"))


def ts_of(seq: int) -> int:
    return START_US + seq * HOUR_US // PER_HOUR


def hours(layout: Layout) -> list[float]:
    """Ages of the oldest and newest row as the view shows them, hours since the start."""
    view = views.select(KERNEL_EVENT, layout.root, "host")
    found = duckdb.connect().execute(f"SELECT seq FROM ({view}) ORDER BY seq").fetchall()
    return [seq / PER_HOUR for (seq,) in found]


def later(layout: Layout) -> None:
    """What was written again is settled, and what it replaced is gone."""
    cleaning.clean(layout, time.time_ns() // 1000 + HOUR_US)


def shown(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is shown once all that was decided is in force."""
    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "GRACE_S", -3600)
        later(layout)
    return hours(layout)


@pytest.mark.parametrize("limit_h", [0.01, 2.91, 3.01, 9.01, 20.91, 21.01, 24.01, 30.01, 47.91, 60])
def test_age_is_exact_to_an_eighth_of_a_span(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, limit_h: float
) -> None:
    """Nothing goes before its time; nothing stays three hours beyond it."""
    now_us = START_US + 72 * HOUR_US
    retention.retain(layout, (72 - limit_h) / 24, 0, now_us)
    left = shown(layout, monkeypatch)
    must = [seq / PER_HOUR for seq in range(HOURS * PER_HOUR) if seq / PER_HOUR >= limit_h]
    assert left[len(left) - len(must) :] == must
    assert all(limit_h - 3 <= hour for hour in left)


def test_a_clock_that_leaps_years_ahead_costs_a_day_each_time(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_us = START_US + 48 * HOUR_US
    retention.retain(layout, 2, 0, now_us)
    assert shown(layout, monkeypatch)[0] == 0.0
    retention.retain(layout, 2, 0, now_us + 10 * 365 * 24 * HOUR_US)
    assert shown(layout, monkeypatch)[0] == 24.0
    retention.retain(layout, 2, 0, now_us)  # set right again
    assert shown(layout, monkeypatch)[0] == 24.0


def test_rows_are_seen_once_while_a_span_is_written_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its time comes the whole span is shown, and then what was kept of it."""
    monkeypatch.setattr(seal, "ACTIVE_AFTER_S", 6)
    retention.retain(layout, 2, 0, START_US + (48 + 12) * HOUR_US)
    assert len(layout.spans()) == 3
    assert hours(layout)[0] == 0.0
    deadline_s = time.monotonic() + 60
    while (seen := hours(layout))[0] == 0.0:
        assert len(seen) == HOURS * PER_HOUR
        assert time.monotonic() < deadline_s
    assert seen == [seq / PER_HOUR for seq in range(12 * PER_HOUR, HOURS * PER_HOUR)]


def test_what_was_cut_is_not_cut_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    now_us = START_US + (48 + 12) * HOUR_US
    retention.retain(layout, 2, 0, now_us)
    for pause_h in (0, 1, 2):
        shown(layout, monkeypatch)
        before = layout.spans()
        retention.retain(layout, 2, 0, now_us + pause_h * HOUR_US // 2)
        assert layout.spans() == before


def test_rows_of_a_clock_that_was_wrong_go_with_their_neighbours(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dated ten years ahead, sealed under that date even: they are as old as what came after."""
    ahead_us = START_US + 10 * 365 * 24 * HOUR_US
    lines = [
        encode(Row(KERNEL_EVENT, ("boot", HOURS * PER_HOUR + n, 3, 0, 5, "x")), ahead_us + n)
        for n in range(20)
    ]
    layout.journal_path(3).write_text("".join(lines))
    layout.journal_path(4).write_text(lines[0])
    for number, now_us in ((3, ahead_us), (4, START_US + 73 * HOUR_US)):
        monkeypatch.setattr(time, "time_ns", lambda now_us=now_us: now_us * 1000)
        seal.seal(layout, number)
        cleaning.clean(layout, now_us + HOUR_US)
    assert len(layout.spans()) == 4
    retention.retain(layout, 1, 0, START_US + 74 * HOUR_US)
    assert [span.first for span in layout.spans()] == [3, 4]
    retention.retain(layout, 1, 0, START_US + 100 * HOUR_US)
    assert layout.spans() == []


def kept_bytes(layout: Layout) -> int:
    return sum(cleaning.size_bytes(layout, span) for span in seal.in_force(layout.spans()))


@pytest.mark.parametrize("share", [0.99, 0.9, 0.55, 0.5, 0.3, 0.01])
def test_bytes_are_never_more_than_allowed_and_a_quarter_of_a_span_less(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    allowed = int(kept_bytes(layout) * share)
    span_bytes = kept_bytes(layout) / 2
    for _ in range(3):  # what compresses worse than the rest takes another turn
        retention.retain(layout, 0, allowed, START_US)
        left = shown(layout, monkeypatch)
    assert kept_bytes(layout) <= allowed
    assert kept_bytes(layout) >= allowed - 0.35 * span_bytes
    assert left == [n / PER_HOUR for n in range(HOURS * PER_HOUR - len(left), HOURS * PER_HOUR)]


def pinned(layout: Layout, name: str, start_h: float, end_h: float | None = None) -> None:
    end_us = None if end_h is None else START_US + int(end_h * HOUR_US)
    values = (name, end_us, "host_oom", "memory", 0.9, "s", None, None, None)
    line = encode(Row(INCIDENT, values), START_US + int(start_h * HOUR_US))
    (layout.incidents / f"{name}.tsv").write_text(line)
    pins.pin(layout, name)


@pytest.mark.parametrize("max_bytes", [0, 1])
def test_around_a_pinned_incident_just_that_is_kept(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    """An hour before it to ten minutes after it; the rest of the day goes."""
    pinned(layout, "one", 10)
    pinned(layout, "two", 20, 21)
    for _ in range(3):
        retention.retain(layout, 0 if max_bytes else 1, max_bytes, START_US + 100 * HOUR_US)
        left = shown(layout, monkeypatch)
    every = [seq / PER_HOUR for seq in range(HOURS * PER_HOUR)]
    assert left == [h for h in every if 9 <= h <= 10 + 1 / 6 or 19 <= h <= 21 + 1 / 6]
    assert pins.unpin(layout, "one")
    assert not pins.unpin(layout, "one")
    retention.retain(layout, 1, 0, START_US + 100 * HOUR_US)
    assert shown(layout, monkeypatch) == [h for h in every if 19 <= h <= 21 + 1 / 6]
    pins.unpin(layout, "two")
    retention.retain(layout, 1, 0, START_US + 100 * HOUR_US)
    assert shown(layout, monkeypatch) == []


def test_more_pinned_than_allowed_is_said(layout: Layout) -> None:
    pinned(layout, "one", 10, 40)
    assert seal.main([str(layout.root), "--max-bytes", "10"]) == PINNED_CODE


def test_spans_do_not_grow_beyond_what_age_can_cut(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MERGE_COUNT", 2)
    assert seal.merge(layout, retain_days=1) is None
    assert seal.merge(layout, retain_days=30) is not None
