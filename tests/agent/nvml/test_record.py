"""The whole recorder with a fake library: what a GPU said is what the store tells afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainwreck_agent import nvml, store

GIVE_UP_S = 60.0


def wait_for(true: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + GIVE_UP_S
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def test_a_gpu_that_is_lost_while_recording(library: Path, fake: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    agent = str(Path(nvml.__file__).parents[2])
    command = [sys.executable, "-m", "trainwreck_agent", "record", "--data", str(data)]

    def ticks() -> int:
        return int(fake.calls().get("nvmlEventSetWait_v2", 0))

    with subprocess.Popen(
        [*command, "--interval", "100ms", "--nvml-library", str(library)],
        env={**os.environ, "PYTHONPATH": agent},
        stderr=subprocess.DEVNULL,
    ) as recorder:
        wait_for(lambda: ticks() >= 5)
        assert "libnvidia-ml" not in Path(f"/proc/{recorder.pid}/maps").read_text()
        fake.set("lost_mask", 1 << 2)
        fake.set("event_device", 2)
        fake.set("event_serial", 1)
        seen = ticks()
        wait_for(lambda: ticks() >= seen + 15)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(GIVE_UP_S) == 0

    views = store.connect([data])
    uuid = "GPU-00000000-0000-0000-0000-000000000002"
    statuses = views.execute(
        "SELECT status, count(power_w) > 0 FROM gpu WHERE uuid = ? GROUP BY ALL ORDER BY min(ts)",
        [uuid],
    ).fetchall()
    assert statuses == [("ok", True), ("lost", False)]
    others = "SELECT count(DISTINCT uuid) FROM gpu WHERE status = 'ok'"
    assert views.execute(others).fetchall() == [(8,)]
    assert views.execute("SELECT uuid, event, data FROM gpu_event").fetchall() == [
        (uuid, "xid", 79)
    ]
    ((detail,),) = views.execute(
        "SELECT detail FROM collector_health WHERE collector = 'nvml' AND status = 'lost'"
    ).fetchall()
    assert detail == f"GPU 2 ({uuid}, 0000:3b:00.0): lost"
    rates = "SELECT max(energy_mj_per_s) FROM gpu_per_s WHERE uuid <> ?"
    assert views.execute(rates, [uuid]).fetchall()[0][0] > 0
