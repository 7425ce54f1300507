"""What is kept in the user's cache folder: found again, never trusted blindly, never needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trainwreck_analyzer import catalogue, derived


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_kept_is_found_until_the_key_changes(cache: Path) -> None:
    derived.keep(derived.place("tables", b"1"), b"body")
    assert derived.kept(derived.place("tables", b"1")) == b"body"
    assert derived.kept(derived.place("tables", b"2")) is None
    derived.keep(derived.place("tables", b"2"), b"newer")
    assert len(list(cache.rglob("*.bin"))) == 1  # what nobody asks for any more is gone


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b""])
def test_a_damaged_file_counts_for_nothing(change: object) -> None:
    place = derived.place("tables", b"1")
    derived.keep(place, b"body")
    assert place is not None
    place.write_bytes(change(place.read_bytes()))  # type: ignore[operator]
    assert derived.kept(place) is None


def test_a_file_that_others_can_write_counts_for_nothing() -> None:
    place = derived.place("tables", b"1")
    derived.keep(place, b"body")
    assert place is not None
    place.chmod(0o666)
    assert derived.kept(place) is None
    place.chmod(0o600)
    place.parent.chmod(0o777)
    assert derived.kept(place) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_somebody_else_is_neither_read_nor_written() -> None:
    place = derived.place("tables", b"1")
    derived.keep(place, b"body")
    assert place is not None
    os.chown(place.parent, 12345, -1)
    assert derived.kept(place) is None
    derived.keep(derived.place("tables", b"2"), b"other")
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_without_a_place_nothing_is_lost(cache: Path) -> None:
    (cache / "trainwreck").write_text("a file where the folder should be")
    derived.keep(derived.place("tables", b"1"), b"body")
    assert derived.kept(derived.place("tables", b"1")) is None


def test_the_kept_catalogue_is_the_loaded_one(cache: Path) -> None:
    loaded = catalogue.built_in.__wrapped__()
    assert list(cache.rglob("catalogue-*.bin"))
    kept = catalogue.built_in.__wrapped__()
    assert kept.signatures == loaded.signatures
    assert list(kept.signatures) == list(loaded.signatures)
    assert kept.literals == loaded.literals
    assert kept.expressions == loaded.expressions


def test_the_kept_needles_are_those_that_were_found(cache: Path) -> None:
    found = catalogue.built_in.__wrapped__().needles
    assert list(cache.rglob("needles-*.bin"))
    assert catalogue.built_in.__wrapped__().needles == found
    for kept in cache.rglob("needles-*.bin"):
        kept.write_bytes(b"damaged")
    assert catalogue.built_in.__wrapped__().needles == found
