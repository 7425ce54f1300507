"""A recording to write rows into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded import Recorded
from trainwreck_agent import store
from trainwreck_agent.layout import Layout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("prepared") / "data")
    layout.create()
    store.prepare(layout)
    return layout.root


@pytest.fixture
def recorded(tmp_path: Path, prepared: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path / "data", prepared)
    yield made
    made.journal.close()
