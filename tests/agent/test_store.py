"""Data directories as databases: moved, copied, many at once, from any DuckDB, by anybody."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from trainwreck_agent import store
from trainwreck_agent.layout import DataDirectoryError, Layout
from trainwreck_agent.schema import tables

CONTRACT = Path(__file__).with_name("contract.txt")
OLDEST_DUCKDB = Path("/root/v14/bin/python")
HEALTH = "collector_health\t{ts}\tc\tok\t{detail}\t\t\t\t\t\t$\n"


def fill(layout: Layout, detail: str) -> None:
    layout.journal_path(1).write_text(HEALTH.format(ts=1_700_000_000_000_000, detail=detail))


def told(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT detail FROM collector_health ORDER BY detail").fetchall()
    return [detail for (detail,) in rows]


def dump(connection: duckdb.DuckDBPyConnection) -> str:
    """Views with their columns' types and comments, a line each."""
    rows = connection.execute(
        "SELECT v.view_name, v.comment, c.column_name, c.data_type, c.comment"
        " FROM duckdb_views() v JOIN duckdb_columns() c"
        " ON c.database_name = v.database_name AND c.table_name = v.view_name"
        " WHERE NOT v.internal ORDER BY v.view_name, c.column_index"
    ).fetchall()
    lines: list[str] = []
    for view, comment, column, kind, meaning in rows:
        head = f"{view}: {comment}"
        if head not in lines:
            lines += ["", head]
        lines.append(
            f"    {column} {kind.removesuffix(' WITH TIME ZONE')}"
            + (f": {meaning}" if meaning else "")
        )
    return "\n".join(lines[1:]) + "\n"


def test_the_contract_is_the_one_that_was_agreed(
    layout: Layout, request: pytest.FixtureRequest
) -> None:
    """A change shows here first; ``pytest tests/agent/test_store.py --update-contract`` takes it."""
    store.prepare(layout)
    with duckdb.connect(str(layout.database), read_only=True) as connection:
        got = dump(connection)
    if request.config.getoption("--update-contract", default=False):
        CONTRACT.write_text(got)
    assert got == CONTRACT.read_text()


def test_every_column_of_the_contract_has_a_meaning() -> None:
    for table in tables().values():
        assert table.help
        for column in table.columns:
            assert column.help, f"{table.name}.{column.name}"


def test_what_a_power_cut_emptied_is_made_again(layout: Layout) -> None:
    """XFS keeps names without content: a view would not read such a segment, ever."""
    store.prepare(layout)
    fill(layout, "here")
    first = next(layout.segments.glob("memory/0000000000-*.parquet"))
    first.write_bytes(b"")
    assert not store.is_prepared(layout)
    store.prepare(layout)
    assert store.is_prepared(layout)
    with duckdb.connect(str(layout.database), read_only=True) as connection:
        assert connection.execute("FROM memory").fetchall() == []


def test_every_file_is_on_disk_before_the_directory_counts_as_prepared(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def note(fd: int) -> None:
        fsync(fd)
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    store.prepare(layout)
    segments = list(layout.segments.glob("*/*.parquet"))
    assert segments
    assert {path.stat().st_ino for path in segments} <= synced


def test_a_directory_that_moved_or_was_copied(layout: Layout, tmp_path: Path) -> None:
    store.prepare(layout)
    fill(layout, "here")
    copy = Layout(shutil.copytree(layout.root, tmp_path / "copy"))
    fill(copy, "copy")
    moved = Layout(layout.root.rename(tmp_path / "moved"))
    assert told(store.connect([moved.root])) == ["here"]
    assert told(store.connect([copy.root])) == ["copy"]
    store.write_database(copy)
    with duckdb.connect(str(copy.database), read_only=True) as connection:
        assert told(connection) == ["copy"]


def test_a_connection_for_our_own_queries_has_every_view(layout: Layout) -> None:
    """What is left out, being slow to make, are comments and rates."""
    fill(layout, "here")

    def names(*, described: bool) -> set[str]:
        connection = store.connect([layout.root], described=described)
        assert told(connection) == ["here"]
        listed = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        return {name for (name,) in listed.fetchall()}

    assert names(described=False) == set(tables())
    rates = {f"{name}_per_s" for name, table in tables().items() if table.counters}
    assert names(described=True) == set(tables()) | rates


def test_many_hosts_are_one_database(tmp_path: Path) -> None:
    layouts = []
    for n in range(4):
        made = Layout(tmp_path / f"host'{n}")
        made.create()
        (made.root / "meta.json").write_text(f'{{"schema_version": 1, "host": "h\'{n}"}}')
        fill(made, f"d{n}")
        layouts.append(made)
    connection = store.connect([one.root for one in layouts])
    rows = connection.execute("SELECT host, detail FROM collector_health ORDER BY 1").fetchall()
    assert rows == [(f"h'{n}", f"d{n}") for n in range(4)]


def test_journals_count_before_there_are_segments_and_after_they_went(layout: Layout) -> None:
    fill(layout, "no sealer has been here")
    assert told(store.connect([layout.root])) == ["no sealer has been here"]
    layout.journal_path(1).unlink()
    assert told(store.connect([layout.root])) == []


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (None, "no meta.json"),
        ("", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"schema_version": Infinity, "host": "h"}', "damaged"),
        ("[" * 100_000, "damaged"),
        ("\udcff", "damaged"),
        ('{"schema_version": 99, "host": "h"}', "schema version 99"),
    ],
)
def test_directories_that_are_none_of_ours(tmp_path: Path, meta: str | None, words: str) -> None:
    if meta is not None:
        (tmp_path / "meta.json").write_text(meta, errors="surrogateescape")
    with pytest.raises(DataDirectoryError, match=words) as caught:
        store.connect([tmp_path])
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_plain_client_reads_while_it_is_recorded(
    record: Callable[..., Any], wait_for: Callable[..., Any]
) -> None:
    """The newest row is at most 2 s old; the reader hinders nobody."""
    run = record()
    run.wait_ticks()
    wait_for(run.layout.prepared.exists, run.errors.read_text())
    ages = []
    with duckdb.connect(str(run.layout.database), read_only=True) as connection:
        for _ in range(5):
            run.wait_ticks(2)
            query = "SELECT epoch(now() - max(ts)) FROM memory"
            ages.append(connection.execute(query).fetchall()[0][0])
        before = connection.execute("SELECT count(*) FROM memory").fetchall()[0][0]
        run.wait_ticks(2)
        after = connection.execute("SELECT count(*) FROM memory").fetchall()[0][0]
    assert sorted(ages)[2] <= 2.0
    assert after >= before + 2
    if OLDEST_DUCKDB.exists():
        code = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall()[0][0])"
        done = subprocess.run(
            [OLDEST_DUCKDB, "-c", code, run.layout.database, "SELECT count(*) FROM memory"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert int(done.stdout) >= after
    assert run.stop() == 0


@pytest.mark.skipif(not OLDEST_DUCKDB.exists(), reason="no DuckDB 1.4 in a venv of its own")
def test_the_oldest_duckdb_reads_every_view(layout: Layout) -> None:
    store.prepare(layout)
    fill(layout, "a\\tb")
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "v = [n for n, in c.execute('SELECT view_name FROM duckdb_views() WHERE NOT internal')"
        ".fetchall()];"
        "n = {x: c.execute(f'SELECT count(*) FROM {x}').fetchall()[0][0] for x in v};"
        "print(duckdb.__version__, len(v), sum(n.values()), n['collector_health'],"
        " n['collector_health_per_s'])"
    )
    done = subprocess.run(
        [OLDEST_DUCKDB, "-c", code, layout.database],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    version, count, *rows = done.stdout.split()
    assert version.startswith("1.4.")
    assert int(count) >= len(tables())
    assert rows == ["2", "1", "1"]
