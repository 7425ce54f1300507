"""A machine that systemd really runs, in namespaces of its own on this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GIVE_UP_S = 60.0
PROJECT = Path(__file__).parents[3]
SYSTEMD = [Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd")]
SOURCES = ":".join(str(PROJECT / name) for name in ("agent", "analyzer", "tui"))


class Groups:
    """A control group of every hierarchy for the machine: its own root, and what it makes below."""

    def __init__(self) -> None:
        name = f"trainwreck-test-{os.getpid()}"
        self.paths = [mount / name for mount in _hierarchies()]
        for path in self.paths:
            path.mkdir()
            for limit in ("cpuset.cpus", "cpuset.mems"):  # version 1 takes nobody in without them
                if (path.parent / limit).exists() and not (path / "cgroup.events").exists():
                    (path / limit).write_text((path.parent / limit).read_text())

    def join(self) -> None:
        """Move the calling process in."""
        for path in self.paths:
            (path / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Remove them when the last process has left."""
        give_up_s = time.monotonic() + GIVE_UP_S
        for path in self.paths:
            folders = [Path(folder) for folder, _, _ in os.walk(path, topdown=False)]
            while folders:
                try:
                    folders[0].rmdir()
                    del folders[0]
                except OSError:
                    assert time.monotonic() < give_up_s, f"{folders[0]} is still in use"
                    time.sleep(0.02)


def _hierarchies() -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(mount) for _, mount, kind, *_ in lines if kind in ("cgroup", "cgroup2")]


class Machine:
    """systemd as the first process of its own namespaces."""

    sources = SOURCES

    def __init__(self, systemd: Path, folder: Path) -> None:
        self.groups = Groups()
        self.shared = folder / "shared"
        """Seen there under the same path."""
        base = folder / "base"
        base.mkdir()
        self.shared.mkdir()
        seen = [str(PROJECT), sys.prefix, sys.base_prefix, str(self.shared)]
        name = f"trainwreck-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(f"\0{name}")
            ready.settimeout(GIVE_UP_S)
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup",
                 "sh", str(Path(__file__).with_name("boot.sh")), str(systemd), str(base), *seen],
                env={**os.environ, "NOTIFY_SOCKET": f"@{name}"},
                preexec_fn=self.groups.join, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._await(ready)

    def _await(self, ready: socket.socket) -> None:
        """Until systemd says that the machine is up.

        Raises:
            RuntimeError: It never will be.
        """
        ready.settimeout(0.1)
        give_up_s = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up_s:
            try:
                if b"READY=1" in ready.recv(4096).splitlines():
                    return
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        self.stop()
        assert self.process.stdout is not None
        raise RuntimeError(self.process.stdout.read().decode() or "systemd never became ready")

    @property
    def first(self) -> int:
        """The pid of its systemd, as seen from here; 0: it is gone."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        words = path.read_text().split() if path.exists() else []
        return int(words[0]) if words else 0

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints there; it runs as root, beside the service."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.first), "-a", "env", "-i", "-C", "/",
             f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
             "HOME=/root", "LC_ALL=C.UTF-8", f"PYTHONPATH={self.sources}", *command],
            capture_output=True, text=True, check=False, timeout=GIVE_UP_S,
        )  # fmt: skip
        if check and done.returncode:
            status = self.run("systemctl", "status", "--no-pager", "trainwreck", check=False)
            told = self.shared / "stderr"
            errors = told.read_text() if told.exists() else ""
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{status}\n{errors}")
        return done.stdout

    def trainwreck(self, *words: str) -> str:
        """What ``trainwreck …`` prints there."""
        code = "from trainwreck_tui.cli import cli; cli()"
        return self.run(sys.executable, "-c", code, *words)

    def show(self, name: str, unit: str = "trainwreck") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def children(self, pid: str) -> list[str]:
        """The pids of a process' children there."""
        return self.run("cat", f"/proc/{pid}/task/{pid}/children").split()

    def stop(self) -> None:
        """End its first process, and so all of them."""
        if first := self.first:
            os.kill(first, signal.SIGKILL)
        self.process.wait(GIVE_UP_S)
        self.groups.remove()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One machine for the tests of a file."""
    systemd = next((path for path in SYSTEMD if path.exists()), None)
    if systemd is None:
        pytest.skip("no systemd is installed here (`apt-get install systemd`)")
    if os.geteuid():
        pytest.skip("only root can make a machine of namespaces")
    with tempfile.TemporaryDirectory(prefix="trainwreck-machine-") as name:
        try:
            made = Machine(systemd, Path(name))
        except (OSError, RuntimeError) as error:
            pytest.skip(f"this machine lets no systemd run in namespaces: {error}")
        yield made
        made.stop()


@pytest.fixture
def wait_until() -> Any:
    """Waits for a true answer."""

    def wait(true: Any, what: str) -> Any:
        give_up_s = time.monotonic() + GIVE_UP_S
        while not (answer := true()):
            assert time.monotonic() < give_up_s, what
            time.sleep(0.1)
        return answer

    return wait
