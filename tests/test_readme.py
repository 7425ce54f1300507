"""The README's commands do what it says, on a machine that has only Python.

The test command is run by ``.ci/run`` itself, word for word; here it is only held against it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def command(name: str) -> str:
    found = re.search(rf"<!-- {name}-command -->\n```sh\n(.+?)\n```", README, re.S)
    assert found is not None
    return found[1]


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_demo_command_of_the_readme_works_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "trainwreck"
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
    ).stdout.decode()
    for name in tracked.split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["bash", "-c", command("demo")], cwd=clone, env=clean, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Not a terminal: the verdict is printed instead of the app being opened.
    assert "host_oom" in done.stdout or "out of memory" in done.stdout.lower(), done.stdout


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "<!-- test-command -->" in (ROOT / ".ci" / "run").read_text()
    assert "pytest" in command("test")


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_command_that_the_readme_names_exists() -> None:
    from trainwreck_tui.cli import COMMANDS

    for name in re.findall(r"`?trainwreck ([a-z]+)", README):
        assert name in COMMANDS, name


def test_the_schema_page_is_the_declared_one() -> None:
    from trainwreck_agent.describe import page

    assert (ROOT / "docs" / "schema.md").read_text() == page(), "run `make schema`"
