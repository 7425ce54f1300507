"""The signatures made ready for reading: which of them a line or a fact speaks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import msgspec

from trainwreck_analyzer import derived
from trainwreck_analyzer.literals import blind_to_digits, literals
from trainwreck_analyzer.relaxed import over_shapes
from trainwreck_analyzer.scan import Index
from trainwreck_analyzer.signature import BUILT_IN, Signature, load

NEAR_LINES = 12


@dataclass(frozen=True, slots=True)
class Hit:
    """A signature that matched a line, and what the pattern's groups say."""

    signature: Signature
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Possible:
    """What the lines of one shape may say."""

    patterns: tuple[int, ...]
    """Numbers of the patterns to try; the others do not match."""
    signatures: tuple[str, ...]
    """Ids of theirs."""


class Catalogue:
    """Every signature, found by line or by kind of fact.

    Args:
        signatures: By id.
        known: Literals of their patterns, as far as they were worked out before.
        needles_at: Where the longer texts are kept; None: nowhere.
    """

    def __init__(
        self,
        signatures: dict[str, Signature],
        known: dict[str, tuple[str, ...]] | None = None,
        needles_at: Path | None = None,
    ) -> None:
        self.signatures = signatures
        self._needles_at = needles_at
        self._patterns = [(s, pattern) for s in signatures.values() for pattern in s.logs]
        self._compiled: dict[int, re.Pattern[str]] = {}
        self._compiled_over_shapes: dict[int, re.Pattern[str]] = {}
        self._index = Index()
        for key, (_, pattern) in enumerate(self._patterns):
            for literal in (known or {}).get(pattern) or literals(pattern):
                self._index.add_literal(literal, key)
        self._of_kind: dict[str, tuple[Signature, ...]] = {}

    @property
    def literals(self) -> list[str]:
        """Texts of which one stands in the shape of every line that a signature matches."""
        return self._index.literals

    @cached_property
    def needles(self) -> tuple[str, ...]:
        """The same as ``literals``, longer and rarer; found once for an installation."""
        if (body := derived.kept(self._needles_at)) is not None:
            with suppress(msgspec.MsgspecError):
                return msgspec.msgpack.decode(body, type=tuple[str, ...])
        from trainwreck_analyzer.needles import needles

        found = sorted({text for _, pattern in self._patterns for text in needles(pattern)})
        derived.keep(self._needles_at, msgspec.msgpack.encode(found))
        return tuple(found)

    @property
    def expressions(self) -> list[str]:
        """Every signature's expressions for lines."""
        return [pattern for _, pattern in self._patterns]

    def possible(self, shape: str) -> Possible:
        """What the lines of a shape may say, as far as it does not depend on their digits."""
        patterns = tuple(
            key for key in self._index.possible(shape) if self._over_shapes(key).search(shape)
        )
        return Possible(patterns, tuple({self._patterns[key][0].id for key in patterns}))

    def matches(self, line: str, possible: Possible) -> bool:
        """Whether any of some patterns matches a line."""
        return any(self._pattern(key).search(line) for key in possible.patterns)

    def signature_of(self, key: int) -> Signature:
        """That of a pattern, by the pattern's number."""
        return self._patterns[key][0]

    def hits(self, line: str, possible: Sequence[int]) -> list[Hit]:
        """The signatures whose ``logs`` match a line; ``near`` is not looked at."""
        found: dict[str, Hit] = {}
        for key in possible:
            match = (self._compiled.get(key) or self._pattern(key)).search(line)
            if match is None:
                continue
            signature = self._patterns[key][0]
            if signature.id in found or any(e.search(line) for e in signature.exceptions):
                continue
            fields = {k: v for k, v in match.groupdict().items() if v is not None}
            found[signature.id] = Hit(signature, fields)
        return list(found.values())

    def _pattern(self, key: int) -> re.Pattern[str]:
        """Compiled when a line first holds its literal: most never are."""
        known = self._compiled.get(key)
        if known is None:
            known = self._compiled[key] = re.compile(self._patterns[key][1], re.ASCII)
        return known

    def _over_shapes(self, key: int) -> re.Pattern[str]:
        """A pattern that matches the shape of every line that one matches."""
        known = self._compiled_over_shapes.get(key)
        if known is None:
            pattern = self._patterns[key][1]
            if blind_to_digits(pattern):
                known = self._pattern(key)
            else:
                known = re.compile(over_shapes(pattern) or "", re.ASCII)
            self._compiled_over_shapes[key] = known
        return known

    def of_kind(self, kind: str) -> tuple[Signature, ...]:
        """The signatures that a fact speaks for: by their id, or by their ``facts``."""
        known = self._of_kind.get(kind)
        if known is None:
            known = tuple(s for s in self.signatures.values() if s.takes(kind) or s.id == kind)
            self._of_kind[kind] = known
        return known


class _Kept(msgspec.Struct):
    """The shipped signatures as they are kept: checked, and their literals found."""

    signatures: list[Signature]
    literals: dict[str, tuple[str, ...]]


@cache
def built_in() -> Catalogue:
    """The catalogue that is shipped."""
    code = Path(__file__).parent
    files = [*code.glob("*.py"), code / "causes.csv", *BUILT_IN.rglob("*.toml")]
    key = derived.files_key([f for f in files if f.exists()])
    place, needles_at = derived.place("catalogue", key), derived.place("needles", key)
    if (body := derived.kept(place)) is not None:
        with suppress(msgspec.MsgspecError):
            kept = msgspec.msgpack.decode(body, type=_Kept)
            return Catalogue({s.id: s for s in kept.signatures}, kept.literals, needles_at)
    signatures = load(BUILT_IN)
    found = {pattern: literals(pattern) for s in signatures.values() for pattern in s.logs}
    derived.keep(place, msgspec.msgpack.encode(_Kept(list(signatures.values()), found)))
    return Catalogue(signatures, found, needles_at)


def from_folder(folder: Path) -> Catalogue:
    """The catalogue of another folder."""
    return Catalogue(load(folder))
