"""Every ``<collector>/[<case>/]root`` is a recorded machine; ``expected.txt`` lies beside it.

The folders are written from the kernel's documentation. ``--update-expected`` writes the expected
rows anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainwreck_agent.collector import Collector, Row, find
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.schema import Kind

HERE = Path(__file__).parent
ROOTS = sorted(path for path in HERE.rglob("root") if path.is_dir())
COLLECTORS = find()


def case_name(root: Path) -> str:
    return str(root.parent.relative_to(HERE))


def collector_of(root: Path) -> type[Collector]:
    return COLLECTORS[root.relative_to(HERE).parts[0]]


def cell(value: object) -> str:
    text = "''" if value == "" else str(value)
    return f'"{text}"' if " " in text else text


def rendered(row: Row) -> str:
    named = zip(row.table.columns, row.values, strict=True)
    cells = [f"{column.name}={cell(value)}" for column, value in named if value is not None]
    at = [] if row.ts_us is None else ["ts=its-own"]
    return " ".join([row.table.name, *at, *cells])


def rows(collector: type[Collector], host: Host) -> Iterator[str]:
    try:
        for row in collector(host).collect():
            yield rendered(row)
    except Unavailable as absence:
        yield f"unavailable {absence.status}: {absence.detail}"


@pytest.mark.parametrize("root", ROOTS, ids=case_name)
def test_a_recorded_machine_gives_the_expected_rows(
    root: Path, request: pytest.FixtureRequest
) -> None:
    got = "".join(f"{line}\n" for line in rows(collector_of(root), Host(root)))
    expected = root.parent / "expected.txt"
    if request.config.getoption("--update-expected", default=False):
        expected.write_text(got, encoding="utf-8")
    assert got == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("root", ROOTS, ids=case_name)
def test_two_reads_of_an_unchanged_machine_agree(root: Path) -> None:
    """Kept-open files are read from their start each time; no label repeats within a read."""
    try:
        collector = collector_of(root)(Host(root))
    except Unavailable:
        return
    first, second = (list(collector.collect()) for _ in range(2))
    assert set(map(rendered, second)) <= set(map(rendered, first))
    for read in (first, second):
        keys = [(row.table.name, row.ts_us, *labels(row)) for row in read]
        assert len(keys) == len(set(keys))


def labels(row: Row) -> list[object]:
    named = zip(row.table.columns, row.values, strict=True)
    return [value for column, value in named if column.kind is Kind.LABEL]


def check_types(row: Row) -> None:
    assert len(row.values) == len(row.table.columns)
    for column, value in zip(row.table.columns, row.values, strict=True):
        if value is None or column.type == "VARCHAR":
            assert value is None or isinstance(value, str), column.name
        elif column.type == "BOOLEAN":
            assert isinstance(value, bool), column.name
        else:
            float(value)  # digits of a file are numbers as they stand
            assert not isinstance(value, bool), column.name
            assert column.type != "BIGINT" or not isinstance(value, float), column.name


JUNK = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([
        b"", b"\n", b"-1\n", b"0\n", b"N/A\n", b"nan\n", b"1e9\n", b"0x10\n", b"\xff" * 512,
        b"9" * 5000, b"-" + b"9" * 30, b"18446744073709551615\n", b"Unavailable\n", b"ue: x\nce:\n",
    ]),
)  # fmt: skip


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    made = {}
    for number, root in enumerate(ROOTS):
        made[root] = tmp_path_factory.mktemp(f"copy{number}") / "root"
        shutil.copytree(root, made[root], symlinks=True)
    return made


@pytest.mark.parametrize("root", ROOTS, ids=case_name)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_bytes_in_any_file_raise_nothing_but_absence(
    root: Path, copies: dict[Path, Path], data: st.DataObject
) -> None:
    copy = copies[root]
    files = sorted(path for path in copy.rglob("*") if path.is_file() and not path.is_symlink())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    path.write_bytes(data.draw(JUNK))
    try:
        collector = collector_of(root)(Host(copy))
        for _ in range(2):
            for row in collector.collect():
                check_types(row)
    except (Unavailable, OSError):
        pass
    finally:
        path.write_bytes(before)
