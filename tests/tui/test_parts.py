"""Charts, numbers, logs and queries of the app."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from story import CRASH_S, START, row
from trainwreck_agent import store
from trainwreck_tui import lanes, queries, timeline, units
from trainwreck_tui.fold import fold, headless, shortened
from trainwreck_tui.logfile import LogFile
from trainwreck_tui.widgets.braille import BLANK, Series, plot


@given(st.text(), st.integers(2, 60))
def test_any_text_is_folded_without_loss(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_long_words_fold_at_their_joints() -> None:
    assert fold("constraint=MEMCG,cpuset=/,task_memcg=/a/job-1,pid=7 was killed", 24) == [
        "constraint=MEMCG,", "cpuset=/,task_memcg=/a/", "job-1,pid=7 was killed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("/kubepods/efcfc79d62f348cdb7fee34302e54784/x", "/kubepods/efcf…4784/x"),
        ("GPU-5d3a6b1c-1111-2222-3333-444455556666", "GPU-5d3a6b1c-1111-2222-3333-444455556666"),
        ("commit deadbeef, pid 123456789012", "commit deadbeef, pid 123456789012"),
    ],
)
def test_names_that_only_machines_read_are_cut_short(text: str, seen: str) -> None:
    assert shortened(text) == seen


def test_the_time_in_front_gives_way_to_what_happened() -> None:
    assert headless("2026-11-24T12:26:29.854Z ERROR failed") == "ERROR failed"
    assert headless("[rank1]: 2026-11-24 12:26:29,854 INFO step 7") == "[rank1]: INFO step 7"
    assert headless("ended 2026-11-24 12:26:29 with 1") == "ended 2026-11-24 12:26:29 with 1"
    assert headless("step 2026-11-24 of many") == "step 2026-11-24 of many"


def series(times: list[float], values: list[float]) -> Series:
    return Series("", np.array(times, float), np.array(values, float))


def test_a_spike_of_one_second_stays_visible_in_a_day() -> None:
    times = np.arange(86_400.0)
    values = np.zeros(86_400)
    values[43_210] = 100.0
    drawn = plot([Series("", times, values)], 60, 4, 0.0, 86_400.0, 0.0, 100.0)
    assert (drawn.cells[0] != BLANK).sum() == 1


def test_where_nothing_was_recorded_is_a_gap() -> None:
    times = [float(t) for t in range(100) if not 40 <= t < 60]
    drawn = plot([series(times, [5.0] * len(times))], 50, 2, 0.0, 100.0, 0.0, 10.0)
    middle = drawn.cells[:, 21:29]
    assert (middle == BLANK).all()
    assert (drawn.cells[:, :19] != BLANK).any(axis=0).all()


@given(
    st.lists(
        st.tuples(st.floats(0, 1000), st.floats(allow_nan=True, allow_infinity=True)), max_size=60
    ),
    st.integers(1, 40),
    st.integers(1, 6),
)
def test_any_values_can_be_drawn(
    points: list[tuple[float, float]], width: int, height: int
) -> None:
    points.sort(key=lambda p: p[0])
    one = series([p[0] for p in points], [p[1] for p in points])
    with np.errstate(all="ignore"):
        drawn = plot([one], width, height, 0.0, 1000.0)
    assert drawn.cells.shape == (height, width)
    assert ((drawn.cells >= BLANK) & (drawn.cells < BLANK + 256)).all()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.2e9, "bytes", "1.1 GiB"), (123, "s", "2 m 03 s"), (None, "%", "–"),
        (float("nan"), "", "NaN"), (71, "°C", "71 °C"), (0.0, "bytes", "0 B"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_read_them(value: float | None, unit: str, text: str) -> None:
    assert units.value(value, unit) == text


@given(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["bytes", "s", "%", "", "W"])
)
def test_any_number_can_be_written(value: float, unit: str) -> None:
    assert units.value(value, unit)


@pytest.mark.parametrize("name", [*[f"lane {x.key}" for x in lanes.LANES], *queries.QUERIES])
def test_every_query_of_the_app_fits_the_views(data: Path, name: str) -> None:
    connection = store.connect([data])
    known = {f"lane {x.key}": x.sql for x in lanes.LANES} | queries.QUERIES
    window = {"host": "node7", "start": START, "end": START}
    query = known[name]
    connection.execute(f"EXPLAIN {query}", {k: v for k, v in window.items() if f"${k}" in query})


def test_lanes_that_matter_for_the_cause_come_first() -> None:
    assert lanes.ordered("nan_divergence", "algorithm")[0].key in ("loss", "grad_norm")
    assert lanes.ordered("host_oom", "memory")[0].key == "rss"


def test_the_timeline_has_only_what_was_measured(data: Path) -> None:
    loaded = timeline.load([data], None)
    assert loaded is not None
    keys = [lane.lane.key for lane in loaded.lanes]
    assert "rss" in keys
    assert "gpu_util" not in keys
    assert any("no NVIDIA driver" in text for text in loaded.absent)
    assert {mark.kind for mark in loaded.marks} == {"kernel", "exit"}


def test_what_was_not_told_makes_no_lane_and_nan_is_a_value(tmp_path: Path) -> None:
    from trainwreck_agent.journal import Journal
    from trainwreck_agent.layout import Layout

    layout = Layout(tmp_path / "data")
    layout.create()
    store.prepare(layout)
    journal = Journal(layout)
    for second in range(20):
        loss = float("nan") if second > 10 else 1.0
        journal.append([
            row("memory", second, available_bytes=None),
            row("gpu", second, uuid="GPU-1", gpu_index=0, power_w=300.0, sm_clock_mhz=None),
            row("training_event", second, path="x", line=second, kind="step", step=second, loss=loss),
        ])  # fmt: skip
    journal.close()
    loaded = timeline.load([layout.root], None)
    assert loaded is not None
    lane = {one.lane.key: one for one in loaded.lanes}
    assert "available" not in lane
    assert "gpu_clock" not in lane
    assert "gpu_power" in lane
    assert np.isnan(lane["loss"].series[0].values[-1])


def test_a_compressed_log_is_read_by_line(tmp_path: Path) -> None:
    path = tmp_path / "train.log.gz"
    path.write_bytes(gzip.compress(b"2026-01-02 03:00:00 one\n2026-01-02 03:00:10 two\nthree"))
    file = LogFile(path)
    assert len(file) == 3
    assert [file.line(n) for n in (1, 2, 3, 4)] == [
        "2026-01-02 03:00:00 one", "2026-01-02 03:00:10 two", "three", "",
    ]  # fmt: skip
    assert file.at(datetime(2026, 1, 2, 3, 0, 5, tzinfo=UTC)) == 2


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_log(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".log") as made:
        made.write(data)
        made.flush()
        file = LogFile(Path(made.name))
        for number in range(len(file) + 2):
            file.line(number)
        file.at(START)


def test_the_log_of_the_story_is_found_by_time(log: Path) -> None:
    assert LogFile(log).at(START) == 1
    assert len(LogFile(log)) == CRASH_S + 1


@pytest.mark.parametrize(
    ("amount", "unit", "told"),
    [
        (42_976_152.0, "", "4.3e+07"),
        (107 * 2**20, "bytes/s", "107MiB/s"),
        (8.2 * 2**20, "bytes/s", "8.2MiB/s"),
        (1000 * 2**10, "bytes/s", "1000K/s"),
        (2.5, "", "2.5"),
        (None, "bytes", "–"),
    ],
)
def test_a_number_on_an_axis_is_shortened_and_never_cut(
    amount: float | None, unit: str, told: str
) -> None:
    assert units.fitted(amount, unit, 8) == told


@given(
    st.none() | st.floats(), st.sampled_from(["", "bytes", "bytes/s", "s", "%", "°C", "W", "MHz"])
)
def test_any_number_fits_on_an_axis(amount: float | None, unit: str) -> None:
    assert 0 < len(units.fitted(amount, unit, 8)) <= 8
