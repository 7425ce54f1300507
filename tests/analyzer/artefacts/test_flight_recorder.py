"""Who holds a hanging run up, from made dumps and from two recorded runs."""

from __future__ import annotations

import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer.artefacts import flight_recorder, gather, plain_pickle, sniff
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.errors import Unreadable

RECORDED = Path(__file__).parents[4] / "shared" / "fixtures" / "flight_recorder.tar.xz"
RANKS = [0, 1, 2, 3]


def call(
    number: int, name: str = "all_reduce", state: str = "scheduled", **more: Any
) -> dict[str, Any]:
    return {
        "pg_id": 0, "process_group": ("0", "default_pg"), "collective_seq_id": number,
        "p2p_seq_id": 0, "profiling_name": f"nccl:{name}", "input_sizes": [[16]],
        "input_dtypes": ["Float"], "state": state, "retired": state == "completed",
        "time_created_ns": 1795507200_000000000,
    } | more  # fmt: skip


def dump(*entries: dict[str, Any], enqueued: int | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "version": "2.9",
        "pg_config": {"0": {"name": "0", "desc": "default_pg", "ranks": str(RANKS)}},
        "entries": list(entries),
    }
    if enqueued is not None:
        value["pg_status"] = {"0": {"last_enqueued_collective": enqueued}}
    return value


def write(folder: Path, dumps: dict[int, dict[str, Any]], form: str = "pickle") -> list[Path]:
    paths = []
    for rank, value in dumps.items():
        path = folder / f"_dump_{rank}"
        path.write_bytes(pickle.dumps(value) if form == "pickle" else json.dumps(value).encode())
        paths.append(path)
    return paths


@pytest.mark.skipif(not RECORDED.exists(), reason=f"{RECORDED} is not here")
@pytest.mark.parametrize(
    ("run", "kind"),
    [("gpu_error_2nd", "collective_gpu_stalled"), ("lock_gil_1st", "collective_rank_absent")],
)
def test_the_injected_ranks_of_a_recorded_run_and_no_others(
    tmp_path: Path, run: str, kind: str
) -> None:
    with tarfile.open(RECORDED) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "flight_recorder" / run
    first = (folder / "fault_injection.log").read_text().splitlines()[0]
    injected = json.loads(first.partition(": ")[2])
    paths = sorted(folder.glob("_dump_*"))
    assert all(sniff(path) == "flight_recorder" for path in paths)
    got = flight_recorder.read(paths)
    assert [fact.component.rank for fact in got] == injected
    assert {fact.kind for fact in got} == {kind}


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_a_rank_that_stopped_before_the_call_is_absent(tmp_path: Path, form: str) -> None:
    waiting = dump(call(8, state="completed"), call(9), enqueued=9)
    behind = dump(call(8, state="completed"), enqueued=8)
    paths = write(tmp_path, {0: waiting, 1: waiting, 2: behind, 3: waiting}, form)
    (fact,) = flight_recorder.read(paths)
    assert (fact.kind, fact.component.rank) == ("collective_rank_absent", 2)
    assert fact.fields["waiting_ranks"] == "0, 1, 3"
    assert fact.source == str(tmp_path / "_dump_2")


def test_a_rank_whose_gpu_stopped_has_calls_that_the_others_finished(tmp_path: Path) -> None:
    waiting = dump(call(9), enqueued=9)
    stalled = dump(call(7), call(8), enqueued=8)
    (fact,) = flight_recorder.read(
        write(tmp_path, dict.fromkeys((0, 1, 3), waiting) | {2: stalled})
    )
    assert (fact.kind, fact.component.rank) == ("collective_gpu_stalled", 2)


def test_a_rank_without_a_dump_is_named_when_all_others_wait(tmp_path: Path) -> None:
    waiting = dump(call(9), enqueued=9)
    (fact,) = flight_recorder.read(write(tmp_path, dict.fromkeys((0, 1, 3), waiting)))
    assert (fact.kind, fact.component.rank) == ("collective_rank_no_dump", 2)


@pytest.mark.parametrize(
    "odd",
    [call(9, "broadcast"), call(9, input_sizes=[[17]]), call(9, input_dtypes=["Half"])],
)
def test_a_call_that_differs_names_the_rank(tmp_path: Path, odd: dict[str, Any]) -> None:
    usual = dump(call(9), enqueued=9)
    paths = write(tmp_path, dict.fromkeys((0, 1, 2), usual) | {3: dump(odd, enqueued=9)})
    (fact,) = flight_recorder.read(paths)
    assert (fact.kind, fact.component.rank) == ("collective_mismatch", 3)


def test_uneven_all_to_all_is_no_difference(tmp_path: Path) -> None:
    dumps = {rank: dump(call(9, "all_to_all", input_sizes=[[rank]]), enqueued=9) for rank in RANKS}
    assert flight_recorder.read(write(tmp_path, dumps)) == []


def test_a_missing_sender_holds_the_receiver_up(tmp_path: Path) -> None:
    receive = dump(call(0, "recv 0<-1", p2p_seq_id=5), enqueued=5)
    idle = dump(enqueued=4)
    got = flight_recorder.read(write(tmp_path, {0: receive, 1: idle, 2: idle, 3: idle}))
    assert [(fact.kind, fact.component.rank) for fact in got] == [("collective_rank_absent", 1)]


def test_two_groups_entered_in_different_order_wait_in_a_circle(tmp_path: Path) -> None:
    def two(first: str, second_number: int) -> dict[str, Any]:
        value = dump(call(second_number, pg_id=int(first), process_group=(first, first)))
        value["pg_config"] = {
            name: {"name": name, "desc": name, "ranks": "[0, 1]"} for name in ("1", "2")
        }
        return value

    got = flight_recorder.read(write(tmp_path, {0: two("1", 3), 1: two("2", 3)}))
    assert [fact.kind for fact in got] == ["collective_circular_wait"]


def test_a_healthy_run_has_no_findings(tmp_path: Path) -> None:
    done = dump(call(8, state="completed"), call(9, state="completed"), enqueued=9)
    assert flight_recorder.read(write(tmp_path, dict.fromkeys(RANKS, done))) == []


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of the dump was run')",))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"entries": [Evil()]}),
        pickle.dumps({"entries": [Evil()]}, protocol=0),
        pickle.dumps({"entries": [dict]}),
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo index that would reserve gigabytes
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02",
        b"",
    ],
)
def test_a_pickle_that_is_more_than_plain_values_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(plain_pickle.NotPlain):
        plain_pickle.loads(data)
    path = tmp_path / "_dump_0"
    path.write_bytes(data)
    with pytest.raises(Unreadable):
        flight_recorder.load(path)


def test_a_dump_without_a_rank_says_so(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(pickle.dumps(dump()))
    with pytest.raises(Unreadable, match="rank"):
        flight_recorder.load(path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_a_pickle_that_holds_itself_or_unfolds_without_end_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    layers: list[object] = []
    for _ in range(60):
        layers = [layers, layers]
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    for sizes in (circle, layers, deep):
        assert flight_recorder.parse(pickle.dumps(dump(call(1, input_sizes=sizes)))) is None
    text = json.dumps(dump(call(1, input_sizes=deep)))
    assert flight_recorder.parse(text.encode()) is None
    shared = ["Float"]
    entries = [call(n, input_dtypes=shared) for n in range(100)]
    assert flight_recorder.parse(pickle.dumps(dump(*entries))) is not None


@given(st.binary(max_size=300))
def test_any_bytes_are_no_dump_or_one(data: bytes) -> None:
    for start in (b"", b"\x80\x04", b"{"):
        value = flight_recorder.parse(start + data)
        if value is not None:
            flight_recorder.to_dump(value, 0)


@given(
    st.fixed_dictionaries(
        {
            "entries": st.lists(
                PLAIN
                | st.fixed_dictionaries(
                    {"collective_seq_id": PLAIN, "process_group": PLAIN, "profiling_name": PLAIN,
                     "time_created_ns": PLAIN}
                ),
                max_size=4,
            ),
            "pg_config": PLAIN,
            "pg_status": PLAIN,
        }
    )
)  # fmt: skip
def test_any_plain_values_make_a_dump(value: dict[str, Any]) -> None:
    parsed = flight_recorder.parse(pickle.dumps(value))
    assert parsed is not None
    one = flight_recorder.to_dump(parsed, 0)
    two = flight_recorder.to_dump(parsed, 1)
    flight_recorder.collectives.findings([one, two])


def test_artefacts_are_taken_out_of_a_folder_and_a_damaged_dump_stops_nothing(
    tmp_path: Path,
) -> None:
    waiting = dump(call(9), enqueued=9)
    paths = write(tmp_path, {0: waiting, 1: waiting, 2: dump(enqueued=8)})
    torn = tmp_path / "_dump_3"
    torn.write_bytes(pickle.dumps(waiting)[:-30])
    log = tmp_path / "train.log"
    log.write_text("step 1 loss 2.0\n")
    got = gather([*paths, torn, log])
    assert [(fact.kind, fact.component.rank) for fact in got.facts] == [
        ("collective_rank_absent", 2)
    ]
    assert [item.kind for item in got.inputs] == ["flight_recorder"] * 3 + ["unknown"]
    assert got.rest == (log,)


def test_the_diagnosis_of_a_folder_of_dumps_names_the_rank(tmp_path: Path) -> None:
    waiting = dump(call(9), enqueued=9)
    write(tmp_path, dict.fromkeys((0, 1, 3), waiting) | {2: dump(enqueued=8)})
    (incident,) = diagnose([tmp_path]).incidents
    assert incident.verdict.cause == "hang_software"
    assert incident.verdict.component.rank == 2
