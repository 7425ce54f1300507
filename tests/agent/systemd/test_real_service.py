"""The service under a real systemd: what it promises is done to a machine that really boots."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

DATA = "/var/lib/trainwreck"
WATCHDOG_S = 3
FOLDER = "/run/systemd/system/trainwreck.service.d"
pytestmark = pytest.mark.fault


def drop_in(**options: object) -> str:
    """Lines that a test adds to the unit, as `systemctl edit` would."""
    return "[Service]\n" + "".join(f"{name}={value}\n" for name, value in options.items())


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The machine with the service installed and running; tests need not wait for a minute."""
    options = drop_in(
        WatchdogSec=WATCHDOG_S, RestartSec="100ms",
        Environment=f"PYTHONPATH={machine.sources}", StandardError=f"append:{machine.shared}/stderr",
    )  # fmt: skip
    machine.run("mkdir", "-p", FOLDER)
    (machine.shared / "test.conf").write_text(options)
    machine.run("cp", f"{machine.shared}/test.conf", FOLDER)
    machine.trainwreck("service", "install")
    yield machine
    for pid in machine.run("pgrep", "-f", "trainwreck_agent record", check=False).split():
        machine.run("kill", "-CONT", pid, check=False)
    machine.trainwreck("service", "uninstall")


def query(machine: Machine, sql: str) -> list[list[Any]]:
    """What the recorded data answers."""
    code = (
        "import json, sys; from pathlib import Path; from trainwreck_agent import store\n"
        "rows = store.connect([Path(sys.argv[1])]).execute(sys.argv[2]).fetchall()\n"
        "print(json.dumps([[str(cell) for cell in row] for row in rows]))"
    )
    answer = machine.run(sys.executable, "-c", code, DATA, sql)
    found: list[list[Any]] = json.loads(answer)
    return found


def test_it_is_ready_when_systemd_says_so_and_nobody_else_reads_it(service: Machine) -> None:
    assert service.show("ActiveState") == "active"
    assert service.show("SubState") == "running"
    assert "state: active" in service.trainwreck("service", "status")
    ticks = "SELECT count(*) FROM host"
    assert query(service, ticks) == [["1"]]  # the first tick may follow, the directory is there
    modes = service.run("find", DATA, "-printf", "%m %y %u %g\n").splitlines()
    assert set(modes) == {"750 d root root", "640 f root root"}


def test_it_reads_there_what_it_reads_outside(service: Machine) -> None:
    """Protections of the unit that keep a collector from its files would show here."""
    outside = json.loads(service.trainwreck("doctor", "--json"))
    unit = service.run("cat", "/etc/systemd/system/trainwreck.service")
    report = service.shared / "doctor.json"
    doctor = f"from trainwreck_tui.cli import cli; cli(['doctor', '--data', '{DATA}', '--json'])"
    lines = [
        line
        for line in unit.splitlines()
        if not line.startswith(("ExecStart=", "Type=", "Restart", "WatchdogSec", "NotifyAccess"))
    ]
    at = lines.index("[Service]") + 1
    lines[at:at] = [
        "Type=oneshot", f"StandardOutput=file:{report}",
        f"Environment=PYTHONPATH={service.sources}", f'ExecStart={sys.executable} -c "{doctor}"',
    ]  # fmt: skip
    (service.shared / "look.service").write_text("\n".join(lines))
    service.run("cp", f"{service.shared}/look.service", "/run/systemd/system/")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "look.service")
    inside = json.loads(report.read_text())
    told = [
        {signal["name"]: (signal["status"], signal["detail"]) for signal in found["signals"]}
        for found in (inside, outside)
    ]
    assert told[0] == told[1]
    assert told[0]["kernel_log"] == ("ok", None)


def test_a_recorder_that_stands_still_is_started_anew(
    service: Machine, wait_until: Callable[..., Any]
) -> None:
    pid = service.show("MainPID")
    wait_until(lambda: query(service, "FROM memory"), "nothing was recorded")
    service.run("kill", "-STOP", pid)
    wait_until(lambda: service.show("MainPID") not in ("0", pid), "the watchdog did not bite")
    killed = "SELECT count(*) FROM collector_health WHERE detail LIKE '%recorder was killed%'"
    wait_until(lambda: query(service, killed) == [["1"]], "nobody tells of the gap")


def test_what_hangs_in_a_driver_does_not_keep_the_next_recorder_from_starting(
    service: Machine, wait_until: Callable[..., Any]
) -> None:
    """A stopped process stands for it: it takes no signal until it is let go."""
    pid = service.show("MainPID")
    hung = wait_until(lambda: service.children(pid), "it has no child")[0]
    service.run("kill", "-STOP", hung)
    service.run("kill", "-KILL", pid)
    wait_until(lambda: service.show("MainPID") not in ("0", pid), "it did not start again")
    wait_until(lambda: service.show("ActiveState") == "active", "it is never ready")
    service.run("kill", "-0", hung)  # nobody killed it by force
    service.run("kill", "-STOP", *service.children(service.show("MainPID"))[:1])
    service.run("systemctl", "restart", "trainwreck")
    assert service.show("ActiveState") == "active"


def test_installing_it_again_is_how_to_upgrade(service: Machine) -> None:
    pid = service.show("MainPID")
    service.trainwreck("service", "install", "--log", "/srv/train.log")
    assert service.show("MainPID") not in ("0", pid)
    command = service.run("cat", f"/proc/{service.show('MainPID')}/cmdline")
    assert command.endswith("--log\0/srv/train.log\0")


def test_uninstalling_ends_it_and_keeps_the_data(machine: Machine, service: Machine) -> None:
    service.trainwreck("service", "uninstall")
    assert service.run("systemctl", "is-active", "trainwreck", check=False).strip() == "inactive"
    assert "not installed" in service.trainwreck("service", "status")
    service.run("test", "-e", f"{DATA}/meta.json")
