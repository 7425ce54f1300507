"""A signature: what one kind of line or fact means, as data.

One TOML file is one signature; the file's name without ``.toml`` is its id, the folder is its
domain (for symptoms ``symptom``, for harmless text ``noise``). Its examples and look-alikes are
its tests::

    title   = "GPU fell off the bus"
    means   = "The driver can no longer reach the GPU over PCIe; every job on it is lost."
    do      = ["Drain the node.", "Power-cycle it; a reboot is often not enough."]
    cause   = "gpu_fell_off_bus"
    facts   = ["xid_79"]
    weight  = 4.0
    explains = ["xid_45", "cuda_error"]
    source  = "https://docs.nvidia.com/deploy/xid-errors/"
    [[examples]]
    line    = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
    [[not]]
    line    = "NVRM: Xid (PCI:0000:9b:00): 13, Graphics Exception"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from trainwreck_analyzer.causes import causes
from trainwreck_analyzer.errors import SignatureError
from trainwreck_analyzer.literals import literals, strength, tokens
from trainwreck_analyzer.relaxed import relaxed

BUILT_IN = Path(__file__).with_name("signatures")

_COMMON_STRENGTH = 2.0
"""A text of less stands in half of the lines of an ordinary log."""

Role = Literal["cause", "symptom", "noise"]


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line that the signature must match, or as a look-alike must not."""

    line: str
    """May hold several lines; then one of them is matched and the others are its surroundings."""
    source: str = "made"
    """URL of a real line's wording; ``made`` for an invented one."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True, kw_only=True):
    """One file of ``signatures/<domain>/``."""

    title: str
    means: str
    """What happened, for a tired person."""
    do: list[str] = []
    """What is safe and first, then what is next."""
    cause: str = "unknown"
    """Code of ``causes.csv``. For a symptom: the cause it leans to when nothing better is found."""
    role: Role = "cause"
    says: str = ""
    """The verdict's sentence; ``{name}`` takes a named group or a field of the fact."""
    logs: list[str] = []
    """Regular expressions over one line of a log. Named groups such as rank, pci, gpu, host,
    device and process become the component and the fields."""
    near: list[str] = []
    """At least one must match in the same traceback or within a few lines before or after."""
    facts: list[str] = []
    """Kinds of facts from the kernel decoder, the artefacts or telemetry; ``*`` is a wildcard."""
    unless: list[str] = []
    """Regular expressions: a line that matches one of them is no hit."""
    explains: list[str] = []
    """Its consequences: signature ids, fact kinds or cause codes, with ``*`` as wildcard."""
    weight: float = 3.0
    """Evidence for the cause, in nats: 0.5 hints, 2 speaks clearly, 4 names it."""
    against: dict[str, float] = {}
    """Kind or id of a fact in the same incident that speaks against it, with nats."""
    alone: bool = True
    """False: it counts only where something else shows that the run was hurt."""
    source: str = "made"
    examples: list[Example] = []
    look_alikes: list[Example] = msgspec.field(name="not", default_factory=list)

    # Filled by load(), from the file's place.
    id: str = ""
    folder: str = ""

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The compiled ``logs``."""
        return tuple(re.compile(p, re.ASCII) for p in self.logs)

    @cached_property
    def exceptions(self) -> tuple[re.Pattern[str], ...]:
        """The compiled ``unless``."""
        return tuple(re.compile(p, re.ASCII) for p in self.unless)

    @cached_property
    def surroundings(self) -> tuple[re.Pattern[str], ...]:
        """The compiled ``near``."""
        return tuple(re.compile(p, re.ASCII) for p in self.near)

    @cached_property
    def near_in_bytes(self) -> re.Pattern[bytes] | None:
        """Matches joined lines where ``near`` matches one of them, and more; None if unknown."""
        found = [relaxed(pattern, bounded=True) for pattern in self.near]
        if None in found:
            return None
        return re.compile("|".join(f"(?:{p})" for p in found).encode(), re.MULTILINE)

    @cached_property
    def near_literals(self) -> tuple[bytes, ...] | None:
        """Of these texts one stands in every line that ``near`` matches; None if unknown."""
        if any(_has_flags(pattern) for pattern in self.near):
            return None
        try:
            return tuple(text.encode() for pattern in self.near for text in literals(pattern))
        except ValueError:
            return None

    def match(self, line: str) -> re.Match[str] | None:
        """The first match of ``logs`` in a line that no ``unless`` forbids; ignores ``near``."""
        for pattern in self.patterns:
            found = pattern.search(line)
            if found and not any(e.search(line) for e in self.exceptions):
                return found
        return None

    def takes(self, kind: str) -> bool:
        """Whether a fact of this kind is evidence for it."""
        return matches(kind, self.facts)

    def matches_example(self, example: str) -> bool:
        """Whether ``logs``, ``near`` and ``unless`` say yes to an example of one or more lines."""
        lines = example.splitlines() or [""]
        if not any(self.match(line) for line in lines):
            return False
        return not self.near or any(p.search(line) for p in self.surroundings for line in lines)


def matches(kind: str, wanted: list[str]) -> bool:
    """Whether a kind is named by a list of kinds that may hold ``*``."""
    return any(kind == w or ("*" in w and fnmatchcase(kind, w)) for w in wanted)


def load(folder: Path = BUILT_IN) -> dict[str, Signature]:
    """Every signature below a folder by its id, in the order of the ids.

    Raises:
        SignatureError: A file is no TOML, has an unknown or missing field, names an unknown cause
            or holds a pattern that does not compile; or two files have the same name.
    """
    found: dict[str, Signature] = {}
    for path in sorted(folder.rglob("*.toml"), key=lambda p: p.stem):
        signature = load_file(path)
        if signature.id in found:
            raise SignatureError(str(path), f"another file has the name {signature.id}.toml too")
        found[signature.id] = signature
    return found


def load_file(path: Path) -> Signature:
    """The signature of one file.

    Raises:
        SignatureError: See ``load``.
    """
    try:
        signature = msgspec.toml.decode(path.read_bytes(), type=Signature)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SignatureError(str(path), str(error)) from error
    except OSError as error:
        raise SignatureError(str(path), error.strerror or str(error)) from error
    for problem in _problems(signature):
        raise SignatureError(str(path), problem)
    return msgspec.structs.replace(signature, id=path.stem, folder=path.parent.name)


def _problems(signature: Signature) -> Iterator[str]:
    if signature.id or signature.folder:
        yield "`id` and `folder` come from the file's place, leave them out"
    if signature.cause not in causes():
        yield f"`cause` {signature.cause!r} is not in causes.csv"
    if signature.role == "cause" and signature.cause in ("none", "unknown"):
        yield f"a signature with role cause cannot have the cause {signature.cause!r}"
    if not signature.logs and not signature.facts:
        yield "it needs `logs` or `facts`"
    for pattern in (*signature.logs, *signature.unless, *signature.near):
        if not pattern.isascii():
            yield f"pattern {pattern!r} is not ASCII"
    for pattern in signature.logs:
        if _has_flags(pattern):
            yield f"pattern {pattern!r} has flags: write [Aa] where both cases are meant"
            continue
        try:
            literals(pattern)
        except ValueError as error:
            yield f"{error}: name a word that stands in every line it is meant for"


def _has_flags(pattern: str) -> bool:
    return ("(", "?") in pairwise([token for _, token in tokens(pattern)])


def check(signature: Signature, others: dict[str, Signature]) -> list[str]:
    """What is wrong with a signature, one sentence each: its examples, look-alikes, collisions."""
    wrong: list[str] = []
    for name in ("logs", "unless", "near"):
        for pattern in getattr(signature, name):
            try:
                re.compile(pattern, re.ASCII)
            except re.error as error:
                return [f"`{name}` pattern {pattern!r} does not compile: {error}"]
    if signature.logs and not signature.examples:
        wrong.append("has no example")
    wrong += [
        f"does not match its own example: {e.line.splitlines()[0][:100]}"
        for e in signature.examples
        if not _hits(signature, e.line)
    ]
    wrong += [
        f"matches its look-alike: {e.line.splitlines()[0][:100]}"
        for e in signature.look_alikes
        if _hits(signature, e.line)
    ]
    wrong += _collisions(signature, others)
    return wrong


def slow(signature: Signature) -> list[str]:
    """Which patterns cost time on ordinary logs, and what to do, one sentence each."""
    from trainwreck_analyzer.needles import needles

    told: list[str] = []
    for pattern in signature.logs:
        weakest = min(needles(pattern), key=strength)
        if strength(weakest) < _COMMON_STRENGTH:
            told.append(
                f"slow: of {pattern!r} only {weakest!r} is sure to stand in a line, as it does in "
                "many others: name a rarer word, or words instead of `.` and `\\w` beside it"
            )
    return told


def _hits(signature: Signature, text: str) -> bool:
    if signature.matches_example(text):
        return True
    if not signature.facts:
        return False
    from trainwreck_analyzer import kernel

    for line in text.splitlines():
        decoded = kernel.decode(kernel.split(line).text)
        if decoded is not None and signature.takes(decoded.kind):
            return True
    return False


def _collisions(signature: Signature, others: dict[str, Signature]) -> Iterator[str]:
    """Signatures of another cause that match this one's examples just as strongly."""
    if signature.role != "cause":
        return
    for other in others.values():
        if other.id == signature.id or other.role == "symptom":
            continue
        if other.role == "cause" and (
            other.cause == signature.cause or other.weight < signature.weight
        ):
            continue
        for example in signature.examples:
            if other.logs and other.matches_example(example.line):
                yield (
                    f"collides: {other.id} ({other.cause}, weight {other.weight:g}) matches "
                    f"{example.line.splitlines()[0][:80]}"
                )
