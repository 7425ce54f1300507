"""The readers: any bytes, packed or not, and what they make of the formats of the field."""

from __future__ import annotations

import bz2
import gzip
import lzma
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import kernel_lines, logs, series, source, tracebacks
from trainwreck_analyzer.catalogue import built_in
from trainwreck_analyzer.clock import Clock
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.log_clock import LogClock
from trainwreck_analyzer.ranks import rank, rank_of_file
from trainwreck_analyzer.scan import Lines

TEXT = "INFO start\nOSError: [Errno 28] No space left on device\n"
REFERENCE = datetime(2026, 11, 25, tzinfo=UTC)
EIGHT = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


@given(st.binary(max_size=4000))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.log"
    path.write_bytes(content)
    reading = logs.read(path, built_in())
    assert reading.input.lines >= content.count(b"\n") or b"\x00" in content


@given(st.text(max_size=500))
@settings(max_examples=200, deadline=None)
def test_any_text_is_parsed(text: str) -> None:
    Clock(REFERENCE).time(text)
    series.read(text, 1, None)
    rank(text)
    tracebacks.read([tracebacks.HEADER, *text.split("\n")], [])


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, lzma.compress, bz2.compress],
    ids=["plain", "gz", "xz", "bz2"],
)
def test_packed_logs_are_read(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(pack(TEXT.encode()))  # type: ignore[operator]
    assert [i.verdict.cause for i in diagnose([path]).incidents] == ["disk_full"]


def test_a_packed_log_that_is_cut_short_gives_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    whole = gzip.compress((TEXT + "more\n" * 100_000).encode())
    path.write_bytes(whole[: len(whole) // 2])
    assert [i.verdict.cause for i in diagnose([path]).incidents] == ["disk_full"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(("Größe ok\n" + TEXT).encode(encoding))
    assert [i.verdict.cause for i in diagnose([path]).incidents] == ["disk_full"]


def test_binary_garbage_is_counted_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(bytes(range(256)) * 500 + b"\n" + TEXT.encode())
    found = diagnose([path])
    assert [i.verdict.cause for i in found.incidents] == ["disk_full"]
    assert found.inputs[0].unparsed_lines > 0


def test_an_empty_log_alone_is_refused_and_beside_others_it_is_listed(tmp_path: Path) -> None:
    path, other = tmp_path / "a.log", tmp_path / "b.log"
    path.write_bytes(b"")
    with pytest.raises(Unreadable, match="nothing in it"):
        diagnose([path])
    other.write_text("step 1 loss 2.0\n")
    found = diagnose([path, other])
    assert found.incidents == ()
    assert [entry.lines for entry in found.inputs] == [0, 1]


def test_a_missing_file_and_a_folder_without_logs_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no such file"):
        diagnose([tmp_path / "missing.log"])
    with pytest.raises(Unreadable, match="without logs"):
        diagnose([tmp_path])


def test_blocks_end_at_line_ends_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    content = b"".join(b"line %d\n" % i for i in range(10_000)) + b"last"
    path.write_bytes(content)
    blocks = [b for b, _ in source.blocks(path, 4096)]
    assert b"".join(blocks) == content
    assert all(b.endswith(b"\n") for b in blocks[:-1])


def test_a_line_over_a_block_border_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("x" * 50 + "\n" + ("filler line\n" * 200_000) + TEXT)
    incident = diagnose([path]).incidents[0]
    assert incident.hypotheses[0].evidence[0].line == 200_003


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-24T08:00:00Z start",
        "2026-11-24T09:00:00+01:00 start",
        "2026-11-24 08:00:00,000 - INFO - start",
        "[2026-11-24 08:00:00,000] [INFO] start",
        "11/24/2026 08:00:00 - INFO - start",
        "[rank0]:[E1124 08:00:00.000000 ProcessGroupNCCL.cpp:616] start",
        "W1124 08:00:00.000000 4700 torch/x.py:1] start",
        "Nov 24 08:00:00 node1 kernel: start",
        "[Tue Nov 24 08:00:00 2026] start",
        "20261124 08:00:00 start",
        "2026/11/24 08:00:00 start",
        "1795507200.000 start",
    ],
)
def test_times_of_the_field(line: str) -> None:
    assert Clock(REFERENCE).time(line) == EIGHT


MOMENTS = st.integers(946684800, 4102444799).map(lambda s: datetime.fromtimestamp(s, UTC))
WRITTEN = st.builds(
    lambda moment, form, fraction, zone: moment.strftime(form).replace("!", fraction) + zone,
    MOMENTS,
    st.sampled_from(
        ["%Y-%m-%d %H:%M:%S!", "%Y-%m-%dT%H:%M:60!", "[%Y/%m/%d %H:%M:%S!", "%m/%d/%Y %H:%M:%S!",
         "[%a %b %d %H:%M:%S %Y]", "%Y%m%d %H:%M:%S!", "%Y-02-31 %H:%M:%S!", "E%m%d %H:%M:%S!"]
    ),
    st.sampled_from(["", ",1", ".123", ",123456", ".123456789"]),
    st.sampled_from(["", "Z", " UTC", "+05:30", "-0800", " +99:99", " start"]),
)  # fmt: skip


@given(st.lists(WRITTEN, max_size=12))
@settings(max_examples=300, deadline=None)
def test_the_time_of_a_line_does_not_depend_on_the_lines_before(lines: list[str]) -> None:
    clock = Clock(REFERENCE)
    assert [clock.stamp(line) for line in lines] == [Clock(REFERENCE).stamp(line) for line in lines]


@given(
    st.lists(
        st.sampled_from(["quiet", "2026-11-24 08:00:00 a", "2026-11-24 08:00:07 b"]), min_size=99
    ),
    st.lists(st.integers(0, 98), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_the_nearest_time_does_not_depend_on_what_was_asked_before(
    text: list[str], asked: list[int]
) -> None:
    lines = Lines.of("\n".join(text).encode())

    def clock() -> LogClock:
        made = LogClock(None)
        made.show(lines)
        return made

    same = clock()
    assert [same.nearest(lines, i) for i in asked] == [clock().nearest(lines, i) for i in asked]


def test_a_date_without_a_year_lies_before_the_reference() -> None:
    reference = datetime(2026, 1, 2, tzinfo=UTC)
    found = Clock(reference).time("Dec 31 23:00:00 node1 kernel: start")
    assert found == datetime(2025, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "step", "loss"),
    [
        (" iteration      100/ 5000 | lm loss: 2.100000E+00 | loss scale: 1.0 |", 100, 2.1),
        ("{'loss': 2.31, 'grad_norm': 1.02, 'learning_rate': 5e-05, 'epoch': 0.1}", None, 2.31),
        ("{'loss': '4.001', 'grad_norm': '0.8381', 'learning_rate': '0.0008'}", None, 4.001),
        ("step: 10  loss:  8.0123  grad_norm:  1.2  memory: 40.1GiB(50.1%)", 10, 8.0123),
        ("step 10 loss 1.2", 10, 1.2),
        ("Epoch 0: 10%|#  | 10/100 [00:01<00:09, v_num=0, train_loss_step=0.51]", None, 0.51),
        ("global_step=7 train_loss=nan", 7, float("nan")),
    ],
)
def test_steps_of_the_field(line: str, step: int | None, loss: float) -> None:
    found = series.read(line, 1, None)
    assert found is not None
    assert found.step == step
    assert found.loss == pytest.approx(loss, nan_ok=True)


def test_what_wandb_repeats_at_the_end_is_no_step() -> None:
    assert series.read("wandb:     train_loss 655.66435", 1, None) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[rank3]: Traceback", 3),
        ("[rank3]:[E1124 08:00:00.0 x.cpp:1] [Rank 3] Watchdog", 3),
        ("[default5]:loss", 5),
        ("12: hello", 12),
        ("global rank 7 failed", 7),
        ("no speaker", None),
    ],
)
def test_ranks_of_the_field(line: str, expected: int | None) -> None:
    assert rank(line) == expected


def test_ranks_of_file_names() -> None:
    assert rank_of_file("logs/rank3.log") == 3
    assert rank_of_file("attempt_0/5/stderr.log") == 5
    assert rank_of_file("train.log") is None


def test_a_rewritten_progress_bar_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\r 1%|   |\r 2%|   |\rOSError: [Errno 28] No space left on device\n")
    assert [i.verdict.cause for i in diagnose([path]).incidents] == ["disk_full"]


@pytest.mark.parametrize("lines", [0, 700])
def test_a_traceback_that_its_logger_says_may_be_ignored_is_no_incident(
    tmp_path: Path, lines: int
) -> None:
    """The second one is the first of the block that is read last."""
    told = (
        "(C pid=1) Failed to send a request. It's safe to ignore this error.\n"
        "(C pid=1) Traceback (most recent call last):\n"
        '(C pid=1)   File "c.py", line 58, in send\n'
        "(C pid=1) x.GetTimeoutError: Get timed out: some object(s) not ready.\n"
    )
    path = tmp_path / "train.log"
    path.write_text(told + "".join(f"line {n} of many\n" * 3 for n in range(lines)) + told)
    assert diagnose([path]).incidents == ()


def test_what_python_ignores_in_a_destructor_is_no_incident(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        "step 1 loss 2.0\nException ignored in: <function Loader.__del__ at 0x7f00>\n"
        'Traceback (most recent call last):\n  File "loader.py", line 7, in __del__\n'
        "AssertionError: can only test a child process\n"
    )
    assert diagnose([path]).incidents == ()


def test_what_is_logged_as_a_warning_did_not_end_the_run(tmp_path: Path) -> None:
    level = "[2026-11-24 08:00:00,000] compiler: [WARNING] "
    path = tmp_path / "train.log"
    path.write_text(
        "step 1 loss 2.0\n"
        f"{level}Traceback (most recent call last):\n"
        f'{level}  File "compiler.py", line 7, in convert\n'
        f"{level}ValueError: not compiled\n"
    )
    assert diagnose([path]).incidents == ()


def test_a_notebooks_traceback_says_what_was_raised_and_where(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        "OSError                                   Traceback (most recent call last)\n"
        "<ipython-input-5-8b1> in <module>()\n"
        '----> 2 state = torch.load("/ckpt/last.pt")\n\n'
        "/usr/lib/python3.7/dist-packages/torch/serialization.py in load(f, map_location)\n"
        "--> 581         return _legacy_load(opened_file)\n\n"
        "OSError: read failed\n"
    )
    (incident,) = diagnose([path]).incidents
    assert incident.verdict.cause == "checkpoint_io"


def test_a_notebooks_traceback_of_a_lost_peer_is_only_a_symptom(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        "RayActorError                             Traceback (most recent call last)\n"
        "RayActorError: The actor died unexpectedly before finishing this task.\n"
    )
    (incident,) = diagnose([path]).incidents
    assert incident.verdict.cause == "unknown"


def test_a_workers_traceback_inside_a_message_says_where_it_was_raised(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        'Traceback (most recent call last):\n  File "train.py", line 9, in <module>\n'
        "    for batch in loader:\nIOError: Traceback (most recent call last):\n"
        '  File "torchvision/datasets/folder.py", line 116, in __getitem__\n'
    )
    (incident,) = diagnose([path]).incidents
    assert incident.verdict.cause == "data_error"


def test_the_end_of_a_log_is_heard_however_often_it_was_said_before(tmp_path: Path) -> None:
    """The first of a kind are kept, and the last: a run that retries a thousand times dies once."""
    log = tmp_path / "train.log"
    retried = (
        'Traceback (most recent call last):\n  File "/job/data.py", line 9, in get\nOSError: 5'
    )
    lines = []
    for step in range(1, 1001):
        lines += [f"2026-11-20 10:00:00 INFO step {step} loss 2.1", *retried.split("\n")]
        lines.append("NCCL WARN Call to connect returned Connection refused, retrying")
    lines += ["Traceback (most recent call last):", '  File "/job/train.py", line 5, in <module>']
    lines += ["KeyError: 'mask'", "ncclRemoteError: Connection refused by the last peer"]
    log.write_text("\n".join(lines) + "\n")
    reading = logs.read(log, built_in())
    told = {fact.line for fact in reading.facts}
    assert len(lines) - 1 in told
    assert len(lines) in told
    assert 4 in told
    assert len(reading.facts) < 2000


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        # May also say what it never does: other patterns differ from it in digits only.
        ("no_space_left", "OSError: [Errno 28] No space left on device"),
        # Holds words of the kernel's lines.
        ("cuda_out_of_memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"),
        # Tells of a step, too.
        ("cuda_error", "INFO step 7 loss 2.5, CUDA error"),
    ],
)
def test_the_latest_is_heard_of_whatever_a_line_may_say_beside_it(
    tmp_path: Path, kind: str, said: str
) -> None:
    log = tmp_path / "train.log"
    log.write_text(f"2026-11-20 10:00:00 {said}\n" * 1000)
    told = [f.line for f in logs.read(log, built_in()).facts if f.kind == kind]
    assert told[:200] == list(range(1, 201))
    assert told[-1] == 1000
    assert len(told) == len(set(told)) < 300


def test_a_kernel_log_full_of_faults_keeps_the_first_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_lines, "MOST_PER_KIND", 50)
    line = "[{n}.000000] NVRM: Xid (PCI:0000:9b:00): 13, pid={n}, name=python, Graphics Exception"
    log = tmp_path / "dmesg.txt"
    log.write_text("".join(line.format(n=n) + "\n" for n in range(10, 4010, 10)))
    reading = logs.read(log, built_in())
    told = sorted(f.line for f in reading.facts if f.kind == "xid_13" and f.line)
    assert (len(told), told[0], told[-1]) == (100, 1, 400)
