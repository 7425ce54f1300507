"""Places for a fault: what is permitted is used, and what it was is said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from trainwreck_tui.demo import faults, sandbox
from trainwreck_tui.demo.faults import Fault


def _machine(tmp_path: Path, version: str, *, permitted: bool) -> tuple[Path, Path]:
    """A ``/proc/self`` and a hierarchy in which our group is ``/user/app``."""
    proc, mount = tmp_path / "proc", tmp_path / "cg"
    (mount / "user" / "app").mkdir(parents=True)
    proc.mkdir()
    if version == "v2":
        (proc / "cgroup").write_text("0::/user/app\n")
        kind, options = "cgroup2", "rw"
        for folder in (mount, mount / "user", mount / "user" / "app"):
            allowed = permitted and folder.name == "user"
            (folder / "cgroup.subtree_control").write_text("cpu memory" if allowed else "cpu")
    else:
        (proc / "cgroup").write_text("4:memory:/user/app\n0::/\n" if permitted else "2:cpu:/\n")
        kind, options = "cgroup", "rw,memory" if permitted else "rw,cpu"
    (proc / "mountinfo").write_text(f"35 31 0:32 / {mount} rw,relatime - {kind} cgroup {options}\n")
    return proc, mount


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_systemd_scope", lambda limit_bytes: None)


def test_a_v2_group_is_made_below_the_nearest_that_may_limit_memory(tmp_path: Path) -> None:
    proc, mount = _machine(tmp_path, "v2", permitted=True)
    with sandbox.limited_memory(1 << 20, "job-x", proc) as place:
        assert place.kind == "cgroup v2"
        assert (mount / "user" / "job-x" / "memory.max").read_text() == str(1 << 20)
        assert str(mount / "user" / "job-x" / "cgroup.procs") in place.prefix


def test_a_v1_group_is_made_in_our_own(tmp_path: Path) -> None:
    proc, mount = _machine(tmp_path, "v1", permitted=True)
    with sandbox.limited_memory(1 << 20, "job-x", proc) as place:
        assert place.kind == "cgroup v1"
        limit = mount / "user" / "app" / "job-x" / "memory.limit_in_bytes"
        assert limit.read_text() == str(1 << 20)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_where_no_group_is_permitted_it_is_said_plainly(tmp_path: Path, version: str) -> None:
    proc, _ = _machine(tmp_path, version, permitted=False)
    with sandbox.limited_memory(1 << 20, "job-x", proc) as place:
        assert place.kind == "limit"
        assert place.prefix == ()
        assert "RLIMIT_AS" in place.told


@pytest.mark.fault
def test_a_group_on_this_machine_is_gone_afterwards_with_all_that_ran_in_it() -> None:
    with sandbox.limited_memory(256 << 20, "job-gone") as place:
        if place.kind == "limit":
            pytest.skip("this user may not make a memory cgroup here")
        sleeper = subprocess.Popen([*place.prefix, "sleep", "600"])
        procs = Path(place.prefix[-1])
        while procs.read_text().split() != [str(sleeper.pid)]:
            assert sleeper.poll() is None
    assert sleeper.wait(10) == -9
    assert not procs.parent.exists()


@pytest.mark.fault
def test_a_small_disk_is_really_full(tmp_path: Path) -> None:
    with sandbox.small_disk(tmp_path / "ck", 1 << 20) as place:
        if place.kind == "limit":
            pytest.skip("this user may not mount a file system here")
        command = ["dd", "if=/dev/zero", f"of={tmp_path / 'ck' / 'x'}", "bs=64k", "count=32"]
        done = subprocess.run([*place.prefix, *command], capture_output=True, check=False)
        assert b"No space left on device" in done.stderr
    assert list((tmp_path / "ck").iterdir()) == []


@pytest.mark.parametrize("fault", [Fault.NAN, Fault.HANG, Fault.SEGFAULT, Fault.EXCEPTION])
def test_a_seed_always_draws_the_same_and_others_differ(tmp_path: Path, fault: Fault) -> None:
    drawn = []
    for seed in [1, 1, *range(2, 12)]:
        with faults.plan(fault, 4, seed, tmp_path) as plan:
            drawn.append((plan.flaws, plan.announcement))
    assert drawn[0] == drawn[1]
    assert len({flaws for flaws, _ in drawn}) > 5
    assert {flaws[0].rank for flaws, _ in drawn} <= {0, 1, 2, 3}
