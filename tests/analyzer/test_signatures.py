"""Every signature against its own examples, its look-alikes, and the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainwreck_analyzer.causes import DOMAINS, causes
from trainwreck_analyzer.errors import SignatureError
from trainwreck_analyzer.literals import literals
from trainwreck_analyzer.signature import check, load, load_file, matches, slow

ALL = load()


@pytest.mark.parametrize("name", ALL)
def test_signature_does_what_its_examples_say(name: str) -> None:
    assert check(ALL[name], ALL) == []


@pytest.mark.parametrize("name", ALL)
def test_every_pattern_has_a_literal_that_every_match_holds(name: str) -> None:
    signature = ALL[name]
    for pattern, compiled in zip(signature.logs, signature.patterns, strict=True):
        for example in signature.examples:
            for line in example.line.splitlines():
                if compiled.search(line):
                    assert any(literal in line for literal in literals(pattern))


def test_what_is_explained_exists() -> None:
    """A typing error in ``explains`` would silently let a victim win."""
    known = {*ALL, *causes(), *(k for s in ALL.values() for k in s.facts)}
    for signature in ALL.values():
        if signature.folder not in ("kernel", "telemetry"):
            for wanted in signature.explains:
                plain = wanted.startswith(("xid_", "hung_task", "ext4_", "xfs_"))
                assert plain or any(matches(k, [wanted]) for k in known), (signature.id, wanted)


def test_causes_name_known_domains() -> None:
    assert {c.domain for c in causes().values()} <= set(DOMAINS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("titel = 'a'", "unknown field"),
        ("title = 'a'\nmeans = 'b'\ncause = 'no_such'\nlogs = ['abc']", "not in causes.csv"),
        ("title = 'a'\nmeans = 'b'\ncause = 'disk'", "it needs `logs` or `facts`"),
        ("title = 'a'\nmeans = 'b'\nlogs = ['abc']", "role cause cannot have"),
        ("title = 'a'\nmeans = 'b'\ncause = 'disk'\nlogs = ['ä']", "not ASCII"),
        ("title = 'a'\nmeans = 'b'\ncause = 'disk'\nlogs = ['(?i)disk full']", "has flags"),
        ("title = 'a'\nmeans = 'b'\ncause = 'disk'\nlogs = ['a.b']", "no literal of 3"),
        ("title = ", "Invalid"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(SignatureError, match=str(path)) as caught:
        load_file(path)
    assert reason.lower() in caught.value.reason.lower()


def test_a_pattern_that_only_common_words_tell_is_called_slow(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("title = 'a'\nmeans = 'b'\ncause = 'disk'\nlogs = ['loss .*(?:full|out)']\n")
    (told,) = slow(load_file(path))
    assert "'out'" in told or "'full'" in told or "'loss '" in told
    path.write_text("title = 'a'\nmeans = 'b'\ncause = 'disk'\nlogs = ['[Dd]isk (?:is )?full']\n")
    assert slow(load_file(path)) == []


def test_the_shipped_signatures_are_quick_but_for_those_that_cannot_be() -> None:
    """Any exception at all, and a loss of any size: there is no rarer word."""
    known = {"bare_exception", "exception_told", "loss_not_finite"}
    assert {signature.id for signature in ALL.values() if slow(signature)} <= known


def test_a_collision_with_another_cause_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "title = 'a'\nmeans = 'b'\ncause = 'disk'\nweight = 1.0\nlogs = ['No space left']\n"
        "[[examples]]\nline = 'OSError: [Errno 28] No space left on device'\n"
    )
    told = check(load_file(path), ALL)
    assert any("collides: no_space_left" in line for line in told)
