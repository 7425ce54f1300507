"""Reads kernel logs: takes a line's prefix apart and says what the line means.

``split`` and ``decode`` look at one line each; ``facts`` reads a whole log, folds the blocks that
belong together and counts repeats.
"""

from __future__ import annotations

from trainwreck_analyzer.kernel.decode import decode, may_decode
from trainwreck_analyzer.kernel.decoded import Decoded
from trainwreck_analyzer.kernel.journal_record import are_records, journal_record, value
from trainwreck_analyzer.kernel.parts import Split
from trainwreck_analyzer.kernel.prefix import may_count, split
from trainwreck_analyzer.kernel.read import (
    Folded,
    KernelClock,
    facts,
    looks_like_kernel,
    needs_every_line,
)

__all__ = [
    "Decoded",
    "Folded",
    "KernelClock",
    "Split",
    "are_records",
    "decode",
    "facts",
    "journal_record",
    "looks_like_kernel",
    "may_count",
    "may_decode",
    "needs_every_line",
    "split",
    "value",
]
