"""The agent's own words on standard error.

``logging`` costs the recorder a megabyte, so it is loaded when there is something to say.
"""

from __future__ import annotations

import sys

NAME = "trainwreck.agent"
FORMAT = "%(name)s: %(message)s"


def warning(message: str, *arguments: object, exc_info: bool = False) -> None:
    """Say that something went wrong which the recorder gets over."""
    _say("warning", message, *arguments, exc_info=exc_info)


def error(message: str, *arguments: object) -> None:
    """Say that something keeps the recorder from its work."""
    _say("error", message, *arguments)


def _say(level: str, message: str, *arguments: object, exc_info: bool = False) -> None:
    import logging

    logging.basicConfig(stream=sys.stderr, format=FORMAT, level=logging.INFO)
    getattr(logging.getLogger(NAME), level)(message, *arguments, exc_info=exc_info)
