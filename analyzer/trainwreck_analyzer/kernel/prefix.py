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
    __REALTIME_TIMESTAMP=1795507200123456                     journalctl -o export, a line of it
    <4>1 2026-11-24T08:00:00Z host kernel - - - text          syslog (RFC 5424)

Source: https://docs.kernel.org/admin-guide/abi-testing.html (``/dev/kmsg``),
https://man7.org/linux/man-pages/man1/dmesg.1.html, https://www.rfc-editor.org/rfc/rfc5424
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

from trainwreck_analyzer.kernel.journal_entry import OPENINGS, journal_entry, moment_of
from trainwreck_analyzer.kernel.moment import ISO, MONTHS, at, iso_time
from trainwreck_analyzer.kernel.parts import (
    CALLER,
    DMESG,
    HOST_TAG,
    LINE_LIMIT,
    TAG,
    Split,
    inner,
    tagged,
    uncall,
)

_KMSG = re.compile(r"(\d{1,5}),(\d{1,20}),(\d{1,20}),([^;]{0,64});", re.ASCII)
_PRIORITY = re.compile(r"<(\d{1,3})>(1 )?", re.ASCII)
_LEVEL = re.compile(r"[a-z0-9]{2,8} {0,6}:(emerg|alert|crit|err|warn|notice|info|debug) {0,6}: ?")
_CTIME = re.compile(
    r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})"
    r"(?: <[ +]{0,12}(-?\d{1,9}\.\d{1,9})>)?\] ?",
    re.ASCII,
)
_RELATIVE_MINUTE = re.compile(r"\[([A-Z][a-z]{2}) ?(\d{1,2}) (\d\d):(\d\d)\] ?", re.ASCII)
_RELATIVE_DELTA = re.compile(r"\[ {0,12}\+?<? {0,12}\+?(\d{1,9}\.\d{1,9})>?\] ?", re.ASCII)
_WEEKDAY = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?=\d{4}-\d\d-\d\d )")
_SYSLOG = re.compile(
    r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?= )",
    re.ASCII,
)
_UNIX = re.compile(r"(\d{9,10})\.(\d{6}) (?=\S)", re.ASCII)
_REALTIME = re.compile(r'\s{0,8}"?__REALTIME_TIMESTAMP(?:=|" : ")(\d{1,19})', re.ASCII)
_RFC5424 = re.compile(
    r"(\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (?:-|\[(?:[^\]\\]|\\.){0,1024}\]) ?", re.ASCII
)


_MAY_COUNT = re.compile(
    r"\A\s{0,8}[{<\x1e]|\Adata: |\A[\s\ufeff]{0,8}0+,0+,0+,|kernel|MESSAGE|__REALTIME"
    r"|\[[ <+*]{0,30}0+\.0|[A-Z][a-z]{2} {0,2}0{1,2} (?:0000 )?00:00"
)


def may_count(shape_of_line: str) -> bool:
    """Whether the prefix of a line of this shape may tell more than a whole date.

    That is the journal's fields, seconds since boot or the line before, a date without a year.
    """
    return _MAY_COUNT.search(shape_of_line) is not None


def split(line: str, *, zone: tzinfo = UTC, year: int | None = None) -> Split:
    """The line taken apart; a line without a known prefix comes back whole as ``text``.

    Args:
        line: One line, with or without its line ending.
        zone: Where a clock without a zone is taken to stand.
        year: For dates that carry none.
    """
    if line.startswith(OPENINGS):
        found = journal_entry(line)
        if found is not None:
            return found
    match = _REALTIME.match(line)
    if match:
        return Split(text="", time=moment_of(match[1]))
    line = line[:LINE_LIMIT].strip("\r\n\0").lstrip("\ufeff")
    match = _KMSG.match(line)
    if match:
        level = int(match[1])
        return Split(
            text=uncall(line[match.end() :]),
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
    match = ISO.match(line, _weekday_end(line))
    if match:
        time = iso_time(match, zone)
        if time is not None:
            rest = line[match.end() :].removeprefix(" ")
            return replace(tagged(rest), time=time, zoned=match[8] is not None)
    match = _SYSLOG.match(line)
    if match and match[1] in MONTHS:
        stated = int(match[3]) if match[3] else year
        time = None
        if stated is not None:
            time = at(stated, MONTHS[match[1]], match.group(2, 4, 5, 6), match[7], zone)
        rest = line[match.end() :].removeprefix(" ")
        return replace(tagged(rest), time=time, zoned=False, yearless=match[3] is None)
    match = _UNIX.match(line)
    if match:
        time = datetime.fromtimestamp(int(match[1]), UTC) + timedelta(microseconds=int(match[2]))
        return replace(tagged(line[match.end() :]), time=time)
    match = TAG.match(line)
    if match:
        return replace(inner(line[match.end() :]), program="kernel")
    return Split(text=line)


def _weekday_end(line: str) -> int:
    match = _WEEKDAY.match(line)
    return match.end() if match else 0


def _bracketed(line: str, zone: tzinfo, year: int | None) -> Split:
    """A line that begins with one of dmesg's own clocks."""
    match = DMESG.match(line)
    if match:
        rest = uncall(line[match.end() :])
        tag = HOST_TAG.match(rest)
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
    if match and match[1] in MONTHS:
        time = at(int(match[6]), MONTHS[match[1]], match.group(2, 3, 4, 5), None, zone)
        return Split(
            text=uncall(line[match.end() :]),
            time=time,
            zoned=False,
            delta_s=float(match[7]) if match[7] else None,
            program="kernel",
        )
    match = _RELATIVE_MINUTE.match(line)
    if match and match[1] in MONTHS:
        time = None
        if year is not None:
            time = at(year, MONTHS[match[1]], (*match.group(2, 3, 4), "0"), None, zone)
        return Split(
            text=uncall(line[match.end() :]),
            time=time,
            zoned=False,
            yearless=True,
            program="kernel",
        )
    match = _RELATIVE_DELTA.match(line)
    if match:
        return Split(text=uncall(line[match.end() :]), delta_s=float(match[1]), program="kernel")
    match = CALLER.match(line)
    if match:
        return Split(text=line[match.end() :], program="kernel")
    return Split(text=line)


def _rfc5424(line: str, priority: int, zone: tzinfo) -> Split:
    """A line after ``<pri>1``."""
    match = ISO.match(line)
    time = iso_time(match, zone) if match else None
    rest = line[match.end() :].removeprefix(" ") if match else line.removeprefix("- ")
    header = _RFC5424.match(rest)
    if header is None:
        return Split(text=rest, time=time, priority=priority)
    return replace(
        inner(rest[header.end() :].removeprefix("\ufeff")),
        time=time,
        zoned=match is None or match[8] is not None,
        host=None if header[1] == "-" else header[1],
        program=None if header[2] == "-" else header[2],
        priority=priority,
    )
