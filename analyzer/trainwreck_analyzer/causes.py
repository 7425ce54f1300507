"""The causes a verdict may name, from ``causes.csv`` beside this file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DOMAINS = (
    "hardware",
    "architecture",
    "memory",
    "algorithm",
    "software",
    "operational",
    "none",
)


@dataclass(frozen=True, slots=True)
class Cause:
    """One row of the catalogue of causes."""

    code: str
    domain: str
    title: str
    means: str
    prior: float
    """How often it is the cause, relative to the others, before any evidence."""


@cache
def causes() -> dict[str, Cause]:
    """Every cause by its code, in the order of the file."""
    with Path(__file__).with_name("causes.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["code"]: Cause(
                row["code"], row["domain"], row["title"], row["means"], float(row["prior"])
            )
            for row in csv.DictReader(file)
        }


def domain(code: str) -> str:
    """The domain of a cause; ``none`` for a code that is not in the catalogue."""
    found = causes().get(code)
    return found.domain if found else "none"
