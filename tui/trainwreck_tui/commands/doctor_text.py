"""The words of ``trainwreck doctor`` for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text
from trainwreck_agent.checkup import Report

MARKS = {
    "ok": ("✓", "green"), "absent": ("–", "dim"), "denied": ("✗", "yellow"),
    "error": ("✗", "red"), "slow": ("~", "yellow"), "hang": ("✗", "red"),
}  # fmt: skip


def show(report: Report) -> None:
    """Print the report to stdout."""
    console = Console(highlight=False)
    console.print(_headline(report), "")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for signal in report.signals:
        mark, style = MARKS.get(signal.status, ("?", "yellow"))
        cost = "" if signal.read_us is None else f"{signal.read_us / 1000:.2f} ms"
        told = signal.detail or "fills " + ", ".join(signal.tables)
        table.add_row(Text(mark, style), signal.name, Text(cost, "dim"), Text(told, style))
    console.print("Sources of this machine, each tried just now (mark, name, time of a read):")
    console.print(table)
    console.print(f"\nSignals of the catalogue: {_counts(report)}; --signals lists each.")
    if report.recorded:
        with_rows = [r for r in report.recorded if r.rows]
        console.print("\nRecorded so far:")
        for row in with_rows:
            console.print(f"  {row.name:18} {row.rows:>10,} rows, last {row.last}")
        empty = [r.name for r in report.recorded if not r.rows]
        if empty:
            console.print(f"  nothing in: {', '.join(empty)}", style="dim")
    if report.lost:
        console.print("\nLost or failed, newest first:")
        for line in report.lost:
            console.print(f"  {line}", markup=False)
    if not report.root:
        console.print("\nNot root: marks ✗ above say what root would add.", style="yellow")


def show_signals(report: Report) -> None:
    """Print every signal of the catalogue: where it is kept, or why not."""
    console = Console(highlight=False)
    console.print(_headline(report), f"\nSignals of the catalogue: {_counts(report)}.\n")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=2)
    table.add_column(overflow="fold", ratio=3)
    before = ""
    for one in report.catalogue:
        mark, style = MARKS.get("ok" if one.status == "recorded" else one.status, ("·", "dim"))
        entry = one.entry
        kept = f"{entry.columns[0]} … ({entry.unit})" if entry.columns else ""
        if len(entry.columns) == 1:
            kept = f"{entry.columns[0]} ({entry.unit})"
        told = kept if one.status == "recorded" else f"{one.status}: {one.detail}"
        if one.status == "recorded" and one.detail:
            told += f"; {one.detail}"
        told, before = ("as above" if told == before else told), told
        table.add_row(Text(mark, style), Text(entry.section, "dim"), entry.row, Text(told, style))
    console.print(table)


def _counts(report: Report) -> str:
    counts: dict[str, int] = {}
    for one in report.catalogue:
        counts[one.status] = counts.get(one.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), reverse=True))


def _headline(report: Report) -> Text:
    if report.data_problem:
        return Text(f"No data: {report.data_problem}", "yellow")
    size = f"{(report.data_bytes or 0) / 1e6:.1f} MB"
    if report.recorder_pid is None:
        return Text(f"{report.data}: {size}; no recorder is running", "yellow")
    cost = ""
    if report.recorder_pss_bytes is not None:
        cost = (
            f", {report.recorder_cpu_percent} % of a core,"
            f" {report.recorder_pss_bytes / (1 << 20):.0f} MiB with its children"
        )
    return Text(f"{report.data}: {size}; recorder {report.recorder_pid} is running{cost}", "green")
