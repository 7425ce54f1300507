r"""Lines that only show a text: training samples, source code, a runbook, a table of completions.

A log that prints them holds any error there is, and none of them happened::

    {"prompt": "kernel: Out of memory: Killed process 4711", "completion": "Ask for more memory"}
        if 'Xid 79' in line:  # NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus
    * If you see `Xid 48` drain the node
"""

from __future__ import annotations

import re

_LONGEST_CHARACTERS = 20_000
_KEY = re.compile(r"[\"'](@?\w{1,30})[\"']\s?:", re.ASCII)
_OF_A_SAMPLE = frozenset(
    {
        "prompt", "completion", "instruction", "response", "question", "answer", "text", "input",
        "output", "content", "conversations", "messages", "chosen", "rejected", "document", "query",
        "problem", "solution", "context", "passage", "title", "body",
    }
)  # fmt: skip
_OF_A_LOG = frozenset(
    {
        "level", "lvl", "levelname", "severity", "msg", "message", "log", "logger", "time", "ts",
        "timestamp", "@timestamp", "asctime", "stream", "error", "exception", "exc_info", "event",
        "host", "hostname", "reason", "status", "MESSAGE", "_HOSTNAME", "rank", "pid", "traceback",
    }
)  # fmt: skip
_CODE = re.compile(
    r"\s{2,60}(?:#(?!error|\d)|//|(?:el)?if |raise |return |assert |except[ :]|print\(|self\.)"
    r"|\s{2,60}log(?:ger|ging)?\."
    r"|\s{0,60}(?:(?:def|class) \w{1,100}\s?[(:]|from [\w.]{1,100} import "
    r"|import [\w.]{1,100}(?:,|\s*$| as ))",
    re.ASCII,
)
"""Neither what a compiler said (`#error`) nor a frame of a native stack (`#0 0x7f…`)."""
_WIDE = "   "
"""nvidia-smi fills its cells up; a row of words does not."""
_PROSE = re.compile(
    r"\s{0,12}(?:[*+-]|\d{1,3}\.) (?:If|When|Whenever|Unless|Should|Where|In case|For|To|Run"
    r"|Rerun|Check|Use|Try|See|Look|Set|Add|Make|Verify|Ensure|Avoid|Do|Don't|Never|Always|Drain|Restart|Reboot)\b"
    r".{0,300}`",
    re.ASCII,
)
"""An instruction; what a person found and notes down in items is said, and heard."""


def quoted(line: str) -> bool:
    """Whether a line of a training log shows a text instead of saying it."""
    head = line[:_LONGEST_CHARACTERS].lstrip()
    if head.startswith(("{", "[{")):
        keys = set(_KEY.findall(head))
        return bool(keys & _OF_A_SAMPLE) and not keys & _OF_A_LOG
    if head.startswith("| ") and head.rstrip().endswith(" |") and _WIDE not in head:
        return True
    return _CODE.match(line) is not None or _PROSE.match(line) is not None
