"""Messages survive the pipe; anything else on it is counted."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent.collector import Row
from trainwreck_agent.journal import encode
from trainwreck_agent.nvml import wire
from trainwreck_agent.nvml.progress import Progress
from trainwreck_agent.tables.gpu import GPU_PROCESS

CELLS = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.text())
ROWS = st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(st.binary()))
def test_no_bytes_raise(chunks: list[bytes]) -> None:
    decoder = wire.Decoder()
    for chunk in chunks:
        assert decoder.feed(chunk) == []
    assert decoder.bad_lines == b"".join(chunks).count(b"\n")


@given(JSON)
def test_no_other_json_raises(value: Any) -> None:
    wire.parse(json.dumps(value).encode())
    assert wire.parse(b"=1\x1e" + json.dumps(value).encode() + b"\x1e$") is None
    wire.parse(json.dumps(["devices", value]).encode())


@given(st.integers(0, 1 << 62), ROWS, st.integers(1, 64))
def test_rows_come_back_however_they_are_cut(ts_us: int, rows: list[Any], size: int) -> None:
    line = wire.rows(ts_us, [(GPU_PROCESS, list(row)) for row in rows])
    decoder = wire.Decoder()
    found: list[Any] = []
    for begin in range(0, len(line), size):
        found += decoder.feed(line[begin : begin + size])
    assert found == [[encode(Row(GPU_PROCESS, tuple(row)), ts_us) for row in rows]]
    assert decoder.bad_lines == 0
    assert not decoder.torn


@given(ROWS, st.binary().filter(lambda junk: b"\n" not in junk))
def test_a_torn_line_costs_only_itself(rows: list[Any], junk: bytes) -> None:
    line = wire.rows(7, [(GPU_PROCESS, list(row)) for row in rows])
    decoder = wire.Decoder()
    found = decoder.feed(line + line[: len(line) // 2] + junk + b"\n" + line)
    assert found == [found[0], found[0]]
    assert decoder.bad_lines == 1


def test_a_line_without_end_is_not_kept() -> None:
    decoder = wire.Decoder()
    for _ in range(10):
        assert decoder.feed(b"x" * (1 << 20)) == []
    assert decoder.torn
    assert decoder.feed(b'\n["end","absent","why"]\n') == [wire.End("absent", "why")]
    assert decoder.bad_lines == 1


@pytest.mark.parametrize(
    "line",
    [
        b"=\x1e$", b"=x\x1e$", b"=-1\x1e$", b"=1", b"=1\x1e", b"=1\x1e$\x1e$", b"=1\x1e\xff\x1e$",
        b"=99999999999999999999\x1e$", "=\u0664\x1e$".encode(), b"=1\x1egpu_process\x1e$",
    ],
)  # fmt: skip
def test_what_is_no_tick_is_refused(line: bytes) -> None:
    assert wire.parse(line) is None


def test_a_row_of_another_width_is_refused() -> None:
    whole = b"=1\x1egpu_process\tu\t1\t2\t\t\x1e$"
    assert wire.parse(whole) == ["gpu_process\t1\tu\t1\t2\t\t\t$\n"]
    assert wire.parse(whole.replace(b"2\t", b"2")) is None
    assert wire.parse(whole.replace(b"gpu_process", b"no_such_table")) is None
    for cut in range(1, len(whole)):
        assert wire.parse(whole[:cut]) is None


@given(st.text())
def test_no_text_in_a_cell_breaks_its_row(text: str) -> None:
    line = wire.rows(1, [(GPU_PROCESS, [text, 1, 2, 3, 4])])
    assert wire.parse(line[:-1]) == [encode(Row(GPU_PROCESS, (text, 1, 2, 3, 4)), 1)]


def test_progress_tells_the_call_and_its_age() -> None:
    progress = Progress()
    assert progress.call(1.0) is None
    progress.code("nvmlInit")
    progress.enter(progress.code("nvmlDeviceGetPowerUsage"), 3, 2_000_000_000, time.monotonic_ns())
    call = progress.call(1e12)
    assert call is not None
    assert (call.name, call.device, call.deadline_s) == ("nvmlDeviceGetPowerUsage", 3, 2.0)
    assert call.age_s > call.deadline_s
    progress.leave()
    assert progress.call(1e12) is None
    progress.close()
