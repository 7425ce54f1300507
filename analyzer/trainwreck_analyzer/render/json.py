"""The diagnosis as the document that ``diagnose --json`` prints, and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from trainwreck_analyzer.errors import Unreadable
from trainwreck_analyzer.verdict import (
    DOCUMENT_VERSION,
    Component,
    Diagnosis,
    Evidence,
    Hypothesis,
    Incident,
    Input,
    Run,
    Verdict,
    Victim,
)


def to_json(diagnosis: Diagnosis) -> str:
    """The document, indented; key order is the contract's."""
    plain = _plain(diagnosis)
    document = {"version": plain.pop("version")} | plain
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Diagnosis:
    """The diagnosis of a document.

    Raises:
        Unreadable: The text is no such document, or of another version.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        if version != DOCUMENT_VERSION:
            raise Unreadable(
                f"a diagnosis of version {version}", "the document", "make it again with this one"
            )
        return Diagnosis(
            tuple(Input(**_timed(i, "first_time", "last_time")) for i in document["inputs"]),
            tuple(_incident(i) for i in document["incidents"]),
            version,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable("no diagnosis document", str(error), "name a file of --json") from error


def _plain(value: Any) -> Any:  # noqa: ANN401
    if is_dataclass(value):
        return {_key(f.name): _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _key(name: str) -> str:
    return "for" if name == "supports" else name


def _timed(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return row | {n: _time(row.get(n)) for n in names}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _incident(row: dict[str, Any]) -> Incident:
    verdict = row["verdict"]
    return Incident(
        **(
            _timed(row, "start", "end")
            | {
                "run": Run(**row["run"]),
                "verdict": Verdict(**(verdict | {"component": Component(**verdict["component"])})),
                "hypotheses": tuple(_hypothesis(h) for h in row["hypotheses"]),
                "victims": tuple(Victim(**v) for v in row["victims"]),
                "not_measured": tuple(row["not_measured"]),
                "actions": tuple(row["actions"]),
            }
        )
    )


def _hypothesis(row: dict[str, Any]) -> Hypothesis:
    evidence = []
    for item in row["evidence"]:
        plain = _timed(item, "time")
        plain["supports"] = plain.pop("for")
        evidence.append(Evidence(**plain))
    return Hypothesis(row["cause"], row["domain"], row["confidence"], tuple(evidence))
