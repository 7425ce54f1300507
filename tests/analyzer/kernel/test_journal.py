"""The journal is understood in every format that ``journalctl -o`` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.kernel import Split, journal_record
from trainwreck_analyzer.kernel.journal_entry import message
from trainwreck_analyzer.render.text import to_text

XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
FINE = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
NOON = FINE.replace(microsecond=0)
OTHERS = ("usb 1-1: new device", "eth0: link up")
Fields = Mapping[str, object]


def entry(text: object, second: int = 0, host: str = "gpu07") -> dict[str, object]:
    return {
        "__CURSOR": f"s=ab;i={second}",
        "__REALTIME_TIMESTAMP": str(1795507200123456 + second * 1_000_000),
        "__MONOTONIC_TIMESTAMP": str(12345678 + second * 1_000_000),
        "_BOOT_ID": "b" * 32,
        "_TRANSPORT": "kernel",
        "PRIORITY": "3",
        "MESSAGE": text,
        "SYSLOG_IDENTIFIER": "kernel",
        "_HOSTNAME": host,
    }


def as_json(some: Fields, separators: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps(some, separators=separators).encode() + b"\n"


def as_bytes(some: Fields) -> Fields:
    return {**some, "MESSAGE": list(f"{some['MESSAGE']} \xff".encode("latin-1"))}


def pretty(some: Fields) -> bytes:
    rows = ",\n".join(f'\t"{name}" : {json.dumps(value)}' for name, value in some.items())
    return f"{{\n{rows}\n}}\n".encode()


def export(some: Fields) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in some.items()).encode() + b"\n"


def binary_export(some: Fields) -> bytes:
    text = f"{some['MESSAGE']}\x01".encode()
    return export(some).replace(
        f"MESSAGE={some['MESSAGE']}\n".encode(),
        b"MESSAGE\n" + len(text).to_bytes(8, "little") + text + b"\n",
    )


def verbose(some: Fields) -> bytes:
    microseconds = int(str(some["__REALTIME_TIMESTAMP"]))
    time = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    rows = "".join(f"    {n}={v}\n" for n, v in some.items() if not n.startswith("__"))
    stamp = f"{time:%a %Y-%m-%d %H:%M:%S}.{microseconds % 1_000_000:06d} UTC"
    return f"{stamp} [s=ab;i=1;b=b]\n{rows}".encode()


FORMATS: dict[str, Callable[[Fields], bytes]] = {
    "json": as_json,
    "json, bytes": lambda some: as_json(as_bytes(some)),
    "json, bytes, spaces": lambda some: as_json(as_bytes(some), (", ", " : ")),
    "json-sse": lambda some: b"data: " + as_json(some) + b"\n",
    "json-seq": lambda some: b"\x1e" + as_json(some),
    "json-pretty": pretty,
    "json-pretty, time last": lambda some: pretty(dict(reversed(some.items()))),
    "export": export,
    "export, time last": lambda some: export(dict(reversed(some.items()))),
    "export, binary": binary_export,
    "verbose": verbose,
}


@pytest.mark.parametrize("form", FORMATS)
def test_an_entry_gives_cause_time_and_host(tmp_path: Path, form: str) -> None:
    log = tmp_path / "journal"
    texts = (*OTHERS, XID, "the last")
    log.write_bytes(b"".join(FORMATS[form](entry(t, n - 2)) for n, t in enumerate(texts)))
    found = diagnose([log])
    (incident,) = found.incidents
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.start == FINE
    assert incident.verdict.component.host == "gpu07"
    (read,) = found.inputs
    assert (read.kind, read.unparsed_lines) == ("kernel_log", 0)
    assert read.first_time == FINE.replace(second=58, minute=59, hour=7)
    assert read.last_time == FINE.replace(second=1)
    assert "GPU has fallen off the bus" in " ".join(to_text(found).split())


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("2026-11-24T08:00:00+0000 gpu07 kernel: {}", NOON),  # short-iso
        ("2026-11-24T08:00:00.123456+00:00 gpu07 kernel: {}", FINE),  # short-iso-precise
        ("2026-11-24T09:00:00.123456+0100 gpu07 kernel: {}", FINE),
        ("Tue 2026-11-24 08:00:00 UTC gpu07 kernel: {}", NOON),  # short-full, with-unit
        ("1795507200.123456 gpu07 kernel: {}", FINE),  # short-unix
        ("[   12.345678] gpu07 kernel: {}", None),  # short-monotonic
        ("[   12.345678                ] gpu07 kernel: {}", None),  # short-delta, the first
        ("[   12.345678 <    0.000012 >] gpu07 kernel: {}", None),  # short-delta
        ("[   12.345678 <    0.000012*>] gpu07 kernel: {}", None),  # of another boot
    ],
)
def test_the_short_formats_are_read(tmp_path: Path, line: str, start: datetime | None) -> None:
    log = tmp_path / "journal"
    log.write_text("".join(line.format(text) + "\n" for text in (*OTHERS, XID)))
    (incident,) = diagnose([log]).incidents
    assert incident.verdict.component.host == "gpu07"
    assert incident.start == start


def test_messages_that_were_too_long_to_be_shown_hide_no_other(tmp_path: Path) -> None:
    log = tmp_path / "journal"
    log.write_bytes(b"".join(as_json(entry(t, n)) for n, t in enumerate([None] * 5 + [XID])))
    found = diagnose([log])
    assert [i.start for i in found.incidents] == [FINE.replace(second=5)]
    assert found.inputs[0].kind == "kernel_log"
    assert found.inputs[0].first_time == FINE


@pytest.mark.parametrize("form", ["export", "verbose", "json-pretty"])
def test_each_entry_of_a_merged_journal_has_its_own_host(form: str) -> None:
    some = [entry(XID, n, f"gpu0{n}") for n in range(3)]
    lines = b"".join(FORMATS[form](one) for one in some).split(b"\n")
    found = [journal_record(lines, n) for n, line in enumerate(lines) if b"MESSAGE" in line]
    told = [(parts.host, parts.time) for parts in found if parts is not None]
    assert told == [(f"gpu0{n}", FINE.replace(second=n)) for n in range(3)]


def test_a_local_clock_is_not_taken_for_utc() -> None:
    lines = verbose(entry(XID)).replace(b" UTC ", b" CET ").split(b"\n")
    parts = journal_record(lines, lines.index(f"    MESSAGE={XID}".encode()))
    assert parts is not None
    assert (parts.text, parts.time, parts.zoned) == (XID, FINE, False)


def test_only_the_message_is_shown_of_an_entry() -> None:
    text = as_json(as_bytes(entry(XID))).decode()
    assert message(text) == f"{XID} \ufffd"
    assert message(f"MESSAGE={XID}") == XID
    assert message(f"[rank0]: {XID}") == f"[rank0]: {XID}"
    assert message('{"loss": 2.5}') == '{"loss": 2.5}'


PIECES = (
    b"MESSAGE=x", b"", b"{", b"}", b"__REALTIME_TIMESTAMP=1795507200123456", b"MESSAGE",
    b"\x05\x00\x00\x00\x00\x00\x00\x00abcde", b"Tue 2026-11-24 08:00:00 UTC [s=1]", b"    A=b",
    b'\t"MESSAGE" : "x",', b'\t"__REALTIME_TIMESTAMP" : "99999999999999999999"', b"Tue 2026-99-99 ",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=60), min_size=1, max_size=40))
def test_any_lines_may_stand_around_an_entry(lines: Sequence[bytes]) -> None:
    for index in range(len(lines)):
        parts = journal_record(lines, index)
        assert parts is None or isinstance(parts, Split)
