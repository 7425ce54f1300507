"""Curves in braille characters: two by four dots a cell, so 80 columns show 160 moments.

Every column of dots keeps the smallest and the largest value of its time, so a spike of one second
stays in a window of hours. Where nothing was measured there is a gap, never a line across it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
"""Bit of the dot in row 0…3 and column 0…1 of a braille cell."""
BLANK = 0x2800
GAP_FACTOR = 3.5
"""A hole longer than so many usual intervals between samples is a gap."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: times in s since 1970 UTC, ascending, and values, nan where not known."""

    name: str
    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class Plot:
    """Cells of a chart: the character and the index of the series in it, −1 for none."""

    cells: NDArray[np.uint16]
    owners: NDArray[np.int16]
    low: float
    high: float


def span(series: Sequence[Series], low: float | None, high: float | None) -> tuple[float, float]:
    """The axis: as asked, else around the finite values; never empty."""
    finite = [s.values[np.isfinite(s.values)] for s in series]
    flat = np.concatenate(finite) if finite else np.empty(0)
    if not flat.size:
        return (low or 0.0, high if high is not None else 1.0)
    bottom = min(float(flat.min()), low) if low is not None else float(flat.min())
    top = max(float(flat.max()), high) if high is not None else float(flat.max())
    if top - bottom <= abs(top) * 1e-9:
        bottom, top = bottom - (abs(bottom) * 0.05 or 0.5), top + (abs(top) * 0.05 or 0.5)
        if low is not None and bottom < low <= float(flat.min()):
            bottom = low
    return bottom, top


def plot(
    series: Sequence[Series], width: int, height: int, start: float, end: float,
    low: float | None = None, high: float | None = None,
) -> Plot:  # fmt: skip
    """The chart of the series between two times (s), ``height`` × ``width`` cells."""
    bottom, top = span(series, low, high)
    cells = np.full((height, width), BLANK, dtype=np.uint16)
    owners = np.full((height, width), -1, dtype=np.int16)
    for index, one in enumerate(series):
        grid = _dots(one, width * 2, height * 4, start, end, bottom, top)
        bits = np.zeros((height, width), dtype=np.uint8)
        for row in range(4):
            for column in range(2):
                bits |= np.where(grid[row::4, column::2], _DOTS[row, column], 0).astype(np.uint8)
        cells |= bits
        owners[bits > 0] = index
    return Plot(cells, owners, bottom, top)


def _dots(
    one: Series, columns: int, rows: int, start: float, end: float, low: float, high: float
) -> NDArray[np.bool_]:
    """Which dots a series sets; row 0 is the top."""
    grid = np.zeros((rows, columns), dtype=np.bool_)
    inside = (one.times >= start) & (one.times <= end) & np.isfinite(one.values)
    times, values = one.times[inside], one.values[inside]
    if not times.size or end <= start:
        return grid
    x = np.minimum(((times - start) / (end - start) * columns).astype(int), columns - 1)
    y = np.clip(((high - values) / (high - low) * (rows - 1)).round().astype(int), 0, rows - 1)
    edges = np.flatnonzero(np.diff(x, prepend=-1))
    top, bottom = np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)
    first, last = y[edges], y[np.append(edges[1:], y.size) - 1]
    began, ended = times[edges], times[np.append(edges[1:], y.size) - 1]
    usual = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    longest = max(usual * GAP_FACTOR, (end - start) / columns * 1.5)
    for n, column in enumerate(x[edges]):
        grid[top[n] : bottom[n] + 1, column] = True
        if n and began[n] - ended[n - 1] <= longest:
            _join(grid, int(x[edges][n - 1]), int(last[n - 1]), int(column), int(first[n]))
    return grid


def _join(grid: NDArray[np.bool_], x0: int, y0: int, x1: int, y1: int) -> None:
    """A straight line of dots between two columns, ends included."""
    steps = max(x1 - x0, abs(y1 - y0), 1)
    xs = np.linspace(x0, x1, steps + 1).round().astype(int)
    ys = np.linspace(y0, y1, steps + 1).round().astype(int)
    grid[ys, xs] = True
