"""File systems that really hang, and those of another mount namespace (root, FUSE)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
GIVE_UP_S = 60.0
pytestmark = pytest.mark.fault

DEAD_SERVER = """
import json, os, struct, sys, threading
from pathlib import Path
from benchmarks.fuse import Files
from trainwreck_agent.collectors.filesystem import Filesystem
from trainwreck_agent.host import Host

STATFS = 17
kept = []

class Dead(Files):
    def answer(self, request):
        if struct.unpack_from("<I", request, 4)[0] == STATFS and not lives.is_set():
            kept.append(request)
        else:
            super().answer(request)

lives = threading.Event()
served = Dead(Path(sys.argv[1]))
threading.Thread(target=served.serve, daemon=True).start()
collector = Filesystem(Host())

def look():
    rows = list(collector.collect())
    told = [[str(v) for v in row.values[:3]] for row in rows if row.table.name != "filesystem"]
    return {"mounts": [row.values[0] for row in rows if row.table.name == "filesystem"], "told": told}

looks = [look(), look()]
lives.set()
for request in kept:
    served.answer(request)
looks.append(look())
print(json.dumps(looks), flush=True)
os._exit(0)
"""

ROWS = """
import json
from trainwreck_agent.collectors.filesystem import Filesystem
from trainwreck_agent.host import Host
rows = [row.values for row in Filesystem(Host()).collect() if row.table.name == "filesystem"]
print(json.dumps({row[0]: row[3] for row in rows}))
"""


def apart(*command: str) -> Any:
    """What a command prints in a mount namespace of its own; skips where there is none."""
    if os.geteuid():
        pytest.skip("only root can mount")
    paths = [str(PROJECT / name) for name in ("", "agent")]
    done = subprocess.run(
        ["unshare", "--mount", *command], capture_output=True, text=True, check=False,
        timeout=GIVE_UP_S, env={**os.environ, "PYTHONPATH": ":".join(paths)},
    )  # fmt: skip
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_server_that_is_dead_hides_no_other_file_system(tmp_path: Path) -> None:
    """Its statvfs() waits in the kernel, where no signal reaches it."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no FUSE here")
    own = ["--pid", "--fork", "--mount-proc"]
    looks = apart(*own, sys.executable, "-c", DEAD_SERVER, str(tmp_path))
    name, kind = f"filesystem{tmp_path}", "fuse from trainwreck-test"
    assert [look["told"] for look in looks] == [
        [[name, "hang", f"{kind}: no answer for 2 s"]],
        [],
        [[name, "ok", f"{kind}: answered after 2 s"]],
    ]
    assert all("/dev/shm" in look["mounts"] for look in looks)
    assert [str(tmp_path) in look["mounts"] for look in looks] == [False, False, True]


def test_a_container_is_told_of_the_file_systems_of_the_host(tmp_path: Path) -> None:
    """It has other ones at the same places: a small /dev, an overlay for a root."""
    look = f"{sys.executable} -c '{ROWS}'"
    hide = f"mount -t tmpfs -o size=64k tmpfs /dev/shm; mount -t tmpfs tmpfs {tmp_path}; "
    (tmp_path / "inside").write_text(hide + look)
    (tmp_path / "init").write_text(
        f"echo [; {look}; echo ,; unshare --mount sh {tmp_path}/inside; echo ]"
    )
    outside, inside = apart("--pid", "--fork", "--mount-proc", "sh", str(tmp_path / "init"))
    assert inside == outside
    assert outside["/dev/shm"] > 64 << 10
