"""Reads PyTorch flight-recorder dumps: who did not arrive, and which collective differs.

One file per rank, a pickle of plain containers or the same as JSON. ``entries`` hold the last
collectives with group, sequence number and state; ``pg_config`` the members of each group;
``pg_status`` how far the rank came in each of its groups.

Source: https://docs.pytorch.org/tutorials/unstable/flight_recorder_tutorial.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainwreck_analyzer.artefacts import collectives, plain_pickle
from trainwreck_analyzer.artefacts.collectives import Call, Dump
from trainwreck_analyzer.errors import Unreadable, unreadable
from trainwreck_analyzer.fact import Fact

MAX_BYTES = 512 * 2**20
"""A larger file is no dump: the recorder keeps a few thousand calls."""
_RANK_IN_NAME = re.compile(r"(\d{1,7})(?:\.(?:json|pickle|pkl|pt))?$", re.ASCII)
_PAIR = re.compile(r"(send|recv) (\d{1,7})(->|<-)(\d{1,7})", re.ASCII)


def read(paths: Sequence[Path]) -> list[Fact]:
    """The facts of the dumps of one run, the ranks that hold the others up first.

    Raises:
        Unreadable: One of the files is no dump, or no rank can be told from it.
    """
    return facts([(path, load(path)) for path in paths])


def facts(files: Sequence[tuple[Path, Dump]]) -> list[Fact]:
    """The same of dumps that are loaded."""
    where = {dump.rank: str(path) for path, dump in files}
    first = str(files[0][0]) if files else None
    return [
        Fact(
            kind=finding.kind,
            text=finding.text,
            evidence="inventory",
            source=where.get(finding.rank, first) if finding.rank is not None else first,
            time=finding.time,
            order=place,
            component=finding.component,
            fields=finding.fields,
        )
        for place, finding in enumerate(collectives.findings([dump for _, dump in files]))
    ]


def load(path: Path) -> Dump:
    """One dump.

    Raises:
        Unreadable: It cannot be read, is no dump, or carries no rank.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable("a flight-recorder dump", str(path), "it is larger than 512 MiB")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error) from error
    value = parse(data)
    if value is None:
        raise Unreadable(
            "a flight-recorder dump", str(path), "it is neither JSON nor a pickle of plain values"
        )
    rank = value.get("rank")
    if not isinstance(rank, int):
        match = _RANK_IN_NAME.search(path.name)
        if match is None:
            raise Unreadable(
                "the rank of a flight-recorder dump", str(path), "let its name end in the rank"
            )
        rank = int(match[1])
    return to_dump(value, rank)


def parse(data: bytes) -> Mapping[str, object] | None:
    """The dump's outermost mapping; None for anything that is no dump."""
    value: object
    if data.lstrip()[:1] == b"{":
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
    else:
        try:
            value = plain_pickle.loads(data)
        except plain_pickle.NotPlain:
            return None
    if not isinstance(value, dict) or not isinstance(value.get("entries"), list | tuple):
        return None
    if not plain_pickle.is_small(value, len(data)):
        return None
    return value


def to_dump(value: Mapping[str, object], rank: int) -> Dump:
    """The calls, groups and progress; what is not as expected is left out."""
    groups: dict[str, tuple[int, ...]] = {}
    for name, config in _mapping(value.get("pg_config")).items():
        members = _ranks(_mapping(config).get("ranks"))
        if members:
            groups[name] = members
    enqueued: dict[str, int] = {}
    for group_id, status in _mapping(value.get("pg_status")).items():
        last = _mapping(status).get("last_enqueued_collective")
        if isinstance(last, int):
            enqueued[group_id] = last
    entries = value["entries"]
    calls = tuple(_calls(entries if isinstance(entries, list | tuple) else (), groups))
    return Dump(rank, calls, groups, enqueued)


def _calls(entries: Sequence[object], groups: Mapping[str, tuple[int, ...]]) -> Iterator[Call]:
    for entry in entries:
        fields = _mapping(entry)
        named = fields.get("process_group")
        group_id = str(fields.get("pg_id", ""))
        if isinstance(named, list | tuple) and named:
            group = str(named[0])
            title = str(named[1]) if len(named) > 1 else ""
        else:
            group, title = str(named) if isinstance(named, str) else group_id, ""
        name = str(fields.get("profiling_name", ""))
        pair = _PAIR.search(name)
        number = fields.get("p2p_seq_id" if pair else "collective_seq_id", fields.get("seq_id"))
        if not isinstance(number, int):
            continue
        created = fields.get("time_created_ns")
        yield Call(
            group=group,
            group_id=group_id,
            title=title,
            number=number,
            name=name.removeprefix("nccl:"),
            peers=_peers(pair, groups.get(group, ())) if pair else None,
            done=fields.get("state") == "completed" or fields.get("retired") is True,
            shapes=json.dumps(fields.get("input_sizes"), default=str),
            types=json.dumps(fields.get("input_dtypes"), default=str),
            created_ns=created if isinstance(created, int) else None,
        )


def _peers(pair: re.Match[str], members: tuple[int, ...]) -> tuple[int, int] | None:
    """Sender and receiver as global ranks; the name holds their places in the group."""
    mine, other = int(pair[2]), int(pair[4])
    if max(mine, other) >= len(members):
        return None
    pair_ranks = members[mine], members[other]
    return pair_ranks if pair[1] == "send" else pair_ranks[::-1]


def _mapping(value: object) -> Mapping[str, object]:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def _ranks(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        return tuple(int(number) for number in re.findall(r"\d{1,7}", value))
    if isinstance(value, list | tuple):
        return tuple(number for number in value if isinstance(number, int))
    return ()
