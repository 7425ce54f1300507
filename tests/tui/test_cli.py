"""The command line: what it answers to good and bad input. Each bad one: one clear line, exit 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trainwreck_tui.cli import COMMANDS

ROOT = Path(__file__).parents[2]
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs ``trainwreck`` in a process of its own with a home and data folder of its own."""

    def run(*arguments: str | Path, data: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ, "HOME": str(tmp_path),
            "TRAINWRECK_DATA": str(data or tmp_path / "default-data"),
            "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("agent", "analyzer", "tui")),
            "COLUMNS": "100",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "trainwreck_tui", *map(str, arguments)],
            capture_output=True, text=True, env=env, check=False, timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    for word in words:
        assert word in done.stderr


@pytest.fixture
def recorded(tmp_path: Path, cli: Cli) -> Path:
    """A data directory with three real seconds in it."""
    folder = tmp_path / "data"
    done = cli("record", "--data", folder, "--duration", "3s", "--interval", "500ms")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches(cli: Cli, name: str) -> None:
    done = cli(name, "--help")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


def test_help_lists_every_command_with_what_it_does(cli: Cli) -> None:
    done = cli("--help")
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


def test_a_missing_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    refused(cli("diagnose", tmp_path / "nothing.log"), "nothing.log")


def test_an_empty_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    refused(cli("diagnose", tmp_path / "empty.log"), "empty.log")


def test_a_folder_without_logs_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(cli("diagnose", tmp_path / "folder"), "folder")


def test_binary_garbage_alone_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "garbage.log").write_bytes(bytes(range(256)) * 400)
    refused(cli("diagnose", tmp_path / "garbage.log"), "garbage.log")


def test_a_log_in_another_encoding_is_read(cli: Cli, tmp_path: Path) -> None:
    text = "step 1 loss 2.0\nTraceback (most recent call last):\n  File \"träin.py\", line 1\nKeyError: 'ü'\n"
    (tmp_path / "wide.log").write_text(text, encoding="utf-16")
    done = cli("diagnose", "--json", tmp_path / "wide.log")
    assert done.returncode == 0, done.stderr
    [incident] = json.loads(done.stdout)["incidents"]
    assert incident["verdict"]["cause"] == "python_exception"


def test_garbage_beside_a_log_loses_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "core.bin").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "logs" / "train.log").write_text(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyError: 'x'\n"
    )
    done = cli("diagnose", "--json", tmp_path / "logs")
    document = json.loads(done.stdout)
    assert document["incidents"][0]["verdict"]["cause"] == "python_exception"


def test_a_data_directory_that_is_none_is_refused(cli: Cli, tmp_path: Path) -> None:
    for command in ("diagnose", "tui"):
        refused(cli(command, "--data", tmp_path), str(tmp_path), "not a data directory")
    refused(cli("sql", "--data", tmp_path, "SELECT 1"), "not a data directory")


def test_a_data_directory_of_another_version_is_refused(cli: Cli, recorded: Path) -> None:
    (recorded / "meta.json").write_text('{"schema_version": 99, "host": "x"}')
    for command in ("diagnose", "record", "tui"):
        refused(cli(command, "--data", recorded), "version 99")


def test_a_data_directory_that_cannot_be_written_is_refused(cli: Cli) -> None:
    refused(cli("record", "--data", "/proc/nowhere", "--duration", "1s"), "/proc/nowhere", "--data")


def test_a_folder_that_is_not_there_is_told_with_what_to_do_instead(
    cli: Cli, tmp_path: Path
) -> None:
    for command in (("diagnose",), ("tui",), ("incidents",), ("sql", "SELECT 1")):
        done = cli(command[0], "--data", tmp_path / "none", *command[1:])
        refused(done, "nothing is recorded there", "trainwreck demo")
        assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_read_is_told_in_one_line(cli: Cli, tmp_path: Path) -> None:
    if os.access("/proc/1/mem", os.R_OK):
        log = Path("/proc/self/mem")  # root may open everything, and cannot read this
    else:
        log = tmp_path / "secret.log"
        log.write_text("x\n")
        log.chmod(0)
    done = cli("diagnose", log)
    refused(done, str(log))
    assert len(done.stderr.splitlines()) == 1


def test_a_log_in_the_place_of_a_command_is_understood(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("step 1\n")
    refused(cli(tmp_path / "train.log"), f"trainwreck diagnose {tmp_path / 'train.log'}")
    refused(cli("diagnos"), "did you mean `trainwreck diagnose`?")


def test_a_recording_that_was_not_asked_is_told_of(cli: Cli, recorded: Path) -> None:
    log = recorded.parent / "train.log"
    log.write_text("step 1 loss 2.5\nKeyboardInterrupt\n")
    done = cli("diagnose", log, data=recorded)
    assert f"--data {recorded}" in done.stderr
    assert "--data" not in cli("diagnose", log).stderr
    asked = cli("diagnose", "--data", recorded, log)
    assert f"kept in {recorded} as " in asked.stderr


def test_wrong_usage_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("record", "--interval", "soon").returncode == 2
    assert cli("nonsense").returncode == 2
    assert cli("export", "last", "--to", tmp_path / "x.pdf").returncode == 2


def test_sql_answers_in_every_format(cli: Cli, recorded: Path, tmp_path: Path) -> None:
    query = "SELECT count(*) AS n FROM memory"
    table = cli("sql", "--data", recorded, query)
    assert "n" in table.stdout
    assert table.returncode == 0
    count = int(cli("sql", "--data", recorded, "--format", "csv", query).stdout.split()[1])
    assert count >= 4
    answer = cli("sql", "--data", recorded, "--format", "json", query)
    assert json.loads(answer.stdout) == [{"n": count}]
    file = tmp_path / "answer.parquet"
    cli("sql", "--data", recorded, "--format", "parquet", "--to", file, query)
    assert file.read_bytes()[:4] == b"PAR1"


def test_sql_says_what_is_wrong_with_a_query(cli: Cli, recorded: Path) -> None:
    done = cli("sql", "--data", recorded, "SELECT nothing FROM nowhere")
    refused(done, "nowhere")
    assert "Usage" not in done.stderr


def test_doctor_says_what_is_recorded_and_what_is_not_and_why(cli: Cli, recorded: Path) -> None:
    report = json.loads(cli("doctor", "--data", recorded, "--json").stdout)
    signals = {signal["name"]: signal for signal in report["signals"]}
    assert signals["memory"]["status"] == "ok"
    assert all(s["detail"] for s in signals.values() if s["status"] in ("absent", "denied"))
    assert {r["name"]: r["rows"] for r in report["recorded"]}["memory"] >= 4
    shown = cli("doctor", "--data", recorded)
    assert "memory" in shown.stdout
    assert shown.returncode == 0


def test_a_machine_without_gpu_is_no_error(cli: Cli, recorded: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    report = json.loads(cli("doctor", "--data", recorded, "--json").stdout)
    [nvml] = [signal for signal in report["signals"] if signal["name"] == "nvml"]
    assert nvml["status"] == "absent"
    assert "no NVIDIA driver" in nvml["detail"]


def test_data_without_an_incident_has_none(cli: Cli, recorded: Path) -> None:
    done = cli("diagnose", "--data", recorded, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["incidents"] == []


def test_an_incident_can_be_exported(cli: Cli, recorded: Path, tmp_path: Path) -> None:
    import duckdb

    stamp = "2026-01-01 00:00:00"
    log = tmp_path / "train.log"
    log.write_text(
        f"{stamp} step 1 loss 2.0\n{stamp} [rank0]: Traceback (most recent call last):\n"
        '[rank0]:   File "a.py", line 1, in <module>\n[rank0]: ZeroDivisionError: division by zero\n'
    )
    assert cli("diagnose", "--data", recorded, log).returncode == 0
    for suffix in ("json", "html", "duckdb"):
        file = tmp_path / f"crash.{suffix}"
        done = cli("export", "last", "--data", recorded, "--to", file)
        assert done.returncode == 0, done.stderr
        assert file.stat().st_size > 500
    connection = duckdb.connect(str(tmp_path / "crash.duckdb"), read_only=True)
    assert connection.execute("SELECT count(*) FROM incident").fetchall() == [(1,)]
    refused(cli("export", "nobody", "--data", recorded, "--to", tmp_path / "x.json"), "nobody")


def test_signatures_are_listed_and_checked(cli: Cli, tmp_path: Path) -> None:
    assert "host_oom" in cli("signatures").stdout
    bad = tmp_path / "mine.toml"
    bad.write_text('titel = "x"\n')
    refused(cli("signatures", "check", bad), "mine.toml", "titel")
    assert "gpu_oom" in cli("signatures", "--cause", "gpu_oom").stdout
    refused(cli("signatures", "--cause", "gpu_omm"), "gpu_oom")
