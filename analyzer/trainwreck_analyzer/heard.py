"""What the signatures say of the lines of one log, as facts: the first of each kind and the latest.

A log may say one thing a million times. Once enough of a kind are kept, its patterns are not tried
any more on the lines that come; of these only the last ones of a block are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainwreck_analyzer import kernel, source
from trainwreck_analyzer.both_ends import BothEnds
from trainwreck_analyzer.catalogue import NEAR_LINES, Catalogue
from trainwreck_analyzer.clock import Stamp
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.log_clock import LogClock
from trainwreck_analyzer.looks import LONGEST_LINE_BYTES
from trainwreck_analyzer.quoted import quoted
from trainwreck_analyzer.ranks import process_of_rank, rank, rank_of_table
from trainwreck_analyzer.scan import MOST_SHAPES, Lines
from trainwreck_analyzer.signature import Signature
from trainwreck_analyzer.verdict import Component

MOST_FACTS_PER_KIND = 200
"""Of one kind that many are kept from the beginning of a log, and the latest ones beside them."""
_LATEST_PER_KIND = 50
LONGEST_TEXT_CHARACTERS = 2000
_LONGEST_NEIGHBOUR_BYTES = 5000
_SOUGHT_EACH = 4
"""So often in a block the lines around are searched, before the block is."""

Patterns = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """A line that says something, and where it stands."""

    lines: Lines
    index: int
    number: int
    """Its line of the file, from 1."""
    parts: kernel.Split | None = None
    """The line taken apart as the kernel's, where that was done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Patterns, parted by what is known of their kinds."""

    open: Patterns
    """Their kinds are wanted from every line."""
    closed: Patterns
    """Of their kinds only the latest lines are wanted."""
    closed_kinds: tuple[str, ...]


class Heard:
    """The facts of one log.

    Args:
        catalogue: The signatures.
        clock: The log's.
        path: The log's, for the facts.
        base_order: Its place among the logs.
        rank: That of the whole log.
    """

    def __init__(
        self, catalogue: Catalogue, clock: LogClock, path: str, base_order: int, rank: int | None
    ) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._path = path
        self._base_order = base_order
        self._rank = rank
        self._facts = BothEnds(MOST_FACTS_PER_KIND, _LATEST_PER_KIND)
        self._wanted: dict[Patterns, Wanted] = {}
        self._wanted_at = 0
        self._lines: Lines | None = None
        self._sought: Counter[str] = Counter()
        self._absent: set[str] = set()
        """In that block, how often a signature's neighbours were looked for; those not in it."""

    def facts(self) -> list[Fact]:
        """What is kept."""
        return self._facts.facts()

    def wanted(self, patterns: Patterns) -> Wanted:
        """Some patterns, parted."""
        if self._wanted_at != self._facts.full_kinds:
            self._wanted_at = self._facts.full_kinds
            self._wanted.clear()
        found = self._wanted.get(patterns)
        if found is None:
            kinds = {key: self._catalogue.signature_of(key).id for key in patterns}
            closed = {key: kind for key, kind in kinds.items() if self._facts.full(kind)}
            wanted = tuple(key for key in patterns if key not in closed)
            found = Wanted(wanted, tuple(closed), tuple(dict.fromkeys(closed.values())))
            if len(self._wanted) < MOST_SHAPES:
                self._wanted[patterns] = found
        return found

    def hear(self, said: Said, patterns: Sequence[int]) -> None:
        """Keeps what a line says by some patterns."""
        raw = said.lines.raw[said.index][:LONGEST_LINE_BYTES]
        text = source.text(raw)
        plain = source.plain(raw) if "\x1b" in text else text
        around = _Around(said.lines, said.index)
        stamp: Stamp | None = None
        fields: dict[str, str] | None = None
        speaker: int | None = None
        for hit in self._catalogue.hits(plain, patterns):
            if hit.signature.near and not self._near(around, hit.signature):
                continue
            if fields is None:
                if not self._clock.whole and quoted(plain):
                    return
                stamp, fields, speaker = self._stamp(said), _fields(said, text), rank(text)
            self._add(hit.signature.id, text, said.number, stamp, hit.fields | fields, speaker)

    def _near(self, around: _Around, signature: Signature) -> bool:
        """Whether what a signature wants near is there; a block that lacks it is searched once."""
        if around.lines is not self._lines:
            self._lines = around.lines
            self._sought.clear()
            self._absent.clear()
        self._sought[signature.id] += 1
        if self._sought[signature.id] == _SOUGHT_EACH and not _may_hold(
            self._lines.text, signature
        ):
            self._absent.add(signature.id)
        return signature.id not in self._absent and around.hold(signature)

    def _stamp(self, said: Said) -> Stamp | None:
        parts = said.parts
        if parts is not None and parts.time:
            return Stamp(parts.time, parts.zoned)
        return self._clock.nearest(said.lines, said.index)

    def add(
        self, kind: str, text: str, number: int, stamp: Stamp | None, fields: dict[str, str]
    ) -> None:
        """Keeps a fact."""
        self._add(kind, text, number, stamp, fields, rank(text))

    def _add(
        self,
        kind: str,
        text: str,
        number: int,
        stamp: Stamp | None,
        fields: dict[str, str],
        speaker: int | None,
    ) -> None:
        component = Component(
            host=fields.get("host"),
            gpu=_whole(fields.get("gpu")),
            pci=fields.get("pci"),
            rank=_first(_whole(fields.get("rank")), speaker, self._rank),
            device=fields.get("device"),
        )
        fact = Fact(
            kind,
            text.rstrip("\r\n")[:LONGEST_TEXT_CHARACTERS],
            "log",
            stamp.time if stamp else None,
            self._path,
            number,
            order=self._base_order + number,
            component=component,
            fields=fields,
            zoned=stamp is None or stamp.zoned,
        )
        self._facts.add(fact)


class _Around:
    """The lines around one, itself included."""

    def __init__(self, lines: Lines, index: int) -> None:
        self.lines, self._index = lines, index
        self._raw: bytes | None = None
        self._plain: list[str] | None = None

    def hold(self, signature: Signature) -> bool:
        """Whether one of them is what the signature wants near."""
        if self._raw is None:
            places = slice(max(0, self._index - NEAR_LINES), self._index + NEAR_LINES + 1)
            some = self.lines.raw[places]
            raw = b"\n".join(some)
            if len(raw) > _LONGEST_NEIGHBOUR_BYTES:
                raw = b"\n".join([line[:_LONGEST_NEIGHBOUR_BYTES] for line in some])
            self._raw = raw
        raw = self._raw
        if not _may_hold(raw, signature):
            return False
        may = signature.near_in_bytes
        if may is not None and b"\x1b" not in raw and not may.search(raw):
            return False
        if self._plain is None:
            self._plain = [source.plain(line) for line in raw.split(b"\n")]
        return any(p.search(text) for p in signature.surroundings for text in self._plain)


def _may_hold(text: bytes, signature: Signature) -> bool:
    """Whether what a signature wants near may stand in a text."""
    held = signature.near_literals
    return held is None or any(literal in text for literal in held) or b"\x1b" in text


def _fields(said: Said, text: str) -> dict[str, str]:
    """What a line says of its speaker, whatever the signature."""
    fields: dict[str, str] = {}
    if said.parts is not None and said.parts.monotonic_s is not None:
        fields["monotonic_s"] = f"{said.parts.monotonic_s:.6f}"
    of_table = rank_of_table(text, _before(said))
    if of_table is not None:
        fields["rank"] = str(of_table)
    if pid := process_of_rank(text):
        fields["pid"] = pid
    return fields


def _before(said: Said) -> Iterator[str]:
    for raw in said.lines.raw[max(0, said.index - 2) : said.index]:
        yield source.text(raw[:300])


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else None


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)
