"""Takes secrets out of command lines before they are stored."""

from __future__ import annotations

import re

_KEYS = (
    r"(?:api|access|account|private|secret|service|client|license|encryption|master|aws|azure|gcp|s3"
    r"|wandb|hf|ngc|comet|neptune|clearml|mlflow|openai)[-_.]?key"
)
# Not how many tokens, nor what makes them: those are no secrets, and tell something.
_WHAT = (
    r"(?i:token(?!s?(?:iz|s(?![a-z])))|passw(?:or)?d|passphrase|_pwd|secret|credential|auth|jwt"
    rf"|{_KEYS})"
)
# A name is looked at once, from its first character: the user of any process chooses how long the
# recorder searches.
_STARTS_SECRET_NAME = rf"(?<![\w.-])(?=[\w.-]*?{_WHAT})"
_WORDS = ("token", "passw", "passphrase", "_pwd", "secret", "key", "credential", "auth", "jwt")

_Rule = tuple[tuple[str, ...], re.Pattern[str], str]
_RULES: tuple[_Rule, ...] = (
    # Authorization: Bearer VALUE; before the rule that would take the scheme for the value
    (
        ("authorization",),
        re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?[a-z]{1,20}\s+)[^\s\"',;]+"),
        r"\1***",
    ),
    # --api-key=VALUE, api_key=VALUE, "HF_TOKEN": "VALUE", --api-key VALUE
    (
        _WORDS,
        re.compile(rf"({_STARTS_SECRET_NAME}[\w.-]++[\"']?\s*+[=:]\s*+[\"']?)[^\s\"',;&]++"),
        r"\1***",
    ),
    (_WORDS, re.compile(rf"({_STARTS_SECRET_NAME}-[\w.-]++\s++)(?!-)[^\s]++"), r"\1***"),
    # options that need another word to tell: --key VALUE, --pass VALUE, -passin pass:VALUE
    (
        ("key", "pass", "pwd", "cookie"),
        re.compile(r"(?i)(--(?:key|pass|pwd|cookie)[= ][\"']?|\bpass:)[^\s\"']+"),
        r"\1***",
    ),
    # curl -u NAME:VALUE
    (
        ("-u", "--user"),
        re.compile(r"((?:^|\s)(?:-u|--user)[= ]?[^\s:]{1,100}:)[^\s]+"),
        r"\1***",
    ),
    # programs with a short option, or none at all
    (
        ("sshpass", "mysql", "redis-cli", "ssh-keygen", "wandb login"),
        re.compile(
            r"(\b(?:sshpass -p ?|mysql\w*(?: [^\s]+){0,8} -p|redis-cli(?: [^\s]+){0,8} -a "
            r"|ssh-keygen(?: [^\s]+){0,8} -N |wandb login (?:--relogin )?))(?!-)[^\s]+"
        ),
        r"\1***",
    ),
    # scheme://user:password@host, scheme://token@host
    (
        ("://",),
        re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@]{0,100}:)[^\s/@]{1,200}@"),
        r"\1***@",
    ),
    (
        ("://",),
        re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^\s:/@*]{16,200}@"),
        r"\1***@",
    ),
    # URLs that let in who knows them
    (
        ("sig",),
        re.compile(r"(?i)([?&](?:sig|signature|x-(?:amz|goog)-signature)=)[^\s&\"']+"),
        r"\1***",
    ),
    (
        ("hooks.slack.com/services/", "/api/webhooks/"),
        re.compile(r"(?i)(hooks\.slack\.com/services/|/api/webhooks/)[^\s\"']+"),
        r"\1***",
    ),
    (
        ("private key",),
        re.compile(r"(?i)(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----).*"),
        r"\1***",
    ),
    # tokens that tell themselves
    (
        ("hf_", "sk-", "ghp_", "gho_", "github_pat_", "glpat-", "xox", "akia", "asia", "aiza",
         "wandb_", "eyj", "nvapi-", "r8_", "dapi", "npm_", "pypi-", "ya29.", "xai-", "gsk_", "sg.",
         "dckr_pat_"),
        re.compile(
            r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|wandb_|eyJ|nvapi-"
            r"|r8_|dapi(?=[0-9a-f]{32})|npm_|pypi-|ya29\.|xai-|gsk_|SG\.|dckr_pat_)"
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
