"""What an engineer sees and can do in the app."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from story import CRASH_S, START, lines_of
from textual.pilot import Pilot
from textual.widgets import DataTable, OptionList, Static
from trainwreck_analyzer.verdict import Component, Diagnosis, Evidence, Incident, Input, Run, Victim
from trainwreck_tui.app import TrainwreckApp
from trainwreck_tui.screens.incident import IncidentScreen
from trainwreck_tui.screens.incidents import IncidentsScreen
from trainwreck_tui.screens.log import LogScreen
from trainwreck_tui.screens.reading import ReadingScreen
from trainwreck_tui.screens.sql import SqlScreen
from trainwreck_tui.screens.timeline import TimelineScreen
from trainwreck_tui.widgets.lanes import Lanes
from trainwreck_tui.widgets.logview import LogView

SIZES = [(80, 24), (120, 40)]
Snapshot = Callable[[TrainwreckApp, str], None]


async def settled(app: TrainwreckApp, pilot: Pilot[None], *keys: str) -> None:
    """Press keys, each after everything before it has been drawn."""
    await app.workers.wait_for_complete()
    await pilot.pause()
    for key in keys:
        await pilot.press(key)
        await app.workers.wait_for_complete()
        await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("incident", ""),
        ("timeline", "t"),
        ("log", "l"),
        ("help", "?"),
        ("incidents", "escape"),
        ("sql", "s"),
        ("export", "e"),
        ("unfolded", "v"),
        ("absent", "t a"),
    ],
)
async def test_screens_look_as_they_did(
    app: TrainwreckApp, snapshot: Snapshot, size: tuple[int, int], name: str, keys: str,
    story_folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(story_folder)  # where an export would go is on the screen
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot, *keys.split())
        snapshot(app, f"{name}-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_calm_screen_looks_as_it_did(
    app: TrainwreckApp, snapshot: Snapshot, size: tuple[int, int]
) -> None:
    assert app.session.diagnosis is not None
    app.session.diagnosis = Diagnosis(app.session.diagnosis.inputs, ())
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        snapshot(app, f"calm-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_reading_screen_looks_as_it_did(
    app: TrainwreckApp, snapshot: Snapshot, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        reading = ReadingScreen()
        await app.push_screen(reading)
        await settled(app, pilot)  # the footer comes after the first drawing
        reading.progress(30, 100)
        await settled(app, pilot)
        snapshot(app, f"reading-{size[0]}x{size[1]}")
        reading.progress(100, 100)
        await pilot.pause()
        assert "the telemetry is asked" in lines_of(app)


@pytest.mark.parametrize("keys", ["", "t", "l", "s", "e", "v", "?", "t a", "escape"])
async def test_nothing_breaks_on_a_tiny_screen(app: TrainwreckApp, keys: str) -> None:
    async with app.run_test(size=(40, 10)) as pilot:
        await settled(app, pilot, *keys.split())
        assert lines_of(app).strip()


async def test_the_verdict_is_on_the_first_screen(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        seen = lines_of(app)
        for words in ("HOST OUT OF MEMORY", "93 %", "rank 2", "node7", "Find what grows",
                      "Killed process 4713", "resident memory rose"):  # fmt: skip
            assert words in seen, words


async def test_one_incident_is_opened_at_once_and_escape_leads_to_the_list(
    app: TrainwreckApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        assert isinstance(app.screen, IncidentScreen)
        await settled(app, pilot, "escape")
        assert isinstance(app.screen, IncidentsScreen)
        await settled(app, pilot, "enter")
        assert isinstance(app.screen, IncidentScreen)


async def test_no_incident_is_said_calmly_with_what_was_read(
    data: Path, log: Path, app: TrainwreckApp
) -> None:
    assert app.session.diagnosis is not None
    app.session.diagnosis = Diagnosis(app.session.diagnosis.inputs, ())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        seen = lines_of(app)
        assert "No incident found." in seen
        assert "241 lines" in seen


async def test_enter_on_evidence_leads_to_what_it_claims(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        options = app.screen.query_one(OptionList)
        options.highlighted = next(
            n for n in range(options.option_count) if options.get_option_at_index(n).id == "e1"
        )
        await settled(app, pilot, "enter")
        assert isinstance(app.screen, SqlScreen)
        assert app.screen.query_one(DataTable).row_count == CRASH_S + 1
        await settled(app, pilot, "escape")
        options.highlighted = next(
            n for n in range(options.option_count) if options.get_option_at_index(n).id == "o0"
        )
        await settled(app, pilot, "enter")
        assert isinstance(app.screen, LogScreen)
        view = app.screen.query_one(LogView)
        assert view.marked == CRASH_S + 1
        assert "ConnectionResetError" in lines_of(app)


async def test_cursor_and_log_move_together_in_the_timeline(app: TrainwreckApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot, "t")
        assert isinstance(app.screen, TimelineScreen)
        lanes, log = app.screen.query_one(Lanes), app.screen.query_one(LogView)
        crash = (START + timedelta(seconds=CRASH_S)).timestamp()
        assert lanes.cursor == crash
        await settled(app, pilot, "shift+left", "shift+left")
        assert lanes.cursor is not None
        assert lanes.cursor < crash - 30
        assert log.pointer is not None
        assert abs(log.pointer - 1 - (lanes.cursor - START.timestamp())) <= 1
        await settled(app, pilot, "c")
        assert lanes.cursor == crash


async def test_zoom_and_pan_stay_in_the_window(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "t")
        lanes = app.screen.query_one(Lanes)
        assert lanes.timeline is not None
        for _ in range(12):
            await settled(app, pilot, "plus")
        assert lanes.end - lanes.start == pytest.approx(5.0)
        for _ in range(20):
            await settled(app, pilot, "right_square_bracket")
        assert lanes.end <= lanes.timeline.end + 1e-6
        await settled(app, pilot, "0")
        assert (lanes.start, lanes.end) == (lanes.timeline.start, lanes.timeline.end)
        await settled(app, pilot, "n", "n", "p", "down", "up", "u")


async def test_events_can_be_walked(app: TrainwreckApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot, "t", "n")
        told = str(app.screen.query_one("#moment", Static).render())
        assert "rank 0" in told
        assert "+2 s" in told


async def test_a_log_can_be_searched(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "l", "slash")
        await pilot.press(*"step 117", "enter")
        await settled(app, pilot)
        assert app.screen.query_one(LogView).pointer == 118
        assert "step 117" in lines_of(app)


async def test_a_wrong_query_is_explained(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        app.open_sql("SELECT nothing FROM nowhere")
        await settled(app, pilot)
        assert "nowhere" in lines_of(app)


@pytest.mark.parametrize(
    "query", ["COPY (SELECT 1) TO '{}'", "ATTACH '{}' AS x", "SELECT 1; COPY (SELECT 1) TO '{}'"]
)
async def test_a_query_of_a_kept_diagnosis_cannot_write(
    app: TrainwreckApp, tmp_path: Path, query: str
) -> None:
    target = tmp_path / "written"
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        app.open_sql(query.format(target))
        await settled(app, pilot)
        assert "one SELECT at a time" in lines_of(app)
    assert not target.exists()


async def test_data_that_cannot_be_used_is_said_and_the_verdict_stays(
    incident: Incident, tmp_path: Path
) -> None:
    app = TrainwreckApp([tmp_path / "nowhere"], [], Diagnosis((), (incident,)))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot)
        assert "HOST OUT OF MEMORY" in lines_of(app)
        await settled(app, pilot, "t")
        assert "No telemetry" in lines_of(app)


@pytest.mark.parametrize(
    ("keys", "ending", "told"),
    [
        (["e", "enter"], "html", b"rank 2"),
        (["e", "h"], "html", b"<html"),
        (["e", "j"], "json", b'"cause"'),
        (["e", "down", "down", "enter"], "txt", b"HOST OUT OF MEMORY"),
        (["e", "d"], "duckdb", b"DUCK"),
    ],
)
async def test_the_verdict_is_written_as_what_was_chosen_and_the_file_named(
    app: TrainwreckApp, incident: Incident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    keys: list[str], ending: str, told: bytes,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot, *keys)
        assert isinstance(app.screen, IncidentScreen)
    assert [path.name for path in tmp_path.iterdir()] == [f"trainwreck-{incident.id}.{ending}"]
    assert told in next(tmp_path.iterdir()).read_bytes()


async def test_nothing_is_written_where_nothing_was_chosen_or_the_folder_refuses(
    app: TrainwreckApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "e", "escape", "y", "d")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / f"trainwreck-{app.session.incidents()[0].id}.html").mkdir()
        await settled(app, pilot, "e", "h")
        assert "Is a directory" in [n.message.split(": ")[-1] for n in app._notifications]


async def test_the_database_is_not_offered_without_data(incident: Incident, log: Path) -> None:
    app = TrainwreckApp([], [log], Diagnosis((), (incident,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "e")
        assert "JSON" in lines_of(app)
        assert "DuckDB" not in lines_of(app)


async def test_every_victim_can_be_seen_with_whose_victim_it_is(
    incident: Incident, data: Path, log: Path
) -> None:
    many = tuple(
        Victim(r, "node7", f"2026-01-02 03:04:0{r} [rank{r}]: ConnectionResetError number {r}",
               f"its peer was gone, {r}")
        for r in range(6)
    )  # fmt: skip
    app = TrainwreckApp([data], [log], Diagnosis((), (replace(incident, victims=many),)))
    async with app.run_test(size=(100, 60)) as pilot:
        await settled(app, pilot)
        assert "and 3 more (v)" in lines_of(app)
        assert "number 5" not in lines_of(app)
        options = app.screen.query_one(OptionList)
        options.highlighted = options.get_option_index("v2")
        await settled(app, pilot, "enter")
        assert "number 5" in lines_of(app)
        assert "its peer was gone, 5" in lines_of(app)
        await settled(app, pilot, "v")
        assert "number 5" not in lines_of(app)


async def test_without_telemetry_the_reasons_have_the_whole_width(
    incident: Incident, log: Path
) -> None:
    words = " ".join(f"word{n:02}" for n in range(40))
    first, *others = incident.hypotheses
    long = (Evidence("log", True, words, str(log), 7, None, None, 3.0),)
    changed = replace(incident, hypotheses=(replace(first, evidence=long), *others))
    app = TrainwreckApp([], [log], Diagnosis((), ()))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(app, pilot)
        app.open_incident(changed)
        await settled(app, pilot)
        widest = max(len(line.rstrip()) for line in lines_of(app).splitlines() if "word" in line)
        assert widest > 80


async def test_a_timeline_without_telemetry_is_the_log(incident: Incident, log: Path) -> None:
    entry = Input(str(log), "training_log", CRASH_S + 1)
    app = TrainwreckApp([], [log], Diagnosis((entry,), (incident,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "t")
        assert "no telemetry in this window" not in lines_of(app)
        assert "No telemetry was given" in lines_of(app)
        assert app.screen.query_one(LogView).size.height > 20


async def test_log_opens_where_the_trouble_is_loud(
    incident: Incident, data: Path, log: Path
) -> None:
    """The evidence is all telemetry: the first victim tells where to look."""
    loud = tuple(Victim(r, None, "reset", "gone", str(log), 9 - r) for r in (0, 1))
    app = TrainwreckApp([data], [log], Diagnosis((), (replace(incident, victims=loud),)))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(app, pilot, "l")
        assert app.screen.query_one(LogView).marked == 8


async def test_a_query_of_ones_own_is_a_key_away(app: TrainwreckApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(app, pilot, "s")
        assert "/ Query" in lines_of(app)
        await settled(app, pilot, "slash", *"SELECT 41 AS v", "enter")
        assert "41" in lines_of(app)
        assert app.screen.query_one(DataTable).has_focus
        await settled(app, pilot, "v")  # a key of the table again, no letter for the box
        assert "view_name" in lines_of(app)


async def test_what_befell_the_host_before_the_run_stands_below_it(
    incident: Incident, data: Path, log: Path
) -> None:
    assert incident.start is not None
    later = incident.start + timedelta(hours=1)  # its clock is wrong: it is below all the same
    host = replace(incident, id="host", start=later, run=Run(), before_run=True)
    app = TrainwreckApp([data], [log], Diagnosis((), (incident, host)))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(app, pilot)
        assert isinstance(app.screen, IncidentScreen)
        await settled(app, pilot, "escape")
        rows = [line for line in lines_of(app).splitlines() if "Host out of memory" in line]
        assert ["before the run" in row for row in rows] == [False, True]


async def test_enter_on_a_victim_opens_the_log_at_its_line(
    incident: Incident, data: Path, log: Path
) -> None:
    loud = (
        Victim(0, None, "[rank0]: ConnectionResetError", "its peer was gone", str(log), 7),
        Victim(1, None, "[rank1]: ConnectionResetError", "its peer was gone"),
    )
    app = TrainwreckApp([data], [log], Diagnosis((), (replace(incident, victims=loud),)))
    async with app.run_test(size=(100, 60)) as pilot:
        await settled(app, pilot, "v")
        assert "train.log:7" in lines_of(app)
        options = app.screen.query_one(OptionList)
        options.highlighted = options.get_option_index("w1")
        await settled(app, pilot, "enter")
        assert "points to nothing" in next(iter(app._notifications)).message
        options.highlighted = options.get_option_index("w0")
        await settled(app, pilot, "enter")
        assert isinstance(app.screen, LogScreen)
        assert app.screen.query_one(LogView).marked == 7


async def test_the_weight_of_each_evidence_is_seen_and_repeats_are_folded(
    incident: Incident, data: Path, log: Path
) -> None:
    first, *others = incident.hypotheses
    again = tuple(Evidence("log", True, f"said again {n}", str(log), n) for n in (1, 2))
    changed = replace(incident, hypotheses=(
        replace(first, evidence=(*again, *first.evidence)), *others))  # fmt: skip
    app = TrainwreckApp([data], [log], Diagnosis((), (changed,)))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(app, pilot)
        seen = lines_of(app)
        assert re.search(r"\+\+\+ Memory cgroup out of memory", seen)
        assert "kernel log 4.0" in seen
        assert re.search(r"\+\+  rank 2: resident memory .* telemetry 1\.5", seen)
        assert re.search(r"−   no swap is configured", seen)
        assert "and 2 lines that say the same (v)" in seen
        assert "said again" not in seen
        await settled(app, pilot, "v")
        assert re.search(r"·   said again 1 .* train.log:1", lines_of(app))


async def test_what_was_not_recorded_is_told_with_its_reason(app: TrainwreckApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "t", "a")
        assert "nvml  no NVIDIA driver" in lines_of(app)
        await settled(app, pilot, "escape")
        assert isinstance(app.screen, TimelineScreen)


async def test_the_arrow_keys_are_the_cursors_and_the_lanes_though_a_log_is_shown(
    app: TrainwreckApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot, "t")
        lanes, log = app.screen.query_one(Lanes), app.screen.query_one(LogView)
        assert lanes.cursor is not None
        crash = lanes.cursor
        await settled(app, pilot, "left", "left")
        assert lanes.cursor < crash
        await settled(app, pilot, "down")
        assert lanes.first == 1
        assert "2–" in lines_of(app)
        before = log.scroll_offset.y
        await settled(app, pilot, "pageup")
        assert log.scroll_offset.y < before


async def test_a_row_an_incident_on_a_narrow_screen(incident: Incident, data: Path) -> None:
    long = replace(
        incident,
        id="another",
        verdict=replace(incident.verdict, cause="grad_overflow_loss_scale",
                        component=Component(host="a-host-with-a-rather-long-name", rank=1023)),
        run=replace(incident.run, job="a-job-with-a-name-that-does-not-fit"),
    )  # fmt: skip
    app = TrainwreckApp([data], [], Diagnosis((), (incident, long)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        rows = [line for line in lines_of(app).splitlines() if "%" in line]
        assert len(rows) == 2
        assert "rank 1023" in rows[0] + rows[1]
        assert "that-does-not-fit" not in lines_of(app)


async def test_a_marked_line_that_is_cut_off_stands_above_in_full(
    incident: Incident, tmp_path: Path
) -> None:
    log = tmp_path / "long.log"
    log.write_text("short\n" + "RuntimeError: " + "very " * 30 + "long end\n")
    app = TrainwreckApp([], [log], Diagnosis((), (incident,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        app.open_log(log, 2)
        await settled(app, pilot)
        assert "long end" in lines_of(app)


async def test_times_in_rows_are_readable_and_nothing_is_told_from_null(
    app: TrainwreckApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        query = "SELECT TIMESTAMPTZ '2026-01-02 03:04:05.678901+00' AS ts, NULL AS a, '' AS b"
        await app.push_screen(SqlScreen(query))
        await settled(app, pilot)
        assert "2026-01-02 03:04:05.678 " in lines_of(app)
        table = app.screen.query_one(DataTable)
        assert table.get_row_at(0)[1:] == ["–", ""]


async def test_reading_happens_in_the_background_and_ends_at_the_verdict(
    data: Path, tmp_path: Path
) -> None:
    log = tmp_path / "crash.log"
    log.write_text(
        "Traceback (most recent call last):\n"
        '  File "train.py", line 3, in <module>\n'
        "ZeroDivisionError: division by zero\n"
    )
    app = TrainwreckApp([], [log])
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        assert isinstance(app.screen, IncidentScreen)
        assert "PYTHON EXCEPTION" in lines_of(app)


async def test_unreadable_input_ends_the_app_with_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    app = TrainwreckApp([], [tmp_path / "nothing.log"])
    await app.run_async(headless=True, size=(80, 24))  # returns when the app has ended by itself
    assert app.return_code == 2
    assert "no such file" in capfd.readouterr().err
