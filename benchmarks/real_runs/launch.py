"""Starts a run in its place, does to it what is planned, and keeps what it printed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real_runs import data, place
from benchmarks.real_runs.plan import Run

SCRIPTS = Path(__file__).with_name("scripts")
_PORT = 29711


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    exit_status: int
    seconds: float
    files: dict[str, str]
    """Name and text of each log."""


def command(run: Run, python: str) -> str:
    """The shell line that starts the run in its folder."""
    train = f"train.py {run.args}"
    own = shlex.quote(python)
    alone = "" if "PET_RDZV_BACKEND" in run.env else "--standalone"
    launch = f"{own} -m torch.distributed.run {alone} --nproc-per-node {run.ranks}"
    match run.launcher:
        case "python":
            return f"exec {own} {train}"
        case "shell":
            return "bash run.sh"
        case "torchrun":
            logs = "--log-dir logs --redirects 3" if run.rank_logs else ""
            start = "--no-python bash rank.sh" if run.rank_memory_mib else train
            return f"exec {launch} {logs} {start}"
        case "deepspeed":
            return f"exec {own} -m deepspeed.launcher.runner --num_accelerators {run.ranks} {train}"
        case "processes":
            return "\n".join(
                [
                    f"export MASTER_ADDR=${{MASTER_ADDR:-127.0.0.1}} MASTER_PORT={_PORT}",
                    f"export WORLD_SIZE=${{WORLD_SIZE:-{run.ranks}}}",
                    *(
                        f"RANK={r} LOCAL_RANK={r} {own} {train} > rank{r}.log 2>&1 & p{r}=$!"
                        for r in range(run.ranks)
                    ),
                    "worst=0",
                    *(f"wait $p{r} || worst=$?" for r in range(run.ranks)),
                    "exit $worst",
                ]
            )


def play(run: Run, python: str, folder: Path) -> Outcome:
    """Runs it from an empty folder.

    Raises:
        TimeoutError: It neither ended by its deadline nor was meant to be cut there.
    """
    _prepare(run, python, folder)
    kernel = place.Kernel() if run.kernel else None
    with place.groups(run) as groups, (folder / "train.log").open("wb") as log:
        head = [
            groups,
            place.mounts(run, folder),
            *_exports(run, python),
            "ulimit -c 0",
            run.prepare,
        ]
        body = command(run, python)
        if run.limits:
            (folder / ".start").write_text(body + "\n")
            body = f"exec {run.limits} bash .start"
        started_s = time.monotonic()
        process = subprocess.Popen(
            ["unshare", "--mount", "--ipc", "bash", "-c", "\n".join([*filter(None, head), body])],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=_hears_ctrl_c,
        )  # fmt: skip
        try:
            status = _watch(run, process, folder, started_s)
        finally:
            _end(process)
        seconds = time.monotonic() - started_s
    lines = kernel.lines() if kernel else []
    return Outcome(status, seconds, _collected(run, folder, python, lines))


def _hears_ctrl_c() -> None:
    """Undo what a shell does to its background jobs: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exports(run: Run, python: str) -> list[str]:
    env = {
        "PYTHON": python,
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    return [f"export {k}={shlex.quote(v)}" for k, v in (env | run.env).items()]


def _prepare(run: Run, python: str, folder: Path) -> None:
    data.make(folder / "data")
    (folder / "out").mkdir()
    shutil.copy(SCRIPTS / run.script, folder / "train.py")
    shutil.copy(SCRIPTS / "augment.c", folder)
    (folder / "run.sh").write_text(
        f"{shlex.quote(python)} train.py {run.args}\n"
        'status=$?\necho "train.py ended with status $status"\nexit $status\n'
    )
    (folder / "rank.sh").write_text(
        "echo $$ > ${RANK_GROUP}${RANK}/cgroup.procs\n"
        f"exec {shlex.quote(python)} train.py {run.args}\n"
    )
    for arguments in run.before:
        with (folder / "before.out").open("wb") as out:
            subprocess.run(
                ["bash", "-c", f"{shlex.quote(python)} train.py {arguments}"],
                cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=out,
                stderr=subprocess.STDOUT, check=True, timeout=run.deadline_s,
            )  # fmt: skip
        (folder / "before.out").unlink()


def _watch(run: Run, process: subprocess.Popen[bytes], folder: Path, started_s: float) -> int:
    sent = not run.signal
    while process.poll() is None:
        if not sent and re.search(run.after, _so_far(folder)):
            _send(run, process.pid)
            sent = True
        if time.monotonic() - started_s > run.deadline_s:
            if run.ends == "cut":
                return -signal.SIGKILL
            raise TimeoutError(f"{run.name}: still runs after {run.deadline_s} s")
        time.sleep(0.05)
    if not sent:
        raise TimeoutError(f"{run.name}: ended before {run.after!r} stood in its log")
    return process.returncode


def _so_far(folder: Path) -> str:
    files = [*folder.glob("*.log"), *folder.glob("logs/**/*.log")]
    return "\n".join(f.read_text(errors="replace") for f in files)


def _send(run: Run, pid: int) -> None:
    number = signal.Signals[f"SIG{run.signal}"]
    below = place.descendants(pid)
    if run.to == "group":
        os.killpg(pid, number)
    elif run.to == "launcher":
        os.kill(pid, number)
    elif run.to == "child":
        os.kill(below[0], number)
    elif run.to == "worker":
        os.kill(below[-1], number)
    else:
        ranked = [p for p in below if place.rank_of(p) == int(run.to)]
        if not ranked:
            raise ValueError(f"{run.name}: no process says RANK={run.to}")
        os.kill(ranked[0], number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a run; only what it started itself."""
    left = [process.pid, *place.descendants(process.pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _collected(run: Run, folder: Path, python: str, kernel: list[str]) -> dict[str, str]:
    files = {}
    for path in sorted([*folder.glob("*.log"), *folder.glob("logs/**/*.log")]):
        text = path.read_bytes().decode("utf-8", errors="replace")
        name = path.name if path.parent == folder else f"rank{path.parent.name}-{path.name}"
        if text:
            files[name] = redacted(text, folder, python)
    if kernel:
        files["dmesg.txt"] = redacted("\n".join(kernel) + "\n", folder, python)
    return files or {"train.log": ""}


def redacted(text: str, folder: Path, python: str) -> str:
    """The text without this machine's paths and name."""
    for real, told in (
        (str(folder), "/data/run"),
        (str(folder.resolve()), "/data/run"),
        (str(Path(python).parent.parent), "/opt/env"),
        (sys.base_prefix, "/opt/python"),
    ):
        text = text.replace(real, told)
    text = re.sub(r"/root/venv[\w-]*", "/opt/env", text)
    text = re.sub(r"/root/\.pyenv/versions/[\d.]+", "/opt/python", text)
    name = re.escape(socket.gethostname())
    return re.sub(rf"(?<![\w-]){name}(?![\w-])", "node1", text)
