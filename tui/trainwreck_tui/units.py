"""Numbers and times as people read them. The only place that formats them.

1.2e9 bytes become ``1.1 GiB``, 123 seconds ``2 m 03 s``. ``None`` and nan become ``–``: not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

UNKNOWN = "–"


def known(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> str:
    """Three significant digits, thousands apart by a thin space: ``12 400``, ``0.312``."""
    if value is None:
        return UNKNOWN
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e15 or size < 1e-3:
        return f"{value:.1e}"
    if size >= 100:
        return f"{value:,.0f}".replace(",", "\u2009")
    digits = 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float | None, base: float, names: tuple[str, ...], suffix: str = "") -> str:
    if value is None or not math.isfinite(value):
        return number(value)
    size, step = abs(value), 0
    while size >= base * 0.9995 and step < len(names) - 1:
        size /= base
        step += 1
    digits = 0 if step == 0 or size >= 100 else 1
    return f"{'−' if value < 0 else ''}{size:.{digits}f} {names[step]}{suffix}"


def size_bytes(value: float | None) -> str:
    """Bytes in binary multiples: ``1.1 GiB``."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def rate_bytes(value: float | None) -> str:
    """Bytes per second: ``12.5 MiB/s``."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), "/s")


def seconds(value: float | None) -> str:
    """A duration: ``12 ms``, ``4.2 s``, ``2 m 03 s``, ``1 h 04 m``, ``3 d 02 h``."""
    if value is None or not math.isfinite(value):
        return number(value)
    sign, value = ("−" if value < 0 else ""), abs(value)
    if value < 1:
        return f"{sign}{value * 1e3:.0f} ms" if value else "0 s"
    if value < 60:
        return f"{sign}{value:.1f}".removesuffix(".0") + " s"
    whole = round(value)
    if whole < 3600:
        return f"{sign}{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{sign}{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{sign}{whole // 86400} d {whole % 86400 // 3600:02d} h"


def percent(value: float | None) -> str:
    """``42 %``; one digit below ten."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:.1f} %" if 0 < abs(value) < 9.95 else f"{value:.0f} %"


def probability(value: float) -> str:
    """A probability of 0 … 1 as ``92 %``; never 100 % nor 0 % unless it is."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{value * 100:.0f} %"


def confidence_word(value: float) -> str:
    """The word that stands beside a probability."""
    for least, word in (
        (0.95, "almost certain"),
        (0.8, "very likely"),
        (0.6, "likely"),
        (0.4, "may be"),
        (0.15, "unlikely"),
    ):
        if value >= least:
            return word
    return "very unlikely"


def count(value: int, one: str, many: str | None = None) -> str:
    """``1 line``, ``12 400 lines``."""
    text = f"{value:,}".replace(",", "\u2009")
    return f"{text} {one if value == 1 else many or one + 's'}"


FORMATS: dict[str, Callable[[float | None], str]] = {
    "bytes": size_bytes,
    "bytes/s": rate_bytes,
    "s": seconds,
    "%": percent,
}


def value(amount: float | None, unit: str) -> str:
    """A number in the unit of a lane: ``value(71, "°C") == "71 °C"``."""
    if unit in FORMATS:
        return FORMATS[unit](amount)
    text = number(amount)
    return f"{text} {unit}" if unit and known(amount) else text


def fitted(amount: float | None, unit: str, width: int) -> str:
    """The same in ``width`` cells, 8 at least: shorter where it must be, never cut off."""
    text = value(amount, unit)
    close = text.replace(" ", "")
    for words in (text, close, close.replace("iB", "")):
        if len(words) <= width:
            return words
    power = f"{amount:.1e}"
    return power if len(power) <= width else f"{amount:.0e}"


def clock(time: datetime | None, *, local: bool = False, date: bool = False) -> str:
    """Time of day to the second, UTC unless ``local``; with the date if asked."""
    if time is None:
        return UNKNOWN
    shown = time.astimezone(None if local else UTC)
    return shown.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")


def zone(time: datetime | None, *, local: bool = False) -> str:
    """Name of the time zone that ``clock`` shows."""
    if not local:
        return "UTC"
    return (time or datetime.now(UTC)).astimezone().tzname() or "local"


def offset(of_s: float) -> str:
    """Time from the crash: ``−2 m 03 s``, ``+4 s``, ``at the crash``."""
    if abs(of_s) < 0.5:
        return "at the crash"
    return f"{'+' if of_s > 0 else '−'}{seconds(round(abs(of_s)))}"
