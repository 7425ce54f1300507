"""Says in one line how the clocks were put together, and which could not be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath

from trainwreck_analyzer.clocks.align import Alignment
from trainwreck_analyzer.clocks.moved import later

_MOST_TOLD = 4
_NOTABLE_S = 0.05
_WRONG = (" fast", " slow")
"""What ends so is told first: that clock is wrong."""


def stated(alignments: Mapping[str, Alignment], paths: Iterable[str], *, recorded: bool) -> str:
    """One sentence on the clocks of some files; empty where there is nothing to say.

    ``recorded``: there is data of the recorder too.
    """
    wanted = [path for path in dict.fromkeys(paths) if path in alignments]
    groups: dict[str, list[str]] = defaultdict(list)
    for path in wanted:
        told = _told(_first_of(path, alignments), alone=len(wanted) == 1 and not recorded)
        if told:
            groups[told].append(path)
    groups = _by_host(groups)
    ranked = sorted(groups.items(), key=lambda group: not group[0].endswith(_WRONG))
    parts = [f"{_names(files)}: {told}" for told, files in ranked]
    if len(parts) > _MOST_TOLD:
        parts = [*parts[:_MOST_TOLD], f"{len(parts) - _MOST_TOLD} more likewise"]
    return f"Clocks: {'; '.join(parts)}." if parts else ""


_OF_HOST = " of the same host"


def _by_host(groups: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Several kernel logs, each as one of its host's ranks: told together."""
    alike = [told for told in groups if told.endswith(_OF_HOST)]
    if len(alike) < 2:
        return dict(groups)
    rest = {told: files for told, files in groups.items() if told not in alike}
    return rest | {f"as their ranks' logs{_OF_HOST}": [f for told in alike for f in groups[told]]}


def _first_of(path: str, alignments: Mapping[str, Alignment]) -> Alignment:
    """A file's alignment; of those that lie side by side that of the first, which they took."""
    known = alignments[path]
    while known.with_ in alignments and (known.by == "same" or _equal(known, alignments)):
        known = alignments[known.with_]
    return known


def _equal(known: Alignment, alignments: Mapping[str, Alignment]) -> bool:
    """Whether the steps of two ranks say that their clocks show the same."""
    return known.by == "steps" and known.shift_s == alignments[known.with_].shift_s


def not_compared(
    alignments: Mapping[str, Alignment], paths: Iterable[str], *, recorded: bool
) -> list[str]:
    """A sentence for each group of files that nothing ties to the others, or to the calendar.

    ``recorded``: there is data of the recorder too.
    """
    lost: dict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        known = alignments.get(path)
        if known is not None and known.shift_s is None:
            lost[known.clock].append(path)
    if len(alignments) > 1 or recorded:
        return [
            f"{_names(files)}: {_WHY[clock]}, and no event in it is told by another file or the"
            " recorder: its times are not compared with theirs."
            for clock, files in lost.items()
        ]
    return [f"{_names(files)}: {_WHY[clock]}; {_HOW[clock]}" for clock, files in lost.items()]


_WHY = {
    "boot": "it counts seconds since boot",
    "local": "its times name no zone",
}
_HOW = {
    "boot": "dmesg --time-format iso or journalctl -k -o short-iso would say when it was.",
    "local": "it is not known when it was.",
}


def _told(alignment: Alignment, *, alone: bool) -> str:
    """What is said of one file's clock; nothing where it goes without saying."""
    shift_s = alignment.shift_s
    if shift_s is None or (alone and alignment.by in ("alone", "order", "end")):
        return ""
    skew, how = _skew(alignment), _how(alignment)
    if alignment.by == "host":
        return f"as {how}{', ' * bool(skew)}{skew}"
    if alignment.clock == "boot":
        at = later(datetime.fromtimestamp(0, UTC), shift_s)
        return f"seconds since the boot{f' at {at:%Y-%m-%d %H:%M:%S} UTC' if at else ''}, {how}"
    if alignment.clock == "utc":
        return f"{skew}, {how}" if skew else ""
    if alignment.by == "neighbour" and not shift_s:
        return ""
    if alignment.by == "alone":
        return "no zone named, taken as UTC"
    zone_s = shift_s - alignment.skew_s
    zone = f"UTC{_zone(zone_s)} {how}"
    if skew:
        return f"{zone}, {skew}"
    if alignment.by in ("events", "recorder"):
        return f"{zone}, no skew" if round(zone_s / 60) else ""
    return zone


def _how(alignment: Alignment) -> str:
    events = f"{alignment.events} event{'s' * (alignment.events != 1)}"
    other = PurePath(alignment.with_).name or alignment.with_
    return {
        "neighbour": "by its own lines that name the zone",
        "boot record": "by its own record of the boot",
        "recorded boot": "by the recorder's record of it",
        "recorder": f"by {events} that the recorder saw",
        "events": f"by {events} shared with {other}",
        "steps": f"by {alignment.events} steps shared with {other}",
        "end": f"if the job's end and that of {other} are two minutes apart at most",
        "host": f"{other}{_OF_HOST}",
        "order": f"if its fault and the complaint beside {other} are less than a minute apart",
    }.get(alignment.by, "")


def _skew(alignment: Alignment) -> str:
    if abs(alignment.skew_s) < _NOTABLE_S:
        return ""
    side = "slow" if alignment.skew_s > 0 else "fast"
    return f"{abs(alignment.skew_s):.1f} s {side}"


def _zone(shift_s: float) -> str:
    """The zone of a clock to which ``shift_s`` must be added."""
    minutes = round(-shift_s / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _names(files: list[str]) -> str:
    names = [PurePath(path).name for path in files]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
