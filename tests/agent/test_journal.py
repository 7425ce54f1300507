"""Whatever a collector says comes back the same; whatever happens to the file, the rest does."""

from __future__ import annotations

import errno
import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainwreck_agent import store, views
from trainwreck_agent.collector import Row, Value
from trainwreck_agent.journal import Journal, encode, encode_all
from trainwreck_agent.layout import Layout
from trainwreck_agent.tables.events import COLLECTOR_HEALTH, KERNEL_EVENT, TRAINING_EVENT
from trainwreck_agent.writer import Writer

CONNECTION = duckdb.connect()
TICK_US = 1_700_000_000_000_000
QUERY = "SELECT path, line, kind, rank, step, loss, text FROM training_event ORDER BY line"


def row(line: int, text: Value, loss: float | None = None, path: Value = "p") -> Row:
    return Row(TRAINING_EVENT, (path, line, "alarm", None, line, loss, *(None,) * 4, text))


def read(layout: Layout, columns: str = "line") -> list[tuple[Any, ...]]:
    """Rows of the one view over the journals, without making the others."""
    view = views.select(TRAINING_EVENT, layout.root, "h", sealed=False)
    return CONNECTION.execute(f"SELECT {columns} FROM ({view}) ORDER BY line").fetchall()


def written(layout: Layout, data: bytes) -> Path:
    path = layout.journal_path(1)
    path.write_bytes(data)
    return path


def stored(text: str) -> str:
    """A text as it may be kept: control characters and lone surrogates stand as '?'."""
    bad = {n: "?" for n in (*range(32), *range(127, 160)) if chr(n) not in "\t\n"}
    return text.translate(bad).encode("utf-8", "replace").decode()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(st.characters(codec=None, exclude_categories=[]), max_size=40),
            st.text("\\tnz\t\n$\0'\"\r,;\x1f", max_size=12),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_text_comes_back(layout: Layout, texts: list[str | None]) -> None:
    rows = [row(n, text, path=text) for n, text in enumerate(texts)]
    written(layout, "".join(encode(one, TICK_US) for one in rows).encode())
    got = read(layout, "path, text")
    expected = [None if text is None else stored(text) for text in texts]
    assert sorted(map(str, got)) == sorted(str((one, one)) for one in expected)


@pytest.mark.parametrize(
    "text", ["", "\\", "\\z", "\\n", "\t", "\n", "$", "\t$\n", "ключ", "日本", "🔥", "a\\\\tb", " "]
)
def test_texts_that_look_like_the_format_come_back(layout: Layout, text: str) -> None:
    written(layout, encode(row(1, text), TICK_US).encode())
    got = read(layout, "text")
    assert got == [(text,)]


def test_numbers_and_their_absence_come_back(layout: Layout) -> None:
    values = [0.0, -1.5, 1e300, math.inf, -math.inf, None, 2**53 + 0.0]
    rows = [row(n, None, value) for n, value in enumerate(values)]
    rows.append(row(len(values), None, math.nan))
    written(layout, "".join(encode(one, TICK_US) for one in rows).encode())
    got = [loss for (loss,) in read(layout, "loss")]
    assert got[:-1] == values
    assert math.isnan(got[-1])


def test_members_of_a_string_enumeration_are_text(layout: Layout) -> None:
    class Status(StrEnum):
        OK = "o\tk"

    written(layout, encode(row(1, Status.OK), TICK_US).encode())
    got = read(layout, "text")
    assert got == [("o\tk",)]


def test_a_row_has_the_time_of_its_event_or_of_its_tick(layout: Layout) -> None:
    event = Row(KERNEL_EVENT, ("b", 1, 3, 0, 5, "x"), TICK_US - 7)
    tick = Row(KERNEL_EVENT, ("b", 2, 3, 0, 5, "x"))
    written(layout, (encode(event, TICK_US) + encode(tick, TICK_US)).encode())
    got = store.connect([layout.root]).execute(
        "SELECT epoch_us(ts), seq FROM kernel_event ORDER BY 2"
    )
    assert got.fetchall() == [(TICK_US - 7, 1), (TICK_US, 2)]


def test_a_row_of_the_wrong_width_is_left_out_and_told() -> None:
    good, bad = row(1, "x"), Row(COLLECTOR_HEALTH, ("only one",))
    lines, wrong = encode_all([good, bad, "a line\n"], TICK_US)
    assert lines == [encode(good, TICK_US), "a line\n"]
    assert wrong == ["collector_health: 1 values for 8 columns"]


def test_every_prefix_of_a_journal_is_readable(layout: Layout) -> None:
    """Power cuts: a file that ends anywhere loses the row it ends in, and lies about none."""
    texts = ["$", "\t$", "日本\\", None]
    lines = [encode(row(n, text, n / 3), TICK_US).encode() for n, text in enumerate(texts)]
    whole = b"".join(lines)
    path = written(layout, whole)
    connection = store.connect([layout.root])
    every = connection.execute(QUERY).fetchall()
    assert [r[6] for r in every] == texts
    ends = [sum(map(len, lines[: n + 1])) for n in range(len(lines))]
    for cut in range(len(whole) + 1):
        os.truncate(path, 0)
        path.write_bytes(whole[:cut])
        complete = sum(end - 1 <= cut for end in ends)  # the line feed itself may be missing
        assert connection.execute(QUERY).fetchall() == every[:complete], cut


def test_blocks_that_were_allocated_and_never_written_are_skipped(layout: Layout) -> None:
    line = encode(row(1, "kept"), TICK_US).encode()
    written(layout, line + b"\0" * 8192)
    assert read(layout) == [(1,)]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_garbage_costs_no_row_beside_it(layout: Layout, middle: bytes, end: bytes) -> None:
    first, second = (encode(row(n, "kept"), TICK_US).encode() for n in (1, 2))
    written(layout, first + middle + b"\n" + second + end)
    assert read(layout) == [(1,), (2,)]


@pytest.mark.parametrize("garbage", [b"x" * 5_000_000, b"\xff" * 100_000, b'"\n"\n', b"\r\r\r"])
def test_large_and_strange_garbage(layout: Layout, garbage: bytes) -> None:
    lines = [encode(row(n, "kept"), TICK_US).encode() for n in (1, 2)]
    written(layout, lines[0] + garbage + b"\n" + lines[1])
    assert read(layout) == [(1,), (2,)]


def test_foreign_files_in_the_folders_harm_nobody(layout: Layout) -> None:
    store.prepare(layout)
    written(layout, encode(row(1, "kept"), TICK_US).encode())
    (layout.journal / "copy of 1.tsv").write_text("x")
    (layout.journal / ".0000000001.tsv.swp").write_bytes(b"\0")
    (layout.journal / "1 (copy).tsv").write_text("x")
    (layout.sealed / "a-b.c").touch()
    (layout.sealed / "0000000001-000000000x.0000000000000001").touch()
    (layout.segments / "training_event" / ".half.parquet").write_bytes(b"PAR1")
    view = views.select(TRAINING_EVENT, layout.root, "h")
    assert CONNECTION.execute(f"SELECT line FROM ({view})").fetchall() == [(1,)]
    assert layout.journals() == [0, 1]
    assert layout.spans() == []


def test_a_new_journal_never_touches_an_old_one_or_a_link(layout: Layout, tmp_path: Path) -> None:
    target = tmp_path / "target"
    layout.journal_path(1).symlink_to(target)
    with pytest.raises(FileExistsError):
        Journal(layout)._create()
    assert not target.exists()


def test_a_batch_that_does_not_fit_leaves_no_half_line(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(layout)
    journal.append(["first\n"])
    real = os.write

    def full(fd: int, data: bytes) -> int:
        real(fd, bytes(data)[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        journal.append(["second\n"])
    monkeypatch.setattr(os, "write", real)
    assert layout.journal_path(journal.number).read_text() == "first\n"


def test_a_half_line_that_cannot_be_cut_off_swallows_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No truncation, no new file: what comes next begins a line of its own."""
    journal = Journal(layout)
    real_write, real_open = os.write, os.open

    def torn(fd: int, data: bytes) -> int:
        real_write(fd, bytes(data)[:3])
        raise OSError(errno.EIO, "torn")

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "write", torn)
    monkeypatch.setattr(os, "ftruncate", refuse)
    monkeypatch.setattr(os, "open", refuse)
    line = encode(row(1, "kept"), TICK_US)
    with pytest.raises(OSError, match="read-only"):
        journal.append([line])
    monkeypatch.setattr(os, "write", real_write)
    monkeypatch.setattr(os, "open", real_open)
    journal.append([line])
    table = views.rows(TRAINING_EVENT, views.lines(str(layout.journal_path(1))))
    assert len(CONNECTION.execute(table).fetchall()) == 1


def test_rows_wait_in_memory_while_the_disk_is_full(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(layout)
    full = OSError(errno.ENOSPC, "No space left on device")
    real = Journal.append
    monkeypatch.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(full))
    (told,) = writer.write(["1\n"])
    assert told.values[1] == "error"
    assert writer.behind
    assert writer.write(["2\n"]) == []  # said once
    monkeypatch.setattr(Journal, "append", real)
    (told,) = writer.write(["3\n"])
    assert told.values[1] == "ok"
    assert not writer.behind
    assert layout.journal_path(writer.journal.number).read_text() == "1\n2\n3\n"


def test_what_does_not_fit_in_memory_is_counted(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwreck_agent.writer.KEPT_MAX_BYTES", 10)
    writer = Writer(layout)
    real = Journal.append
    full = OSError(errno.ENOSPC, "full")
    monkeypatch.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(full))
    for n in range(5):
        writer.write([f"{n}abc\n"])
    monkeypatch.setattr(Journal, "append", real)
    (told,) = writer.write([])
    assert told.values[1] == "lost"
    assert told.values[5] == 3
    assert layout.journal_path(writer.journal.number).read_text() == "3abc\n4abc\n"
