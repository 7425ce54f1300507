"""Takes secrets out of command lines before they are stored."""

from __future__ import annotations

import re

_NAME = r"[\w.-]*(?:token|passw(?:or)?d|secret|api[-_.]?key|access[-_.]?key|credential|auth)[\w.-]*"
_WORDS = ("token", "passw", "secret", "key", "credential", "auth")
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # Authorization: Bearer VALUE; before the rule that would take the scheme for the value
    (
        ("authorization",),
        re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?[a-z]{1,20}\s+)[^\s\"',;]+"),
        r"\1***",
    ),
    # --api-key VALUE, --api-key=VALUE, api_key=VALUE, "HF_TOKEN": "VALUE"
    (
        _WORDS,
        re.compile(rf"(?i)((?:--?)?{_NAME}[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"),
        r"\1***",
    ),
    (_WORDS, re.compile(rf"(?i)(--?{_NAME}\s+)(?!-)[^\s]+"), r"\1***"),
    # scheme://user:password@host
    (
        ("://",),
        re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@]{0,100}:)[^\s/@]{1,200}@"),
        r"\1***@",
    ),
    # tokens that tell themselves
    (
        ("hf_", "sk-", "ghp_", "gho_", "github_pat_", "glpat-", "xox", "akia", "asia", "aiza",
         "wandb_", "eyj"),
        re.compile(
            r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|wandb_|eyJ)"
            r"[A-Za-z0-9_.-]{12,}"
        ),
        "***",
    ),
    (("bearer",), re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/-]{8,}=*"), r"\1***"),
)  # fmt: skip
"""What is in every text that a rule changes, in small letters; the rule; what it puts instead."""


def redact(command: str) -> str:
    """The text with what looks like a secret replaced by ``***``."""
    # A rule that ignores case tries each character; most texts have nothing for it to find.
    small = command.lower() if command.isascii() else None
    for hints, pattern, replacement in _RULES:
        if small is None or any(hint in small for hint in hints):
            command = pattern.sub(replacement, command)
    return command
