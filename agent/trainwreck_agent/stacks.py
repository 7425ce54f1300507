"""Takes the stacks of training processes when something is wrong, never as a habit.

py-spy reads another process' memory and needs ptrace permission; ``--nonblocking`` does not stop
it. Source: https://github.com/benfred/py-spy
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from trainwreck_agent.collector import Row
from trainwreck_agent.host import Host
from trainwreck_agent.journal import encode
from trainwreck_agent.processes import Process, ProcessTable
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.process import STACK

PROCESSES_MAX = 16
TIMEOUT_S = 5.0
TEXT_MAX = 16_000


def py_spy() -> str | None:
    """Path of py-spy: beside this interpreter, or on the PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def take(host: Host, reason: str, *, native: bool = False) -> Iterator[Row]:
    """Yield the Python and kernel stacks of the ranks of this host.

    ``native``: C and C++ frames too, for which py-spy must stop each process for a moment.
    """
    table = ProcessTable(host)
    found, _ = table.scan()
    tool = py_spy()
    if tool is None:
        yield _health("absent", "py-spy is not installed beside the recorder")
    ranks = [process for process in found if process.role == "training"]
    for process in sorted(ranks, key=_ranks_first)[:PROCESSES_MAX]:
        if tool is not None:
            yield from _python_stack(tool, process, reason, native=native)
        kernel = host.text(f"/proc/{process.pid}/stack")
        if kernel:
            yield _row(process, reason, "kernel", kernel)


def write(out: TextIO, reason: str, *, native: bool, lines: bool) -> None:
    """Take the stacks of this machine's ranks and write them, for people or as journal lines."""
    for row in take(Host(), reason, native=native):
        if lines:
            out.write(encode(row, time.time_ns() // 1000))
        elif row.table is STACK:
            pid, name, rank, _, tool, text = row.values
            out.write(f"{title(pid, name, rank, tool)}\n{text}\n\n")
        else:
            sys.stderr.write(f"stacks: {row.values[2]}\n")
        out.flush()


def title(pid: object, name: object, rank: object, tool: object) -> str:
    """The line above a stack."""
    named = "" if rank is None else f"rank {rank}, "
    return f"# {named}{name}, pid {pid}: {'kernel' if tool == 'kernel' else 'Python'} stack"


def _ranks_first(process: Process) -> tuple[bool, int]:
    rank = process.identity.rank
    return rank is None, rank or 0


def _python_stack(tool: str, process: Process, reason: str, *, native: bool) -> Iterator[Row]:
    how = "--native" if native else "--nonblocking"
    command = [tool, "dump", how, "--pid", str(process.pid)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield _health("error", f"py-spy on pid {process.pid}: {error}")
        return
    text = done.stdout.decode("utf-8", "replace")
    at = text.find("\nThread")  # what stands above is the command line, with its secrets
    if done.returncode == 0 and at >= 0:
        yield _row(process, reason, "py-spy", text[at + 1 :])
    else:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if native:  # no unwinding on this processor, or the process may not be stopped
            yield from _python_stack(tool, process, reason, native=False)
        yield _health(
            "denied", f"py-spy {how} on pid {process.pid}: {told[0] if told else 'no stack'}"
        )


def _row(process: Process, reason: str, tool: str, text: str) -> Row:
    values = (process.pid, process.stat.name, process.identity.rank, reason, tool, text[:TEXT_MAX])
    return Row(STACK, values)


def _health(status: str, detail: str) -> Row:
    return Row(COLLECTOR_HEALTH, ("stacks", status, detail, None, None, None, None, None))
