"""However a log is searched, the same lines mean something: by shape, by long texts, at once."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import kernel, logs, looks, scan, source
from trainwreck_analyzer.accelerator import Accelerator, accelerator
from trainwreck_analyzer.catalogue import built_in
from trainwreck_analyzer.grams import GramGate
from trainwreck_analyzer.kernel.family import Line as KernelLine
from trainwreck_analyzer.kernel.family import lines as kernel_lines
from trainwreck_analyzer.literals import shape
from trainwreck_analyzer.needles import needles
from trainwreck_analyzer.relaxed import over_shapes, relaxed
from trainwreck_analyzer.scan import Lines
from trainwreck_analyzer.signature import Signature

CATALOGUE = built_in()
CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "dev"
EXAMPLES = sorted(
    {
        line.encode()
        for signature in CATALOGUE.signatures.values()
        for example in (*signature.examples, *signature.look_alikes)
        for line in example.line.splitlines()
    }
)
WAYS = ("shapes", "needles", "search")
NEVER = 1 << 60


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accelerator]:
    pytest.importorskip("hyperscan", reason="the accelerator is optional: pip install .[fast]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        accelerator.cache_clear()
        found = accelerator(tuple(CATALOGUE.expressions), ())
        if found is None:
            pytest.skip("this release of hyperscan misses matches")
        yield found


def found_by(way: str, text: bytes) -> list[tuple[object, ...]]:
    """What a way of searching finds that says something: a line and what it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_SEARCH_FROM_BYTES", 0 if way == "search" else NEVER)
        patch.setattr(scan, "_SEARCH_FROM_SHAPES", NEVER)
        patch.setattr(scan, "_NEEDLES_FROM_SHAPES", 0 if way == "needles" else NEVER)
        patch.setattr(scan, "_GATE_FROM_SHAPES", 0 if way == "needles" else NEVER)
        patch.setattr(scan, "_CROWDED", 2.0)
        lines = Lines.of(text)
        scanner = looks.scanner(CATALOGUE)
        scanner.unlike = way == "search"
        found = list(scanner.matter(lines))
    said = ((index, *_said(lines.raw[index], look)) for index, look in found)
    return [what for what in said if any(what[1:])]


def _said(raw: bytes, look: looks.Look) -> tuple[object, ...]:
    """What a line says in the end: a shape may promise more."""
    plain = source.plain(raw[: looks.LONGEST_LINE_BYTES])
    hits = [(hit.signature.id, hit.fields) for hit in CATALOGUE.hits(plain, look.patterns)]
    kernels = kernel.decode(kernel.split(plain).text) if look.kernel else None
    return hits, kernels, look.traceback, look.step, look.boot, look.start


PARTS = (
    st.sampled_from(EXAMPLES)
    | st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
    | st.sampled_from([b"\r", b"\x1b[31m", b"\x1b[0m", b"[rank3]: ", "données ".encode(), b"\n"])
)


@given(st.lists(PARTS, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_way_finds_the_same(parts: list[bytes], rng: random.Random) -> None:
    text = b"".join(part + rng.choice([b"\n", b"", b" "]) for part in parts)
    text += b"\n" + b"\n".join(rng.sample(EXAMPLES, 20))
    expected = found_by("shapes", text)
    assert expected
    for way in WAYS[1:]:
        assert found_by(way, text) == expected, way


def test_a_search_is_really_made(engine: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    lines = Accelerator.lines

    def spied(self: Accelerator, text: bytes) -> list[int]:
        searched.append(len(text))
        return lines(self, text)

    monkeypatch.setattr(Accelerator, "lines", spied)
    assert found_by("search", b"\n".join(EXAMPLES)) == found_by("shapes", b"\n".join(EXAMPLES))
    assert searched


def matching(pattern: str) -> st.SearchStrategy[tuple[str, str]]:
    compiled = re.compile(pattern, re.ASCII)
    return st.from_regex(compiled).map(
        lambda text: (pattern, next((x for x in text.split("\n") if compiled.search(x)), ""))
    )


LINES = st.sampled_from(CATALOGUE.expressions).flatmap(matching).filter(lambda pair: pair[1])


@given(LINES)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_of_its_texts_stands_in_the_shape_of_whatever_a_pattern_matches(
    pair: tuple[str, str],
) -> None:
    pattern, line = pair
    assert any(text in shape(line) for text in needles(pattern))


@given(LINES)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_a_pattern_matches_is_possible_by_its_shape(pair: tuple[str, str]) -> None:
    pattern, line = pair
    assert re.search(over_shapes(pattern) or "", shape(line), re.ASCII)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"e\+(?:1[2-9]|\d{2,3})", r"e\+(?:0[02-9]|\d{2,3})"),
        (r"code (?!0)[^1-3x\x27]7", r"code [^x\x27]0"),
        ("[!-9]", None),
        ("(?i)code 1", None),
    ],
)
def test_a_pattern_over_shapes(pattern: str, expected: str | None) -> None:
    assert over_shapes(pattern) == expected


def test_bounds_are_kept_times_the_bytes_of_a_character() -> None:
    assert relaxed(r"a.{2,5}b.?c[^x]d\S+e\W{3}", bounded=True) == (
        r"a.{1,20}b.{0,4}c[^\nx]{1,4}d[^\s]+e[^\w\n]{1,12}"
    )


NEAR = sorted({pattern for s in CATALOGUE.signatures.values() for pattern in s.near})
NEARBY = st.sampled_from(NEAR).flatmap(matching).filter(lambda pair: pair[1])


@given(NEARBY)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_stands_near_is_found_in_bytes(pair: tuple[str, str]) -> None:
    pattern, line = pair
    raw = line.encode("utf-8", "surrogatepass")
    in_bytes = relaxed(pattern, bounded=True)
    if in_bytes is not None and b"\n" not in raw:
        found = re.compile(in_bytes.encode(), re.MULTILINE)
        assert found.search(b"x\n" + raw + b"\ny")


@given(st.sampled_from([s for s in CATALOGUE.signatures.values() if s.near]), st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_of_its_texts_stands_in_whatever_must_be_near(
    signature: Signature, data: st.DataObject
) -> None:
    _, line = data.draw(st.sampled_from(signature.near).flatmap(matching))
    held = signature.near_literals
    if held is not None and line:
        assert any(text in line.encode("utf-8", "surrogatepass") for text in held)


PREFIXES = (
    "", "[   12.345678] ", "Nov 24 08:00:00 node1 kernel: ", "2026-11-24 08:00:00,123 ",
    "2026-11-24T08:00:00+01:00 node1 kernel: [   12.345678] ", "6,1234,5678901,-;", "[rank3]: ",
    "<6>[   12.345678] ", "[Tue Nov 24 08:00:00 2026] ", "1795507200.123456 host kernel: ",
)  # fmt: skip


@pytest.mark.parametrize("line", kernel_lines(), ids=lambda line: line.kind)
def test_a_kernel_line_is_known_by_its_shape_whatever_stands_before(line: KernelLine) -> None:
    for text in (prefix + example for prefix in PREFIXES for example in line.examples):
        if kernel.decode(kernel.split(text).text) is not None:
            assert kernel.may_decode(shape(text)), text


def test_a_line_that_only_has_a_word_of_the_kernel_is_none() -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert not kernel.may_decode(shape(text))
    assert not kernel.may_count(shape(text))


@pytest.mark.parametrize(
    "text",
    ["[   12.345678] text", "[  +0.056775] text", "[Nov24 08:00] text", "Nov 24 08:00:00 h a: text",
     "6,1234,5678901,-;text", "<6>[   12.345678] text", "[   12.345678 <    0.000012>] text",
     "kern  :warn  : [   12.345678] text", '{"MESSAGE": "text", "__MONOTONIC_TIMESTAMP": "1"}',
     "2026-11-24T08:00:00Z h kernel: [   12.345678] text"],
)  # fmt: skip
def test_a_clock_that_counts_is_known_by_the_shape(text: str) -> None:
    parts = kernel.split(text)
    assert parts.monotonic_s is not None or parts.delta_s is not None or parts.yearless
    assert kernel.may_count(shape(text))


@given(LINES, st.integers(0, 70))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_pattern_matches_is_found_in_bytes(
    engine: Accelerator, pair: tuple[str, str], before: int
) -> None:
    raw = pair[1].encode("utf-8", "surrogatepass")
    if b"\n" not in raw:
        assert 1 in engine.lines(b"a" * before + b"\n" + raw + b"\nb")


def test_every_example_is_found_wherever_it_stands(engine: Accelerator) -> None:
    matched = [e for e in EXAMPLES if _matches(source.text(e))]
    assert len(matched) > len(EXAMPLES) / 4
    rng = random.Random(1)
    for _ in range(30):
        rng.shuffle(matched)
        text = b"\n".join(b"x" * rng.randrange(40) + b"\n" + line for line in matched)
        assert set(range(1, 2 * len(matched), 2)) <= set(engine.lines(text))


def _matches(line: str) -> bool:
    return CATALOGUE.matches(line, CATALOGUE.possible(shape(line)))


def test_long_texts_are_found_at_either_end_of_a_line() -> None:
    gate = GramGate(["nan", "disk full", "loss", "Error 000"])
    lines = [
        b"nan",
        b"a nan",
        b"disk full",
        b"the disk full of",
        b"los",
        b"loss",
        b"na",
        b"",
        b"Err",
    ]
    assert sorted(gate(lines)) == sorted(
        [b"nan", b"a nan", b"disk full", b"the disk full of", b"loss"]
    )


WANTED = ("one worker died", "worker is gone", "of the worker", "nan", "loss is", "Err")
PIECES = [
    "one worker ",
    " worker ",
    "worker is ",
    "gone",
    "died",
    "of the ",
    "loss ",
    "is",
    "na",
    "n",
]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6), max_size=40), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_a_gate_that_learns_which_bytes_are_frequent_finds_the_same(
    pieces: list[list[str]], times: int
) -> None:
    gate = GramGate(WANTED)
    lines = [f"{n} {''.join(some)}".encode() for n, some in enumerate(pieces * times)]
    holding = [line for line in lines if any(text.encode() in line for text in WANTED)]
    for _ in range(3):
        assert list(gate(lines)) == holding


def test_bytes_that_often_stand_for_nothing_are_not_looked_for_again() -> None:
    gate = GramGate(("one worker ",))
    lines = [f"{n} the worker {n} is busy".encode() for n in range(1000)]
    before = gate._tables
    assert list(gate(lines)) == []
    assert gate._tables is not before
    text = b"\n".join(lines) + b"\n" * 16
    assert len(gate._tables.places(text)) < len(before.places(text)) / 10 < 1000
    assert list(gate([*lines, b"one worker left"])) == [b"one worker left"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[Dd]isk (?:is )?full", ("Disk full", "Disk is full", "disk full", "disk is full")),
        (r"exit code \d{1,2}\b", ("exit code 0", "exit code 00")),
        (r"code (?!0)137", ("code 000",)),
        (r"(?:lost|gone).{0,9}(?:InfiniBand|NVSwitch \d+)", ("InfiniBand", "NVSwitch 0")),
        (r"x.?y.*NCCL WARN", ("NCCL WARN",)),
    ],
)
def test_alternatives_are_multiplied_out(pattern: str, expected: tuple[str, ...]) -> None:
    assert needles(pattern) == tuple(sorted(expected))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.b", "a.+b"),
        ("a.{0,40}b", "a.*b"),
        (r"a\S{2,4}?b", r"a[^\s]+b"),
        ("a[^x]?b", r"a[^\nx]*b"),
        (r"(?P<rank>\d+) gone(?! away)$", r"(?:\d+) gone$"),
        (r"x{,3}y", "x{0,3}y"),
        (r"(\d+) and \1", None),
        ("(?i)oom", None),
    ],
)
def test_a_pattern_for_bytes_matches_at_least_as_much(pattern: str, expected: str | None) -> None:
    assert relaxed(pattern) == expected


@pytest.mark.skipif(not CORPUS.exists(), reason=f"{CORPUS} is not here")
def test_real_logs_say_the_same_with_and_without(engine: Accelerator) -> None:
    files = [path for path in sorted(CORPUS.rglob("*")) if path.suffix in (".log", ".txt", ".out")]
    assert len(files) > 50
    for path in files:
        text = path.read_bytes()
        expected = found_by("shapes", text)
        assert found_by("search", text) == found_by("needles", text) == expected, path


def test_a_large_log_of_unlike_lines_is_read_the_same(
    engine: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    path = tmp_path / "train.log"
    letters = "abcdefghijklmnopqrstuvwxyz "
    with path.open("wb") as out:
        for number in range(20_000):
            line = "".join(rng.choices(letters, k=60)).encode()
            out.write((rng.choice(EXAMPLES) if number % 1000 == 999 else line) + b"\n")
    monkeypatch.setattr(source, "BLOCK_BYTES", 1 << 16)
    told = []
    for shapes in (5000, NEVER):
        monkeypatch.setattr(scan, "_SEARCH_FROM_SHAPES", shapes)
        reading = logs.read(path, CATALOGUE)
        told.append((reading.facts, reading.steps, reading.input))
    assert told[0] == told[1]
    assert told[0][0]
