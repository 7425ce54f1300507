"""Takes secrets out of command lines before they are stored."""

from __future__ import annotations

import re

_NAME = r"[\w.-]*(?:token|passw(?:or)?d|secret|api[-_.]?key|access[-_.]?key|credential|auth)[\w.-]*"
_RULES = (
    # Authorization: Bearer VALUE; before the rule that would take the scheme for the value
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?[a-z]{1,20}\s+)[^\s\"',;]+"), r"\1***"),
    # --api-key VALUE, --api-key=VALUE, api_key=VALUE, "HF_TOKEN": "VALUE"
    (re.compile(rf"(?i)((?:--?)?{_NAME}[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"), r"\1***"),
    (re.compile(rf"(?i)(--?{_NAME}\s+)(?!-)[^\s]+"), r"\1***"),
    # scheme://user:password@host
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@]{0,100}:)[^\s/@]{1,200}@"), r"\1***@"),
    # tokens that tell themselves
    (
        re.compile(
            r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|wandb_|eyJ)"
            r"[A-Za-z0-9_.-]{12,}"
        ),
        "***",
    ),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/-]{8,}=*"), r"\1***"),
)


def redact(command: str) -> str:
    """The text with what looks like a secret replaced by ``***``."""
    for pattern, replacement in _RULES:
        command = pattern.sub(replacement, command)
    return command
