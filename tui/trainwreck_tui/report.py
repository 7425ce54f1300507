"""A diagnosis written to one file that can be sent away; the file's ending says as what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainwreck_analyzer.verdict import Diagnosis

KINDS = (".duckdb", ".html", ".json", ".txt")


def write(diagnosis: Diagnosis, data: Sequence[Path], to: Path) -> None:
    """Write a file whose name ends in one of ``KINDS``.

    Raises:
        OSError: It cannot be written.
        Unreadable: A ``.duckdb`` is asked for, and the incident has no time.
    """
    from trainwreck_analyzer import archive

    if to.suffix == ".json":
        from trainwreck_analyzer.render.json import to_json

        to.write_text(to_json(diagnosis) + "\n", encoding="utf-8")
    elif to.suffix == ".html":
        from trainwreck_analyzer.render.html import to_html

        to.write_text(to_html(diagnosis), encoding="utf-8")
    elif to.suffix == ".txt":
        from trainwreck_analyzer.render.text import to_text

        to.write_text(to_text(diagnosis) + "\n", encoding="utf-8")
    else:
        archive.export_database(diagnosis, data, to)
