"""``pytest tests/agent/collectors --update-expected`` writes what collectors yield now."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-expected",
        action="store_true",
        help="write expected.txt of the recorded machines anew; review the difference",
    )
