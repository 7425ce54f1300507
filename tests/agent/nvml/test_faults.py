"""What goes wrong with a driver or a GPU is a recorded fact, and stops nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainwreck_agent.nvml import NvmlWorker, device, session, worker

HEALTHY = ["ok"] * 8


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def state(pid: int) -> str:
    """One letter, as in ps."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def hang(recorder: Any, index: int) -> int:
    """Let the GPU hang and the deadline pass; the pid of the child that is left in the call."""
    recorder.fake.set("hang_device", index)
    recorder.until(lambda: recorder.fake.get("hanging"))
    pid = recorder.worker.pid
    recorder.check()
    recorder.later(3.0)
    assert recorder.worker.pid is None
    return int(pid)


def statuses(recorder: Any) -> list[str]:
    return [gpu["status"] for gpu in recorder.gpus()]


def test_a_hanging_call_is_told_with_its_name_and_device(start: Callable[..., Any]) -> None:
    recorder = start()
    gpu = recorder.fresh()[3]
    hang(recorder, 3)
    ((_, detail),) = recorder.health("hang")
    assert detail.startswith("nvml")
    assert f"on GPU 3 ({gpu['uuid']}, {gpu['pci']}) has not returned for" in detail
    assert recorder.gpus()[3]["status"] == "hang"
    assert recorder.gpus()[3]["uuid"] == gpu["uuid"]
    assert recorder.gpus()[3]["power_w"] is None


def test_no_hang_before_the_deadline(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    recorder.fresh()
    fake.set("hang_device", 0)
    recorder.until(lambda: fake.get("hanging"))
    for _ in range(3):
        recorder.check(ahead_s=-60.0)  # a clock that has not come to the deadline yet
    fake.set("hang_device", -1)
    recorder.fresh()
    assert recorder.health("hang") == []


def test_the_others_go_on_without_the_device_that_hung(start: Callable[..., Any]) -> None:
    recorder = start()
    recorder.fresh()
    hung = hang(recorder, 3)
    recorder.revive()
    recorder.fresh()
    assert statuses(recorder) == ["ok", "ok", "ok", "hang", "ok", "ok", "ok", "ok"]
    assert recorder.gpus()[3]["uuid"] == "GPU-00000000-0000-0000-0000-000000000003"
    assert recorder.worker.stuck_pids == (hung,)


def test_a_hung_child_is_not_killed_and_leaves_no_zombie(
    start: Callable[..., Any], fake: Any
) -> None:
    recorder = start()
    recorder.fresh()
    hung = hang(recorder, 3)
    recorder.revive()
    recorder.fresh()
    assert state(hung) in "SR"  # SIGTERM came, and it is still in its call
    fake.set("hang_device", -1)
    recorder.until(lambda: not recorder.worker.stuck_pids)
    assert not exists(hung)


def test_a_device_that_hung_is_read_again_later(
    start: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEFT_OUT_S", 0.0)
    monkeypatch.setattr(worker, "BACK_OFF_S", 0.1)
    recorder = start()
    recorder.fresh()
    hang(recorder, 3)
    recorder.revive()
    recorder.fresh()
    assert statuses(recorder)[3] == "hang"  # its time is over, but a child is still in the call
    fake.set("hang_device", -1)
    recorder.until(lambda: not recorder.worker.stuck_pids)
    recorder.until(lambda: statuses(recorder) == HEALTHY)
    assert any("read again after a hang" in detail for _, detail in recorder.health("ok"))


def test_start_up_that_hangs(start: Callable[..., Any], fake: Any) -> None:
    fake.set("hang_init", 1)
    recorder = start()
    recorder.until(lambda: fake.get("hanging"))
    recorder.check()
    recorder.check(ahead_s=29.0)  # the driver may take a minute to start its GPUs
    assert recorder.health("hang") == []
    recorder.later(61.0)
    ((_, detail),) = recorder.health("hang")
    assert detail.startswith("nvmlInit has not returned for 6")
    fake.set("hang_init", 0)
    recorder.revive()
    recorder.fresh()
    assert statuses(recorder) == HEALTHY


def test_not_endlessly_many_children_hang(start: Callable[..., Any], fake: Any) -> None:
    fake.set("hang_init", 1)
    recorder = start()
    for stuck in range(1, 5):
        recorder.until(lambda n=stuck: fake.get("hanging") == n)
        recorder.check()
        recorder.later(100.0)
        assert len(recorder.worker.stuck_pids) == stuck
        recorder.later(100.0)
    assert recorder.worker.pid is None
    assert [d[:39] for _, d in recorder.health("hang")].count(
        "no GPU telemetry: 4 children hang in NV"
    ) == 1
    fake.set("hang_init", 0)
    recorder.until(lambda: not recorder.worker.stuck_pids)
    recorder.revive(100.0)
    recorder.fresh()
    assert statuses(recorder) == HEALTHY


def test_a_lost_gpu_and_its_return(
    start: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "PING_S", 0.1)
    recorder = start()
    recorder.fresh()
    fake.set("lost_mask", 1 << 6)
    recorder.until(lambda: statuses(recorder)[6] == "lost")
    recorder.fresh()
    assert statuses(recorder) == ["ok"] * 6 + ["lost", "ok"]
    lost = recorder.gpus()[6]
    assert lost["uuid"] == "GPU-00000000-0000-0000-0000-000000000006"
    assert [lost[n] for n in ("power_w", "temperature_c", "energy_mj")] == [None] * 3
    ((_, detail),) = recorder.health("lost")
    assert "GPU 6 (GPU-00000000-0000-0000-0000-000000000006, 0000:7b:00.0): lost" in detail
    fake.set("lost_mask", 0)
    recorder.until(lambda: statuses(recorder) == HEALTHY)
    assert recorder.gpus()[6]["power_w"] == 300.0
    recorder.until(lambda: any("answers again" in d for _, d in recorder.health("ok")))


def test_a_gpu_that_wants_a_reset(start: Callable[..., Any], fake: Any) -> None:
    fake.set("reset_mask", 1)
    recorder = start()
    recorder.fresh()
    assert statuses(recorder) == ["reset required"] + ["ok"] * 7
    assert any("reset required" in detail for _, detail in recorder.health("lost"))


def test_a_gpu_that_answers_nothing_is_told_so(
    start: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "PING_S", 0.1)
    recorder = start()
    recorder.fresh()
    fake.set("unknown_mask", 1 << 2)
    recorder.until(lambda: statuses(recorder)[2] == "no answer")
    recorder.fresh()
    assert recorder.gpus()[2]["power_w"] is None
    errors = [detail for _, detail in recorder.health("error")]
    assert sum("nvmlDeviceGetPowerUsage: Unknown Error (999)" in detail for detail in errors) == 1
    fake.set("unknown_mask", 0)
    recorder.until(lambda: statuses(recorder) == HEALTHY)


def test_a_session_with_a_lost_gpu_is_begun_anew(
    start: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML lists the devices once; a GPU that was reset is seen by a new child only."""
    monkeypatch.setattr(session, "RENEW_S", 0.1)
    fake.set("lost_mask", 1)
    recorder = start()
    pid = recorder.worker.pid
    recorder.until(lambda: recorder.worker.pid not in (None, pid))
    fake.set("lost_mask", 0)
    recorder.until(lambda: len(recorder.gpus()) == 8 and statuses(recorder) == HEALTHY)
    assert recorder.health("error") == []


def test_a_driver_reload(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    recorder.fresh()
    fake.set("driver_loaded", 0)
    recorder.until(lambda: recorder.health("lost"))
    assert "the NVIDIA kernel driver is not loaded" in recorder.health("lost")[0][1]
    recorder.revive()
    recorder.until(lambda: recorder.health("absent"))  # the first try finds it away
    fake.set("driver_loaded", 1)
    recorder.revive(30.0)
    recorder.fresh()
    assert statuses(recorder) == HEALTHY


def test_a_driver_that_was_replaced_under_us(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    recorder.fresh()
    fake.set("version_mismatch", 1)
    os.kill(recorder.worker.pid, signal.SIGTERM)
    recorder.until(lambda: recorder.worker.pid is None)
    assert "was told to end by SIGTERM" in recorder.health("error")[0][1]
    recorder.revive()
    recorder.until(lambda: any("two versions" in d for _, d in recorder.health("error")))


def test_another_number_of_devices(
    start: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COUNT_EVERY_S", 0.1)
    recorder = start()
    recorder.fresh()
    fake.set("device_count", 7)
    recorder.until(lambda: recorder.health("lost"))
    assert "GPU 7 (GPU-00000000-0000-0000-0000-000000000007" in recorder.health("lost")[0][1]
    recorder.rows.clear()
    recorder.fresh(7)
    assert statuses(recorder) == ["ok"] * 7
    fake.set("device_count", 8)
    recorder.until(lambda: any("is new among" in d for _, d in recorder.health("ok")))


def test_every_gpu_gone_at_once(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    recorder.fresh()
    os.kill(recorder.worker.pid, signal.SIGKILL)
    recorder.until(lambda: recorder.worker.pid is None)
    fake.set("device_count", 0)
    recorder.revive()
    recorder.until(lambda: recorder.health("absent"))
    assert len(recorder.health("lost")) == 8
    assert "it shows no GPU" in recorder.health("absent")[0][1]


def test_a_board_that_was_exchanged_while_no_child_ran(
    start: Callable[..., Any], fake: Any
) -> None:
    recorder = start()
    recorder.fresh()
    os.kill(recorder.worker.pid, signal.SIGKILL)
    fake.set("board", 42, 1)
    recorder.until(lambda: recorder.worker.pid is None)
    recorder.revive()
    recorder.until(lambda: recorder.health("lost"))
    assert "000000000001, 0000:2b:00.0) is no longer shown" in recorder.health("lost")[0][1]
    assert any("000000000042" in detail for _, detail in recorder.health("ok"))


def test_no_library(start: Callable[..., Any], tmp_path: Path, library: Path) -> None:
    path = tmp_path / "later.so"
    recorder = start(path)
    recorder.until(lambda: recorder.health())
    ((status, detail),) = recorder.health()
    assert status == "absent"
    assert detail.startswith(f"{path} cannot be loaded: ")
    for _ in range(3):
        recorder.later(10.0)
    assert recorder.worker.pid is None
    assert len(recorder.health()) == 1
    path.symlink_to(library)
    recorder.revive(10.0)
    recorder.fresh()
    assert statuses(recorder) == HEALTHY


@pytest.mark.skipif(
    any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/nvidiactl"))),
    reason="this host has an NVIDIA driver",
)
def test_no_driver_on_this_host(start: Callable[..., Any], fake: Any) -> None:
    without = NvmlWorker(None, 0.05)
    without.start()
    recorder = type(start())(without, fake)
    recorder.until(lambda: recorder.health())
    assert recorder.health() == [
        ("absent", "libnvidia-ml.so.1 not found: no NVIDIA driver on this host")
    ]
    assert without.pid is None
    without.stop()


@pytest.mark.parametrize(
    ("knob", "value", "words"),
    [
        ("driver_loaded", 0, "the NVIDIA kernel driver is not loaded"),
        ("device_count", 0, "the NVIDIA driver is loaded, but it shows no GPU"),
    ],
)
def test_a_library_without_gpus(
    start: Callable[..., Any], fake: Any, knob: str, value: int, words: str
) -> None:
    fake.set(knob, value)
    recorder = start()
    recorder.until(lambda: recorder.health())
    assert recorder.health()[0][0] == "absent"
    assert words in recorder.health()[0][1]
    assert recorder.worker.pid is None


def test_a_child_that_somebody_kills_is_told_and_replaced(start: Callable[..., Any]) -> None:
    recorder = start()
    recorder.fresh()
    pid = recorder.worker.pid
    os.kill(pid, signal.SIGKILL)
    recorder.until(lambda: recorder.health("error"))
    ((_, detail),) = recorder.health("error")
    assert f"(pid {pid}) was ended by signal 9 (SIGKILL)" in detail
    assert not exists(pid)
    recorder.revive()
    recorder.fresh()
    assert recorder.worker.pid not in (None, pid)
    assert statuses(recorder) == HEALTHY


def test_a_stopped_child_is_a_gap(start: Callable[..., Any]) -> None:
    recorder = start()
    while not recorder.health("gap"):
        recorder.fresh()
        pid = recorder.worker.pid
        os.kill(pid, signal.SIGSTOP)
        while state(pid) != "T":
            os.sched_yield()
        recorder.check()
        recorder.later(10.0)
        os.kill(pid, signal.SIGCONT)
        if recorder.worker.pid is None:  # it was stopped inside a call, which is a hang
            recorder.revive(30.0)
    ((_, detail),) = recorder.health("gap")
    assert detail.endswith(f"the NVML child (pid {pid}) is in no call")


def test_garbage_on_the_pipe_is_counted_and_skipped(start: Callable[..., Any]) -> None:
    recorder = start()
    recorder.fresh()
    other_end = os.open(f"/proc/{recorder.worker.pid}/fd/3", os.O_WRONLY)
    os.write(other_end, b"\n\xff\x00{]\n")
    os.close(other_end)
    recorder.until(lambda: recorder.health("error"))
    assert "are no messages; skipped" in recorder.health("error")[0][1]
    recorder.fresh()
    assert statuses(recorder) == HEALTHY


def test_a_recorder_that_does_not_read_loses_ticks_and_is_told(start: Callable[..., Any]) -> None:
    recorder = start(interval_s=0.001)
    recorder.fresh()
    pid = recorder.worker.pid
    fake = recorder.fake
    mark = fake.calls()["nvmlEventSetWait_v2"]
    while fake.calls()["nvmlEventSetWait_v2"] < mark + 600:  # the pipe holds some 150 ticks
        os.sched_yield()
    recorder.until(lambda: recorder.health("lost"))
    assert "ticks not sent: the recorder did not read them" in recorder.health("lost")[0][1]
    assert recorder.worker.pid == pid


def test_stop_ends_the_child(start: Callable[..., Any]) -> None:
    recorder = start()
    recorder.fresh()
    pid = recorder.worker.pid
    recorder.worker.stop()
    assert not exists(pid)
    assert recorder.worker.check(0.0) == []


def test_stop_returns_although_the_child_hangs(start: Callable[..., Any], fake: Any) -> None:
    recorder = start()
    recorder.fresh()
    fake.set("hang_device", 0)
    recorder.until(lambda: fake.get("hanging"))
    pid = recorder.worker.pid
    recorder.worker.stop(timeout_s=0.05)
    assert state(pid) in "SR"
    fake.set("hang_device", -1)
    recorder.until(lambda: not recorder.worker.stuck_pids)
    assert not exists(pid)


def test_the_child_ends_when_the_recorder_is_killed(library: Path, fake: Any) -> None:
    script = (
        "import select, sys, time\n"
        "from trainwreck_agent.nvml import NvmlWorker\n"
        "worker = NvmlWorker(sys.argv[1], 0.02)\n"
        "worker.start()\n"
        "select.select([worker.fileno()], [], [])\n"
        "assert not {'pynvml', 'ctypes', 'duckdb', 'click', 'numpy'} & set(sys.modules)\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    agent = str(Path(device.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": agent}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(library)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        watch = os.pidfd_open(pid)
        process.kill()
    import select

    assert select.select([watch], [], [], 60.0)[0] == [watch]
    os.close(watch)


def test_ctrl_c_does_not_reach_the_child(start: Callable[..., Any]) -> None:
    """A terminal sends SIGINT to the whole group; the recorder decides what becomes of it."""
    recorder = start()
    recorder.fresh()
    pid = recorder.worker.pid
    os.kill(pid, signal.SIGINT)
    recorder.fresh()
    assert recorder.worker.pid == pid
