"""When stacks are taken, by whom, and where they end up."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent import stack_taker, stacks, store
from trainwreck_agent.collector import Row
from trainwreck_agent.idle import IdleWatch
from trainwreck_agent.journal import encode
from trainwreck_agent.layout import Layout
from trainwreck_agent.schema import Table
from trainwreck_agent.stack_taker import Order, StackTaker
from trainwreck_agent.tables.gpu import GPU, GPU_PROCESS
from trainwreck_agent.tables.process import PROCESS

ROOT = Path(__file__).parents[2]


def row(table: Table, **values: Any) -> Row:
    assert values.keys() <= {column.name for column in table.columns}
    return Row(table, tuple(values.get(column.name) for column in table.columns))


def rank(number: int, ticks: int, job: str = "7", **more: Any) -> Row:
    values = {"role": "training", "rank": number, "job": job, **more}
    return row(PROCESS, pid=100 + number, started_us=1, user_ticks=ticks, system_ticks=0, **values)


def reasons(
    watch: IdleWatch, ticks: Callable[[int], Sequence[Row | str]], seconds: int
) -> list[str]:
    return [why for second in range(seconds) for why in watch.observe(ticks(second), second)]


def test_a_job_whose_ranks_all_stopped_working_is_told_once() -> None:
    watch = IdleWatch()
    found = reasons(watch, lambda s: [rank(n, 100 * min(s, 20)) for n in range(4)], 120)
    assert found == ["all 4 ranks of job 7 here use no processor for 31 s"]


def test_work_that_resumes_arms_it_again() -> None:
    watch = IdleWatch()

    def ticks(s: int) -> list[Row]:
        return [rank(0, 100 * (min(s, 20) + (s - 60 if s > 60 else 0) - max(s - 70, 0)))]

    assert len(reasons(watch, ticks, 150)) == 2


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("one rank still works", lambda s: [rank(0, 100 * min(s, 20)), rank(1, 100 * s)]),
        ("they have not worked yet", lambda s: [rank(0, min(s, 20))]),
        ("a launcher only waits", lambda s: [rank(0, 100 * min(s, 20), **{"rank": None})]),
        ("a child of a rank", lambda s: [rank(0, 100 * min(s, 20), role="child")]),
        ("another job works", lambda s: [rank(0, 100 * s, job="8"), rank(1, 9, job="7")]),
    ],
)
def test_no_reason(name: str, rows: Callable[[int], list[Row]]) -> None:
    assert reasons(IdleWatch(), rows, 100) == [], name


def gpu(**values: Any) -> list[Row | str]:
    known: dict[str, Any] = {
        "uuid": "GPU-a", "gpu_index": 3, "utilization_percent": 100, "power_w": 112.0,
        "power_limit_w": 700.0, "pcie_sent_bytes": 5, "pcie_received_bytes": 5,
        "nvlink_sent_bytes": 0, "nvlink_received_bytes": 0,
    }  # fmt: skip
    return [
        encode(row(GPU_PROCESS, uuid="GPU-a", pid=100), 0),
        row(PROCESS, pid=100, role="training", rank=0, started_us=1, user_ticks=1, system_ticks=1),
        encode(row(GPU, **(known | values)), 0),
    ]


def test_a_gpu_busy_at_idle_watts_with_no_bytes_moving() -> None:
    assert reasons(IdleWatch(), lambda s: gpu(), 100) == [
        "GPU 3 (GPU-a) is busy at 112 W of 700 W with no bytes moving for 31 s"
    ]


@pytest.mark.parametrize(
    "rows",
    [
        lambda s: gpu(power_w=400.0),
        lambda s: gpu(utilization_percent=50),
        lambda s: gpu(pcie_sent_bytes=s * 100_000_000),
        lambda s: gpu(nvlink_received_bytes=s * 100_000_000),
        lambda s: gpu(pcie_sent_bytes=None, pcie_received_bytes=None, nvlink_sent_bytes=None,
                      nvlink_received_bytes=None),
        lambda s: gpu(power_limit_w=None),
        lambda s: gpu()[1:],
        lambda s: gpu(power_w=400.0 if s % 20 == 0 else 112.0),
    ],
)  # fmt: skip
def test_a_gpu_that_works_or_tells_too_little(rows: Callable[[int], list[Row | str]]) -> None:
    assert reasons(IdleWatch(), rows, 100) == []


@given(st.text(max_size=50), st.booleans())
def test_an_order_is_read_as_it_was_written(reason: str, native: bool) -> None:
    order = stack_taker.parse(Order(reason.replace("\t", " "), native).to_bytes())
    assert order is not None
    assert order.native is native
    assert order.reason.isprintable()


@given(st.binary(max_size=100))
def test_any_bytes_are_an_order_or_none(data: bytes) -> None:
    assert stack_taker.parse(data) is None or data.startswith((b"native\t", b"python\t"))


FAKE = (
    "import sys; print('stack\\t5\\t9\\tpython\\t0\\t' + sys.argv[2] + '\\tpy-spy\\tf()\\t$');"
    "print('no line of ours'); print('stack\\ttorn', end='')"
)


@pytest.fixture
def taker(layout: Layout) -> Iterator[StackTaker]:
    made = StackTaker(layout, (sys.executable, "-c", FAKE))
    yield made
    made.stop()


def test_what_was_asked_for_is_answered_when_it_is_on_record(
    layout: Layout, taker: StackTaker
) -> None:
    path = Path(stack_taker.request(layout, Order("I ask", False)))
    taker.check(0.0)
    lines: list[Any] = []
    while taker.fileno() >= 0:
        assert select.select([taker.fileno()], [], [], 30)[0]
        lines += taker.read()
    assert lines == ["stack\t5\t9\tpython\t0\tI ask\tpy-spy\tf()\t$\n"]
    while taker._pid:
        taker.check(1.0)
    assert path.exists(), "the rows are not on disk before the tick ends"
    taker.check(2.0)
    assert not path.exists()


def test_an_order_for_a_recorder_that_is_gone_is_thrown_away(
    layout: Layout, taker: StackTaker
) -> None:
    path = Path(stack_taker.request(layout, Order("I ask", False)))
    os.utime(path, (time.time() - 120,) * 2)
    taker.check(0.0)
    assert taker.fileno() < 0
    assert not path.exists()


def test_one_that_takes_too_long_is_given_up_and_told(layout: Layout) -> None:
    taker = StackTaker(layout, (sys.executable, "-c", "import time; time.sleep(600)"))
    stack_taker.request(layout, Order("I ask", False))
    taker.check(0.0)
    (told,) = taker.check(1000.0)
    assert told.values[1] == "hang"
    os.waitpid(taker._pid, 0)


def test_no_program_to_take_them_is_told(layout: Layout) -> None:
    taker = StackTaker(layout, ("/nonexistent/python",))
    stack_taker.request(layout, Order("I ask", False))
    taker.check(0.0)
    (told,) = taker.read()
    assert isinstance(told, Row)
    assert told.values[1:3] == ("error", "stacks were wanted (I ask): No such file or directory")
    taker.check(1.0)
    assert not (layout.state / stack_taker.REQUEST).exists()


CODE = (
    "import time\ndef waits_for_nobody():\n    print(flush=True)\n    time.sleep(600)\n"
    "waits_for_nobody()"
)


@pytest.fixture
def waiting_rank() -> Iterator[subprocess.Popen[bytes]]:
    if stacks.py_spy() is None:
        pytest.skip("py-spy is not installed")
    environment = {**os.environ, "RANK": "5", "WORLD_SIZE": "8"}
    with subprocess.Popen(
        [sys.executable, "-c", CODE], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def trainwreck(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("agent", "analyzer", "tui"))
    return subprocess.run(
        [sys.executable, "-m", "trainwreck_tui", *arguments],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_stacks_on_request_are_printed(waiting_rank: subprocess.Popen[bytes]) -> None:
    done = trainwreck("stacks")
    if "ermission" in done.stderr:
        pytest.skip(f"py-spy may not read processes here: {done.stderr}")
    assert f", pid {waiting_rank.pid}: Python stack" in done.stdout
    assert "# rank 5, " in done.stdout
    assert "waits_for_nobody" in done.stdout


def test_stacks_on_request_are_on_record(
    waiting_rank: subprocess.Popen[bytes], record: Any, tmp_path: Path
) -> None:
    running = record()
    running.wait_ticks()
    done = trainwreck("stacks", "--data", str(running.data), "--reason", "to see")
    if "ermission" in done.stderr:
        pytest.skip(f"py-spy may not read processes here: {done.stderr}")
    assert "waits_for_nobody" in done.stdout, done.stderr
    found = store.connect([running.data]).execute(
        "SELECT DISTINCT reason FROM stack WHERE pid = ?", [waiting_rank.pid]
    )
    assert found.fetchall() == [("to see",)]


def test_no_recorder_to_ask(tmp_path: Path) -> None:
    done = trainwreck("stacks", "--data", str(tmp_path))
    assert done.returncode != 0
    assert "no recorder runs there" in done.stderr
