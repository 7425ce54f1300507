"""The systemd unit, and its installation into another root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from trainwreck_agent import service
from trainwreck_tui.cli import cli


@pytest.mark.parametrize("data", ["/var/lib/trainwreck", "/data/black box/50%"])
def test_systemd_accepts_the_unit(tmp_path: Path, data: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    path = tmp_path / service.NAME
    path.write_text(service.render(Path(data), ["--log", "/a $b"]))
    done = subprocess.run([tool, "verify", str(path)], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if service.NAME in line]
    assert told == [], done.stderr


def test_the_unit_says_where_it_writes() -> None:
    unit = service.render(Path("/var/lib/trainwreck"), python="/opt/python")
    assert "ExecStart=/opt/python -m trainwreck_agent record --data /var/lib/trainwreck\n" in unit
    assert "StateDirectory=trainwreck\n" in unit
    elsewhere = service.render(Path("/data/x"))
    assert "StateDirectory" not in elsewhere
    assert "ReadWritePaths=/data/x\n" in elsewhere
    assert "@" not in unit + elsewhere


def test_words_keep_their_meaning() -> None:
    assert service.quote("a b%$") == '"a b%%$$"'
    assert service.quote("plain") == "plain"


def test_install_status_and_uninstall_below_a_root(tmp_path: Path) -> None:
    root = ["--root", str(tmp_path)]
    run = CliRunner()
    assert "not installed" in run.invoke(cli, ["service", "status", *root]).output
    assert run.invoke(cli, ["service", "install", *root]).exit_code == 0
    unit = tmp_path / "etc/systemd/system" / service.NAME
    assert unit.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "var/lib/trainwreck/meta.json").exists()
    assert "installed:" in run.invoke(cli, ["service", "status", *root]).output
    assert run.invoke(cli, ["service", "uninstall", *root]).exit_code == 0
    assert not unit.exists()
    assert (tmp_path / "var/lib/trainwreck/meta.json").exists()
    assert "not installed" in run.invoke(cli, ["service", "uninstall", *root]).output


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "etc").touch()
    done = CliRunner().invoke(cli, ["service", "install", "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert "etc/systemd/system" in done.output
