"""Every fault of the demo really happens, and is called what it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainwreck_tui.demo import faults, sandbox
from trainwreck_tui.demo.faults import Fault

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
Play = Callable[..., Any]


def _permitted(kind: str, tmp_path: Path) -> bool:
    if kind == "memory":
        with sandbox.limited_memory(faults.MEMORY_LIMIT_BYTES, f"job-{os.getpid()}") as place:
            return place.kind != "limit"
    with sandbox.small_disk(tmp_path / "probe", 1 << 20) as place:
        return place.kind != "limit"


def test_a_rank_that_leaks_is_killed_by_the_kernel_and_called_host_oom(
    demonstrated: Play, tmp_path: Path
) -> None:
    if not _permitted("memory", tmp_path):
        pytest.skip("this user may not make a memory cgroup here")
    accident = demonstrated(Fault.HOST_OOM, seed=11)
    assert accident.cause == "host_oom", accident.told()
    assert accident.incident.verdict.component.rank == accident.rank, accident.told()
    kinds = {e.kind for e in accident.evidence if e.supports}
    assert "telemetry" in kinds, accident.told()
    assert {v.rank for v in accident.incident.victims} >= {0, 1, 2, 3} - {accident.rank}


def test_without_a_cgroup_the_allocation_fails_and_no_oom_kill_is_claimed(
    demonstrated: Play, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sandbox, "_systemd_scope", lambda limit_bytes: None)
    monkeypatch.setattr(sandbox, "_cgroup_parents", lambda proc: iter(()))
    accident = demonstrated(Fault.HOST_OOM, seed=17)
    assert "address-space limit (RLIMIT_AS)" in capfd.readouterr().err
    assert accident.incident.verdict.component.rank == accident.rank, accident.told()
    assert accident.incident.verdict.domain in ("memory", "software"), accident.told()
    supporting = [e for e in accident.evidence if e.supports]
    assert any("Unable to allocate" in e.text for e in supporting), accident.told()
    assert not any(e.kind == "kernel" for e in supporting), accident.told()


def test_in_a_user_namespace_the_disk_is_full_too(
    demonstrated: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    really = sandbox._works
    monkeypatch.setattr(sandbox, "_works", lambda p, *c: p[0] != "mount" and really(p, *c))
    with sandbox.small_disk(tmp_path / "probe", 1 << 20) as place:
        if place.kind == "limit":
            pytest.skip("this user may not make a user namespace here")
    accident = demonstrated(Fault.DISK_FULL, seed=18)
    assert accident.cause == "disk_full", accident.told()


def test_nan_is_called_divergence(demonstrated: Play) -> None:
    accident = demonstrated(Fault.NAN, seed=12)
    assert accident.cause == "nan_divergence", accident.told()
    assert accident.incident.verdict.component.rank in (None, accident.rank)


def test_a_hang_names_the_rank_and_shows_its_stack(demonstrated: Play) -> None:
    accident = demonstrated(Fault.HANG, seed=13)
    assert accident.cause == "hang_software", accident.told()
    assert accident.incident.verdict.component.rank == accident.rank, accident.told()
    assert any("Loader._open_next_shard" in e.text for e in accident.evidence), accident.told()


def test_a_segmentation_fault_names_the_rank(demonstrated: Play) -> None:
    accident = demonstrated(Fault.SEGFAULT, seed=14)
    assert accident.cause == "segfault_software", accident.told()
    assert accident.incident.verdict.component.rank == accident.rank, accident.told()


def test_a_full_file_system_is_called_disk_full(demonstrated: Play, tmp_path: Path) -> None:
    if not _permitted("disk", tmp_path):
        pytest.skip("this user may not mount a file system here")
    accident = demonstrated(Fault.DISK_FULL, seed=15)
    assert accident.cause == "disk_full", accident.told()


def test_an_exception_names_the_rank(demonstrated: Play) -> None:
    accident = demonstrated(Fault.EXCEPTION, seed=16)
    assert accident.cause in ("python_exception", "data_error"), accident.told()
    assert accident.incident.verdict.component.rank == accident.rank, accident.told()


def test_the_command_prints_the_verdict_and_ends_with_0(demo_command: Play) -> None:
    process = demo_command("--fault", "exception", "--no-tui", "--seed", "3")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "exception" in out.lower()
    assert "trainwreck tui --data" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(
    demo_command: Play, tmp_path: Path, number: signal.Signals
) -> None:
    process = demo_command("--fault", "host-oom", "--no-tui", "--seed", "4")
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("The training job runs"):
            break
    group = next((line for line in told if "memory cgroup /" in line), None)
    time.sleep(1)  # somewhere in the middle
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert list(tmp_path.glob("trainwreck-*")) == []
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
    if group is not None:
        assert not Path(group.split("memory cgroup ")[1].split(",")[0]).exists()
