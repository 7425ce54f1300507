"""Every usual writer's prefix comes off, and says what it said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import kernel
from trainwreck_analyzer.kernel import Split

XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
NOON = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)
FINE = NOON.replace(microsecond=123456)
JOURNAL = {
    "MESSAGE": XID,
    "__REALTIME_TIMESTAMP": "1795507200123456",
    "__MONOTONIC_TIMESTAMP": "12345678",
    "_HOSTNAME": "gpu07",
    "_TRANSPORT": "kernel",
    "PRIORITY": "3",
}
K = "kernel"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"6,1234,5678901,-;{XID}",
            Split(XID, monotonic_s=5.678901, program=K, priority=6, sequence=1234),
        ),
        (
            f"4,1234,5678901,-,caller=T1946;{XID}",
            Split(XID, monotonic_s=5.678901, program=K, priority=4, sequence=1234),
        ),
        (f"[   12.345678] {XID}", Split(XID, monotonic_s=12.345678, program=K)),
        (f"[ 130.456250] [ T1946] {XID}", Split(XID, monotonic_s=130.45625, program=K)),
        (f"[  130.456250][    C3] {XID}", Split(XID, monotonic_s=130.45625, program=K)),
        (f"[   T10] {XID}", Split(XID, program=K)),
        (f"<6>[   12.345678] {XID}", Split(XID, monotonic_s=12.345678, program=K, priority=6)),
        (f"<3>{XID}", Split(XID, priority=3)),
        (
            f"kern  :warn  : [   12.345678] {XID}",
            Split(XID, monotonic_s=12.345678, program=K, priority=4),
        ),
        (
            f"kern  :warn  : 2026-11-24T08:00:00,123456+00:00 {XID}",
            Split(XID, FINE, program=K, priority=4),
        ),
        (f"[Tue Nov 24 08:00:00 2026] {XID}", Split(XID, NOON, zoned=False, program=K)),
        (f"[Tue Nov  3 08:00:00 2026] {XID}", Split(XID, NOON.replace(day=3), False, program=K)),
        (
            f"[Tue Nov 24 08:00:00 2026 <    0.000012>] {XID}",
            Split(XID, NOON, zoned=False, delta_s=0.000012, program=K),
        ),
        (f"2026-11-24T08:00:00,123456+00:00 {XID}", Split(XID, FINE)),
        (f"2026-11-24T10:00:00,123456+02:00 {XID}", Split(XID, FINE)),
        (
            f"[   12.345678 <    0.000012>] {XID}",
            Split(XID, monotonic_s=12.345678, delta_s=0.000012, program=K),
        ),
        (f"[<    0.000012>] {XID}", Split(XID, delta_s=0.000012, program=K)),
        (f"[  +0.056775] {XID}", Split(XID, delta_s=0.056775, program=K)),
        (f"[Nov24 08:00] {XID}", Split(XID, NOON, zoned=False, yearless=True, program=K)),
        (
            f"Nov 24 08:00:00 gpu07 kernel: {XID}",
            Split(XID, NOON, zoned=False, yearless=True, host="gpu07", program=K),
        ),
        (
            f"Nov 24 08:00:00.123456 gpu07 kernel: [   12.345678] {XID}",
            Split(XID, FINE, False, True, 12.345678, host="gpu07", program=K),
        ),
        (
            f"<4>Nov 24 08:00:00 gpu07 kernel: {XID}",
            Split(XID, NOON, False, True, host="gpu07", program=K, priority=4),
        ),
        (
            f"2026-11-24T08:00:00+0000 gpu07 kernel: {XID}",
            Split(XID, NOON, host="gpu07", program=K),
        ),
        (
            f"2026-11-24T09:00:00.123456+01:00 gpu07 kernel: [   12.345678] {XID}",
            Split(XID, FINE, monotonic_s=12.345678, host="gpu07", program=K),
        ),
        (
            f"Tue 2026-11-24 08:00:00 UTC gpu07 kernel: {XID}",
            Split(XID, NOON, host="gpu07", program=K),
        ),
        (f"1795507200.123456 gpu07 kernel: {XID}", Split(XID, FINE, host="gpu07", program=K)),
        (
            f"[   12.345678] gpu07 kernel: {XID}",
            Split(XID, monotonic_s=12.345678, host="gpu07", program=K),
        ),
        (
            f"<4>1 2026-11-24T08:00:00.123456Z gpu07 kernel - - - {XID}",
            Split(XID, FINE, host="gpu07", program=K, priority=4),
        ),
        (
            f'<4>1 2026-11-24T08:00:00Z gpu07 kernel - ID7 [x@1 a="b\\]c"] {XID}',
            Split(XID, NOON, host="gpu07", program=K, priority=4),
        ),
        (
            json.dumps(JOURNAL),
            Split(XID, FINE, monotonic_s=12.345678, host="gpu07", program=K, priority=3),
        ),
        (
            json.dumps(JOURNAL | {"MESSAGE": list(XID.encode())}),
            Split(XID, FINE, monotonic_s=12.345678, host="gpu07", program=K, priority=3),
        ),
        (f"kernel: {XID}", Split(XID, program=K)),
        (XID, Split(XID)),
        (f"              {XID}\r\n", Split(XID)),
    ],
)
def test_prefix_comes_off(line: str, expected: Split) -> None:
    got = kernel.split(line, year=2026)
    assert got == expected
    assert kernel.decode(got.text) is not None


def test_a_clock_without_a_zone_takes_the_callers() -> None:
    line = "[Tue Nov 24 08:00:00 2026] x"
    got = kernel.split(line, zone=timezone(timedelta(hours=9)))
    assert got.time == NOON - timedelta(hours=9)


def test_a_date_without_a_year_has_no_time_unless_the_year_is_given() -> None:
    line = "Nov 24 08:00:00 gpu07 kernel: x"
    assert kernel.split(line).time is None
    assert kernel.split(line).yearless
    assert kernel.split(line, year=2026).time == NOON


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-24 08:00:00,123] [INFO] step 5",
        "[rank3]: Traceback (most recent call last):",
        "[99/100] loss 3.2",
        "Feb 30 08:00:00 gpu07 kernel: x",
        "2026-13-45T99:99:99 x",
        '{"MESSAGE": 5}',
        '{"loss": 1}',
    ],
)
def test_what_is_no_kernel_prefix_has_no_false_time(line: str) -> None:
    assert kernel.split(line, year=2026).time is None


@given(st.text(max_size=300))
def test_any_text_can_be_split(text: str) -> None:
    got = kernel.split(text, year=2026)
    assert got.time is None or got.time.utcoffset() == timedelta(0)
    assert len(got.text) <= max(len(text), 1) * 2 + 16


@given(
    st.sampled_from(["[", "<", "6,1,", "Nov 24 ", "2026-11-24T", "{", "kern  :", "[Tue Nov "]),
    st.text(alphabet='0123456789.:+-<>[]{}", TCNov;=Z\\', max_size=200),
)
@settings(max_examples=300)
def test_nearly_right_prefixes_can_be_split(start: str, rest: str) -> None:
    assert isinstance(kernel.split(start + rest, year=2026), Split)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["[", "[ 1.", "<1>", "{", " ", "Nov 24 ", "a ", "\\]", "1,"])
def test_a_line_of_a_megabyte_is_cut(piece: str) -> None:
    line = piece * (2**20 // len(piece))
    for start in ("", "{", "<4>1 2026-11-24T08:00:00Z h kernel - - [", "6,1,1,-;"):
        got = kernel.split(start + line, year=2026)
        assert len(got.text) <= 65536
        kernel.decode(line)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (f"[   12.345678] {XID}\n[   12.345690] usb 1-1: new device\n", True),
        ("Nov 24 08:00:00 gpu07 kernel: eth0: up\n", True),
        ("6,1,1,-;text\n SUBSYSTEM=pci\n6,2,2,-;text\n", True),
        (f"{XID}\n", True),
        ("step 1 loss 2.0\nstep 2 loss 1.9\n" + XID, False),
        ("[2026-11-24 08:00:00,123] [INFO] step 5\n", False),
        ("[1.5] loss\n", False),
        ("", False),
    ],
)
def test_kernel_logs_are_told_from_others(sample: str, expected: bool) -> None:
    assert kernel.looks_like_kernel(sample) is expected
