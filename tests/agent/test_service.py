"""The systemd unit, and its installation into another root."""

from __future__ import annotations

import re
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
    assert re.search(r"@[A-Z]+@", unit + elsewhere) is None


def test_the_unit_kills_no_child_by_force_and_may_ask_what_it_must() -> None:
    """A process inside a call of the GPU driver; whether the clock is disciplined; logs in /tmp."""
    lines = service.render(Path("/var/lib/trainwreck")).splitlines()
    assert {"KillMode=process", "OOMPolicy=continue"} <= set(lines)
    assert not any(line.startswith(("ProtectClock", "PrivateTmp", "DeviceAllow")) for line in lines)


FAKE = """#!/bin/sh
echo "$@" >> {log}
if [ "$1" = is-active ]; then echo active; fi
if [ -e {log}.fails ]; then echo "Failed to connect to bus" >&2; exit 1; fi
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it was asked; units go where nobody reads them."""
    log = tmp_path / "asked"
    tool = tmp_path / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(FAKE.format(log=log))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setattr(service, "FOLDER", str(tmp_path / "units").lstrip("/"))
    return log


def test_the_service_is_started_shown_and_stopped(systemctl: Path, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(cli, ["service", "install", "--data", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    asked = systemctl.read_text().splitlines()
    assert asked == ["daemon-reload", f"enable {service.NAME}", f"restart {service.NAME}"]
    unit = tmp_path / "units" / service.NAME
    assert f"--data {tmp_path / 'data'}" in unit.read_text()
    assert "state: active" in run.invoke(cli, ["service", "status"]).output
    systemctl.unlink()
    assert run.invoke(cli, ["service", "uninstall"]).exit_code == 0
    asked = systemctl.read_text().splitlines()
    assert asked == [f"disable --now {service.NAME}", "daemon-reload"]
    assert not unit.exists()
    assert (tmp_path / "data" / "meta.json").exists()
    assert "not installed" in run.invoke(cli, ["service", "status"]).output


def test_what_systemd_refuses_is_told_in_its_words(systemctl: Path, tmp_path: Path) -> None:
    systemctl.with_name("asked.fails").touch()
    done = CliRunner().invoke(cli, ["service", "install", "--data", str(tmp_path / "data")])
    assert done.exit_code == 2
    assert "systemctl daemon-reload: Failed to connect to bus" in done.output


def test_a_machine_without_systemd_is_told_so(
    systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli, ["service", "install", "--data", str(tmp_path / "data")])
    assert done.exit_code == 2
    assert "systemctl: not on this machine" in done.output
    assert not systemctl.exists()


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
