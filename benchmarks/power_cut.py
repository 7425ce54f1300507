"""The power fails while it records: ``python -m benchmarks.power_cut [--times 20]`` (Linux, root).

The data directory lies on a file system on a disk of this program's own (a loop device over ``fuse.py``),
which knows what was flushed and what is only in the disk's cache. A cut keeps what was flushed, and
of the writes after that a random part in random order of sectors, as a disk does. The image is
mounted as a machine that starts again would do it, everything is read, and the next recorder goes on
with it and seals what was left; every fourth turn begins with an empty disk. Exit code 1 if it cannot be read, or if a tick is gone that must be
on disk: every one that was to be read before the cut, but the newest, whose flush may not have ended.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import duckdb
from trainwreck_agent.layout import Layout

from benchmarks.fuse import Files
from benchmarks.kill import INTERVAL, ticks, wait_for

MAKE = {
    "ext4": (96 << 20, "mkfs.ext4 -q -F -E lazy_itable_init=0,nodiscard", "commit=1"),
    "xfs": (320 << 20, "mkfs.xfs -q -f -K", ""),
    "btrfs": (256 << 20, "mkfs.btrfs -q -f -K --mixed", "commit=1"),
}
"""For each kind of file system: size in bytes of its disk, how it is made, how it is mounted."""
SECTOR_BYTES = 512
BEGIN_EVERY = 4
WAIT_S = 10.0
FIRST_MOMENTS = ("start", "tick", "prepared")
MOMENTS = ("start", "tick", "seal", "sealed")


T = TypeVar("T")


class Disk(Files):
    """A disk with a volatile cache."""

    def __init__(self, folder: Path, image: bytes) -> None:
        self.size = len(image)
        super().__init__(folder)
        self.durable = bytearray(image)
        self.now = bytearray(image)
        self.pending: list[tuple[int, bytes]] = []

    def read(self, offset: int, size: int) -> bytes:
        """What was written last."""
        return bytes(self.now[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Into the cache."""
        self.now[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def flush(self) -> None:
        """Everything in the cache is on the plates."""
        for offset, data in self.pending:
            self.durable[offset : offset + len(data)] = data
        self.pending.clear()

    def cut(self, draw: random.Random) -> bytes:
        """What a machine finds that starts again."""
        image = bytearray(self.durable)
        share = draw.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in self.pending:
            for at in range(0, len(data), SECTOR_BYTES):
                if draw.random() < share:
                    part = data[at : at + SECTOR_BYTES]
                    image[offset + at : offset + at + len(part)] = part
        return bytes(image)


def serve(folder: Path, image: Path, asked: Connection, seed: int) -> None:
    """The disk's own process: it must answer while others wait for it."""
    disk = Disk(folder, image.read_bytes())
    asked.send("ready")
    draw = random.Random(seed)
    from select import select

    while True:
        ready, _, _ = select([disk, asked], [], [])
        if asked in ready:
            asked.recv()
            image.write_bytes(disk.cut(draw))
            asked.send(len(disk.pending))
            break
        disk.answer(os.read(disk.fileno(), (1 << 20) + 4096))
    disk.serve()  # what still writes there writes to a machine that is no more


class Machine:
    """A mounted file system whose power can be cut."""

    def __init__(self, base: Path, image: Path, kind: str, seed: int) -> None:
        self.data = base / "mnt" / "data"
        self._mount = base / "mnt"
        self._fuse = base / "fuse"
        self._mount.mkdir(exist_ok=True)
        self._fuse.mkdir(exist_ok=True)
        self._ask, answer = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        self._disk = fork.Process(target=serve, args=(self._fuse, image, answer, seed), daemon=True)
        self._disk.start()
        self._ask.recv()
        made = _run("losetup", "--find", "--show", str(self._fuse / "disk"))
        self._loop = made.strip()
        options = ",".join(filter(None, ("noatime", MAKE[kind][2])))
        _run("mount", "-t", kind, "-o", options, self._loop, str(self._mount))

    def cut(self) -> int:
        """Cut the power; the number of writes that were in the disk's cache only."""
        self._ask.send("cut")
        return int(self._ask.recv())

    def remove(self) -> None:
        """Clear away what is left of it."""
        for _ in range(100):
            done = subprocess.run(["umount", str(self._mount)], check=False, capture_output=True)
            if not done.returncode:
                break
            time.sleep(0.1)
        subprocess.run(["losetup", "--detach", self._loop], check=False)
        subprocess.run(["umount", "-l", str(self._fuse)], check=False)
        self._disk.join(20)
        if self._disk.is_alive():
            self._disk.kill()


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


@contextmanager
def recording(data: Path) -> Iterator[None]:
    """A recorder; it and all its children are gone in the end."""
    command = [sys.executable, "-m", "trainwreck_agent", "record", "--data", str(data)]
    process = subprocess.Popen(
        [*command, "--interval", INTERVAL], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Check:
    """What must be there after every cut."""

    def __init__(self) -> None:
        self.must: set[int] = set()
        self.bad: list[str] = []
        self.seen: set[int] = set()

    def before(self, folder: Path) -> None:
        """What can be read now; all but the newest tick has been flushed."""
        if (folder / "meta.json").exists():
            found = _apart(ticks, folder)
            self.must |= set(found[:-1])

    def after(self, turn: int, folder: Path) -> None:
        """Read everything as a machine that starts again does."""
        if not (folder / "meta.json").exists():
            if self.must:
                self.bad.append(f"turn {turn}: the data directory is gone")
            return
        try:
            found = _apart(ticks, folder)
            _apart(query_database, folder)
        except Exception as error:  # noqa: BLE001 — whatever it is, it is the finding
            self.bad.append(f"turn {turn}: unreadable: {error}")
            return
        if len(set(found)) != len(found):
            self.bad.append(f"turn {turn}: {len(found) - len(set(found))} ticks are there twice")
        if lost := self.must - set(found):
            self.bad.append(f"turn {turn}: {len(lost)} flushed ticks are gone")
        self.must |= set(found)
        self.seen |= set(found)


def query_database(folder: Path) -> None:
    """As another program reads it: through the file of the views, once that is there."""
    path = Layout(folder).database
    if path.exists():
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("SELECT count(*) FROM memory").fetchall()


def _apart(call: Callable[[Path], T], folder: Path) -> T:
    """What it returns, called in a process of its own: it holds no file of the folder afterwards."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(call, (folder,))


def run(
    times: int, kind: str, seed: int, base: Path, when: Sequence[str] = ()
) -> tuple[Check, Counter[str]]:
    """Cut the power so many times, after these moments if they are named; what was found."""
    draw = random.Random(seed)
    image = base / "image"
    check, moments = Check(), Counter[str]()
    for turn in range(times):
        begins = turn % BEGIN_EVERY == 0
        if begins:
            make_empty(image, kind)
            check.must.clear()
        machine = Machine(base, image, kind, draw.randrange(1 << 30))
        try:
            with recording(machine.data):
                drawn = draw.choice(FIRST_MOMENTS if begins else MOMENTS)
                moment = when[turn] if when else drawn
                wait_for(machine.data, moment, WAIT_S)
                time.sleep(draw.uniform(0.0, 1.0))
                check.before(machine.data)
                pending = machine.cut()
            moments[moment] += 1
            moments["writes in the cache"] += pending
        finally:
            machine.remove()
        _look(turn, base, image, kind, check)
    return check, moments


def make_empty(image: Path, kind: str) -> None:
    """An empty file system in that file."""
    size_bytes, command, _ = MAKE[kind]
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run(*command.split(), str(image))


def _look(turn: int, base: Path, image: Path, kind: str, check: Check) -> None:
    """Mount a copy of the image where the data was, read it, and leave the image as it was cut."""
    copy, folder = base / "copy", base / "mnt"
    shutil.copyfile(image, copy)
    _run("mount", "-t", kind, "-o", "loop,noatime", str(copy), str(folder))
    try:
        check.after(turn, folder / "data")
    finally:
        _run("umount", str(folder))


def main() -> None:
    """Cut, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--file-system", choices=MAKE, default="ext4")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="trainwreck-power-") as name:
        check, moments = run(options.times, options.file_system, options.seed, Path(name))
    for line in check.bad:
        print(line)
    print(
        f"{options.file_system}, {options.times} power cuts (after {dict(moments)}), seed {options.seed}:"
        f" {len(check.bad)} bad; {len(check.seen)} ticks"
    )
    sys.exit(1 if check.bad else 0)


if __name__ == "__main__":
    main()
