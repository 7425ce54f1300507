"""When the recorder starts its sealing child, and when it need not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trainwreck_agent import cleaning
from trainwreck_agent.layout import Layout
from trainwreck_agent.sealer import CLEAN_AFTER_S, ROTATE_EVERY_S, Sealer
from trainwreck_agent.writer import Writer

Starts = Callable[[], tuple[Sealer, Writer, list[str]]]


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starts:
    """A recorder of the directory starts; the first option of each child it starts is taken down.

    Each child has ended by the next tick.
    """

    def start() -> tuple[Sealer, Writer, list[str]]:
        layout = Layout(tmp_path / "data")
        layout.create()
        writer = Writer(layout)
        begun: list[str] = []

        def spawn(_self: Sealer, options: list[str], module: str = "seal") -> None:
            begun.extend(options[:1] or [module])

        monkeypatch.setattr(Sealer, "_spawn", spawn)
        return Sealer(layout, 30, 1 << 30), writer, begun

    return start


def test_where_nothing_was_recorded_before_there_is_nothing_to_seal(starts: Starts) -> None:
    made, writer, begun = starts()
    begin_s = time.monotonic()
    for later_s in (1.0, 2.0, CLEAN_AFTER_S + 3, ROTATE_EVERY_S - 1):
        made.check(begin_s + later_s, writer)
    assert begun == ["--prepare"]
    writer.write(["a line\n"])
    made.check(begin_s + ROTATE_EVERY_S, writer)
    assert begun == ["--prepare", "--through"]
    made.check(begin_s + ROTATE_EVERY_S + CLEAN_AFTER_S, writer)
    assert begun == ["--prepare", "--through", "trainwreck_agent.cleaning"]


def test_what_a_recorder_before_left_is_sealed_at_the_start(starts: Starts) -> None:
    _, before, _ = starts()
    before.write(["a line\n"])
    before.close()
    made, writer, begun = starts()
    made.check(time.monotonic(), writer)
    assert begun == ["--prepare", "--through"]


def test_an_emptied_journal_is_not_sealed_again(starts: Starts) -> None:
    _, before, _ = starts()
    before.close()
    made, writer, begun = starts()
    made.check(time.monotonic(), writer)
    assert begun == ["--prepare"]


def test_to_clean_loads_no_database(tmp_path: Path) -> None:
    """It is done each quarter of an hour, and DuckDB costs more to load than all of it."""
    layout = Layout(tmp_path / "data")
    layout.create()
    code = (
        "import sys; from trainwreck_agent import cleaning;"
        "assert cleaning.main(sys.argv[1:]) == 0; assert 'duckdb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(layout.root)], check=True)


def test_what_cannot_be_cleaned_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cleaning.main([str(tmp_path / "nothing")]) == 1
    assert "trainwreck.cleaning" in capfd.readouterr().err
