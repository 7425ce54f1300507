"""A verdict names what was not measured only where that would have decided it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import trainwreck_analyzer
from trainwreck_agent.collector import find
from trainwreck_analyzer import tell
from trainwreck_analyzer.causes import DOMAINS, causes

PUSHED = {"nvml", "kernel_log", "process_exits", "stacks", "training_log"}
TABLE = tomllib.loads(
    (Path(trainwreck_analyzer.__file__).parent / "telemetry" / "decides.toml").read_text()
)
NO_GPU = ("nvml", "nvml (absent): no NVIDIA driver on this host")
NO_SENSOR = ("thermal", "thermal (absent): no sensor")


def test_every_source_and_every_cause_in_the_table_exists() -> None:
    assert set(TABLE) <= set(find()) | PUSHED
    for codes in TABLE.values():
        assert set(codes) <= set(causes()) | set(DOMAINS)


def test_a_missing_gpu_says_nothing_about_a_full_host() -> None:
    assert tell.not_measured(["host_oom"], {"kernel", "telemetry"}, [NO_GPU, NO_SENSOR]) == ()


def test_a_missing_gpu_leaves_a_divergence_open() -> None:
    told = tell.not_measured(["nan_divergence"], {"kernel", "telemetry"}, [NO_GPU, NO_SENSOR])
    assert told == (NO_GPU[1],)


def test_the_runner_up_is_asked_about_too() -> None:
    told = tell.not_measured(["host_oom", "cooling_chassis"], {"kernel", "telemetry"}, [NO_SENSOR])
    assert told == (NO_SENSOR[1],)
