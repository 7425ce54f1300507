"""What an engineer sees and can do in the app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from story import CRASH_S, START, lines_of
from textual.pilot import Pilot
from textual.widgets import DataTable, OptionList, Static
from trainwreck_analyzer.verdict import Diagnosis, Incident
from trainwreck_tui.app import TrainwreckApp
from trainwreck_tui.screens.incident import IncidentScreen
from trainwreck_tui.screens.incidents import IncidentsScreen
from trainwreck_tui.screens.log import LogScreen
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
    [("incident", ""), ("timeline", "t"), ("log", "l"), ("help", "?"), ("incidents", "escape")],
)
async def test_screens_look_as_they_did(
    app: TrainwreckApp, snapshot: Snapshot, size: tuple[int, int], name: str, keys: str
) -> None:
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot, *([keys] if keys else []))
        snapshot(app, f"{name}-{size[0]}x{size[1]}")


@pytest.mark.parametrize("keys", ["", "t", "l", "s", "?", "escape"])
async def test_nothing_breaks_on_a_tiny_screen(app: TrainwreckApp, keys: str) -> None:
    async with app.run_test(size=(40, 10)) as pilot:
        await settled(app, pilot, *([keys] if keys else []))
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


async def test_the_report_is_written_and_named(
    app: TrainwreckApp, incident: Incident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot, "e", "y", "d")
    report = tmp_path / f"trainwreck-{incident.id}.html"
    assert "rank 2" in report.read_text()


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
