"""Facts from what the recorder followed in training logs, and from the processors' work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry.recording import Recording, fact, literal

READS = {
    "training_event": {"kind", "path", "line", "rank", "step", "loss", "grad_norm", "text"},
    "process": {"pid", "rank", "job", "user_ticks", "system_ticks"},
}
_IDLE_SHARE = 0.05
_IDLE_SPAN_S = 8


def find(recording: Recording) -> Iterator[Fact]:
    """Yield silence, the first loss that is not finite, and ranks that did nothing."""
    yield from _silence(recording)
    yield from _not_finite(recording)
    yield from _idle(recording)


def _silence(recording: Recording) -> Iterator[Fact]:
    sql = (
        "SELECT ts, host, path, step, text FROM training_event"
        f" WHERE kind = 'silence' AND {recording.during} ORDER BY ts"
    )
    for row in recording.rows(sql):
        yield fact("run_silent", f"the training log fell silent: {row['text']}", row, sql)


def _not_finite(recording: Recording) -> Iterator[Fact]:
    sql = (
        "SELECT ts, host, path, line, rank, step, loss, grad_norm FROM training_event"
        f" WHERE kind = 'step' AND {recording.during} AND (isnan(loss) OR isinf(loss)"
        " OR isnan(grad_norm) OR isinf(grad_norm)) ORDER BY step, ts LIMIT 8"
    )
    for row in recording.rows(sql)[:1]:
        text = f"step {row['step']}: loss {row['loss']}, grad_norm {row['grad_norm']}"
        # The rank is that of the log line; after the exchange all ranks log the same.
        yield fact("recorded_loss_not_finite", text, {**row, "rank": None}, sql)


def _idle(recording: Recording) -> Iterator[Fact]:
    """Ranks that used nearly no processor time for the last seconds before the first end."""
    ends = [row["ts"] for row in recording.bad_ends if row["rank"] is not None]
    end: datetime = min(ends) if ends else recording.window.end
    start = end - timedelta(seconds=_IDLE_SPAN_S)
    sql = (
        "SELECT host, pid, any_value(rank) AS rank, min(ts) AS ts, max(ts) AS last,"
        " (max(user_ticks + system_ticks) - min(user_ticks + system_ticks)) / 100.0"
        " / nullif(max(epoch(ts)) - min(epoch(ts)), 0) AS cores"
        f" FROM process WHERE rank IS NOT NULL AND {recording.of_job}"
        f" AND ts BETWEEN {literal(start)} AND {literal(end)}"
        f" GROUP BY host, pid HAVING max(epoch(ts)) - min(epoch(ts)) >= {_IDLE_SPAN_S - 3}"
        " ORDER BY rank"
    )
    rows = recording.rows(sql)
    if not rows or any(row["cores"] is None or row["cores"] > _IDLE_SHARE for row in rows):
        return
    text = (
        f"all {len(rows)} ranks used less than {_IDLE_SHARE:.0%} of a core in the last"
        f" {_IDLE_SPAN_S} s: they waited, they did not compute"
    )
    yield fact("ranks_idle", text, {"ts": rows[0]["ts"], "host": rows[0]["host"]}, sql)
