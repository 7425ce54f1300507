"""Signals from outside, and a job that ends well."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
Play = Callable[..., Any]


def test_sigkill_from_outside_is_not_called_an_oom(recorded: Play) -> None:
    accident = recorded(lambda job: os.kill(job.pids[2], signal.SIGKILL))
    assert accident.exit_code == 1
    assert accident.cause in ("user_kill", "unknown"), accident.told()
    assert any("no OOM kill" in e.text for e in accident.evidence), accident.told()


def test_sigterm_to_the_launcher_is_called_preemption(recorded: Play) -> None:
    accident = recorded(lambda job: job.launcher.terminate())
    assert accident.exit_code == 128 + signal.SIGTERM
    assert accident.cause == "preemption", accident.told()


def test_ctrl_c_is_called_stopped_by_a_person(recorded: Play) -> None:
    # A terminal's Ctrl-C goes to the whole foreground group.
    accident = recorded(lambda job: os.killpg(job.launcher.pid, signal.SIGINT))
    assert accident.exit_code == 128 + signal.SIGINT
    assert accident.cause == "user_kill", accident.told()


def test_a_job_that_finishes_is_no_incident(recorded: Play) -> None:
    accident = recorded(None, steps=60)
    assert accident.exit_code == 0
    assert accident.diagnosis.incidents == ()
