r"""Takes the prefix of a kernel line apart, whoever wrote it.

::

    6,1234,5678901,-;NVRM: Xid …                              /dev/kmsg
    [   12.345678] text           [   12.345678] [ T1946] text          dmesg, printk caller
    <6>[   12.345678] text        kern  :warn  : [   12.345678] text    dmesg -r, dmesg -x
    [Tue Nov 24 08:00:00 2026] text                           dmesg -T
    2026-11-24T08:00:00,123456+00:00 text                     dmesg --time-format=iso
    [Nov24 08:00] text            [  +0.056775] text          dmesg -e
    [   12.345678 <    0.000012>] text                        dmesg -d
    Nov 24 08:00:00 host kernel: text                         journalctl, syslog (RFC 3164)
    2026-11-24T08:00:00+0000 host kernel: text                journalctl -o short-iso, rsyslog
    Tue 2026-11-24 08:00:00 UTC host kernel: text             journalctl -o short-full
    1795507200.123456 host kernel: text                       journalctl -o short-unix
    {"MESSAGE": "text", "__REALTIME_TIMESTAMP": "1795507200123456", …}  journalctl -o json
    <4>1 2026-11-24T08:00:00Z host kernel - - - text          syslog (RFC 5424)

Source: https://docs.kernel.org/admin-guide/abi-testing.html (``/dev/kmsg``),
https://man7.org/linux/man-pages/man1/dmesg.1.html, https://www.rfc-editor.org/rfc/rfc5424
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo

LINE_LIMIT = 4096
"""Characters of a line that are looked at. The kernel cuts a record at 1,024 bytes; the prefix and
a control-group path come on top. A longer line is cut, so that no pattern sees a megabyte."""

_JSON_LIMIT = 65536
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_KMSG = re.compile(r"(\d{1,5}),(\d{1,20}),(\d{1,20}),([^;]{0,64});", re.ASCII)
_PRIORITY = re.compile(r"<(\d{1,3})>(1 )?", re.ASCII)
_LEVEL = re.compile(r"[a-z0-9]{2,8} {0,6}:(emerg|alert|crit|err|warn|notice|info|debug) {0,6}: ?")
_DMESG = re.compile(r"\[ {0,12}(\d{1,12}\.\d{1,9})(?: <[ +]{0,12}(-?\d{1,9}\.\d{1,9})>)?\] ?")
_CTIME = re.compile(
    r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})"
    r"(?: <[ +]{0,12}(-?\d{1,9}\.\d{1,9})>)?\] ?",
    re.ASCII,
)
_RELATIVE_MINUTE = re.compile(r"\[([A-Z][a-z]{2}) ?(\d{1,2}) (\d\d):(\d\d)\] ?", re.ASCII)
_RELATIVE_DELTA = re.compile(r"\[ {0,12}\+?<? {0,12}\+?(\d{1,9}\.\d{1,9})>?\] ?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r" ?(Z|UTC|[+-]\d\d:?\d\d)?(?= |$)",
    re.ASCII,
)
_WEEKDAY = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?=\d{4}-\d\d-\d\d )")
_SYSLOG = re.compile(
    r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?= )",
    re.ASCII,
)
_UNIX = re.compile(r"(\d{9,10})\.(\d{6}) (?=\S)", re.ASCII)
_CALLER = re.compile(r"\[ {0,8}[TC]\d{1,10}\] ?", re.ASCII)
_HOST_TAG = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._:-]{0,252}) ([A-Za-z0-9_./()@-]{1,64})(?:\[\d{1,10}\])?: ?", re.ASCII
)
_TAG = re.compile(r"kernel(?:\[\d{1,10}\])?: ?", re.ASCII)
_RFC5424 = re.compile(
    r"(\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (?:-|\[(?:[^\]\\]|\\.){0,1024}\]) ?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Split:
    """A line without its prefix, and what the prefix said."""

    text: str
    time: datetime | None = None
    """Aware UTC. None: no wall clock, or a date without a year and no ``year`` was given."""
    zoned: bool = True
    """False: the wall clock names no zone, so the ``zone`` of the caller was assumed."""
    yearless: bool = False
    """True: the date carries no year; ``time`` uses the caller's, or is None."""
    monotonic_s: float | None = None
    """Seconds since boot."""
    delta_s: float | None = None
    """Seconds since the line before (``dmesg -d`` and ``-e``)."""
    host: str | None = None
    program: str | None = None
    """``kernel`` where the prefix says so, else the syslog tag."""
    priority: int | None = None
    """Syslog severity, 0 emergency … 7 debug."""
    sequence: int | None = None
    """Sequence number of ``/dev/kmsg``; a gap means lost lines."""

    @property
    def dated(self) -> bool:
        """Whether the prefix carried any clock at all."""
        return (
            self.time is not None
            or self.yearless
            or self.monotonic_s is not None
            or self.delta_s is not None
        )


def split(line: str, *, zone: tzinfo = UTC, year: int | None = None) -> Split:
    """The line taken apart; a line without a known prefix comes back whole as ``text``.

    Args:
        line: One line, with or without its line ending.
        zone: Where a clock without a zone is taken to stand.
        year: For dates that carry none.
    """
    if line.startswith("{"):
        found = _journal_json(line[:_JSON_LIMIT].strip())
        if found is not None:
            return found
    line = line[:LINE_LIMIT].strip("\r\n\0").lstrip("\ufeff")
    match = _KMSG.match(line)
    if match:
        level = int(match[1])
        return Split(
            text=_uncall(line[match.end() :]),
            monotonic_s=int(match[3]) / 1e6,
            program="kernel",
            priority=level & 7,
            sequence=int(match[2]),
        )
    line = line.lstrip(" \t") if line[:1] in " \t" else line
    priority: int | None = None
    match = _PRIORITY.match(line)
    if match:
        priority = int(match[1]) & 7
        line = line[match.end() :]
        if match[2]:
            return _rfc5424(line, priority, zone)
    match = _LEVEL.match(line)
    kernel = match is not None
    if match:
        levels = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
        priority = levels.index(match[1])
        line = line[match.end() :]
    got = _clock(line, zone, year)
    if kernel and got.program is None:
        got = replace(got, program="kernel")
    return replace(got, priority=priority) if priority is not None else got


def _clock(line: str, zone: tzinfo, year: int | None) -> Split:
    """The line with its clock, host and tag taken off."""
    if line.startswith("["):
        return _bracketed(line, zone, year)
    match = _ISO.match(line, _weekday_end(line))
    if match:
        time = _iso_time(match, zone)
        if time is not None:
            rest = line[match.end() :].removeprefix(" ")
            return replace(_tagged(rest), time=time, zoned=match[8] is not None)
    match = _SYSLOG.match(line)
    if match and match[1] in _MONTHS:
        stated = int(match[3]) if match[3] else year
        time = None
        if stated is not None:
            time = _at(stated, _MONTHS[match[1]], match.group(2, 4, 5, 6), match[7], zone)
        rest = line[match.end() :].removeprefix(" ")
        return replace(_tagged(rest), time=time, zoned=False, yearless=match[3] is None)
    match = _UNIX.match(line)
    if match:
        time = datetime.fromtimestamp(int(match[1]), UTC) + timedelta(microseconds=int(match[2]))
        return replace(_tagged(line[match.end() :]), time=time)
    match = _TAG.match(line)
    if match:
        return replace(_inner(line[match.end() :]), program="kernel")
    return Split(text=line)


def _weekday_end(line: str) -> int:
    match = _WEEKDAY.match(line)
    return match.end() if match else 0


def _bracketed(line: str, zone: tzinfo, year: int | None) -> Split:
    """A line that begins with one of dmesg's own clocks."""
    match = _DMESG.match(line)
    if match:
        rest = _uncall(line[match.end() :])
        tag = _HOST_TAG.match(rest)
        host: str | None = None
        if tag and tag[2] == "kernel":
            host, rest = tag[1], rest[tag.end() :]
        return Split(
            text=rest,
            monotonic_s=float(match[1]),
            delta_s=float(match[2]) if match[2] else None,
            host=host,
            program="kernel" if host or len(match[1].partition(".")[2]) == 6 else None,
        )
    match = _CTIME.match(line)
    if match and match[1] in _MONTHS:
        time = _at(int(match[6]), _MONTHS[match[1]], match.group(2, 3, 4, 5), None, zone)
        return Split(
            text=_uncall(line[match.end() :]),
            time=time,
            zoned=False,
            delta_s=float(match[7]) if match[7] else None,
            program="kernel",
        )
    match = _RELATIVE_MINUTE.match(line)
    if match and match[1] in _MONTHS:
        time = None
        if year is not None:
            time = _at(year, _MONTHS[match[1]], (*match.group(2, 3, 4), "0"), None, zone)
        return Split(
            text=_uncall(line[match.end() :]),
            time=time,
            zoned=False,
            yearless=True,
            program="kernel",
        )
    match = _RELATIVE_DELTA.match(line)
    if match:
        return Split(text=_uncall(line[match.end() :]), delta_s=float(match[1]), program="kernel")
    match = _CALLER.match(line)
    if match:
        return Split(text=line[match.end() :], program="kernel")
    return Split(text=line)


def _tagged(rest: str) -> Split:
    """``host tag: text`` taken apart; without it the rest is the text."""
    match = _HOST_TAG.match(rest)
    if match:
        return replace(_inner(rest[match.end() :]), host=match[1], program=match[2])
    match = _TAG.match(rest)
    if match:
        return replace(_inner(rest[match.end() :]), program="kernel")
    return _inner(rest)


def _inner(rest: str) -> Split:
    """What syslog got from the kernel, which often carries the kernel's own clock."""
    match = _DMESG.match(rest)
    if match:
        return Split(text=_uncall(rest[match.end() :]), monotonic_s=float(match[1]))
    return Split(text=_uncall(rest))


def _uncall(text: str) -> str:
    """The text without ``[ T1946]``, which ``CONFIG_PRINTK_CALLER`` adds."""
    match = _CALLER.match(text)
    return text[match.end() :] if match else text


def _rfc5424(line: str, priority: int, zone: tzinfo) -> Split:
    """A line after ``<pri>1``."""
    match = _ISO.match(line)
    time = _iso_time(match, zone) if match else None
    rest = line[match.end() :].removeprefix(" ") if match else line.removeprefix("- ")
    header = _RFC5424.match(rest)
    if header is None:
        return Split(text=rest, time=time, priority=priority)
    inner = _inner(rest[header.end() :].removeprefix("\ufeff"))
    return replace(
        inner,
        time=time,
        zoned=match is None or match[8] is not None,
        host=None if header[1] == "-" else header[1],
        program=None if header[2] == "-" else header[2],
        priority=priority,
    )


def _journal_json(line: str) -> Split | None:
    """One object of ``journalctl -o json``; None where it is something else."""
    if '"MESSAGE"' not in line and '"__REALTIME_TIMESTAMP"' not in line:
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        # Bytes that are no UTF-8 come as a list of numbers.
        codes = [code for code in message if isinstance(code, int) and 0 <= code < 256]
        message = bytes(codes).decode("utf-8", "replace")
    if not isinstance(message, str):
        return None
    inner = _inner(message[:LINE_LIMIT])
    mono_us = _whole(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", entry.get("__MONOTONIC_TIMESTAMP")))
    real_us = _whole(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry.get("__REALTIME_TIMESTAMP")))
    priority = _whole(entry.get("PRIORITY"))
    return Split(
        text=inner.text,
        time=_epoch(real_us),
        monotonic_s=mono_us / 1e6 if mono_us is not None else inner.monotonic_s,
        host=_text(entry.get("_HOSTNAME")),
        program="kernel"
        if entry.get("_TRANSPORT") == "kernel"
        else _text(entry.get("SYSLOG_IDENTIFIER")),
        priority=priority if priority is not None and priority < 8 else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _epoch(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _iso_time(match: re.Match[str], zone: tzinfo) -> datetime | None:
    where = match[8]
    stated: tzinfo = zone
    if where in ("Z", "UTC"):
        stated = UTC
    elif where:
        digits = where[1:].replace(":", "")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if minutes >= 24 * 60:
            return None
        stated = timezone(timedelta(minutes=minutes if where[0] == "+" else -minutes))
    return _at(int(match[1]), int(match[2]), match.group(3, 4, 5, 6), match[7], stated)


def _at(
    year: int, month: int, clock: Sequence[str], fraction: str | None, zone: tzinfo
) -> datetime | None:
    """The moment in UTC; None for a date that does not exist.

    Args:
        year: Four digits.
        month: From 1.
        clock: Day, hour, minute, second.
        fraction: Digits after the second's point.
        zone: Where the clock stands.
    """
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    day, hour, minute, second = map(int, clock)
    try:
        # A leap second is written as 60, which no datetime can hold.
        moment = datetime(year, month, day, hour, minute, min(second, 59), microsecond, zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
