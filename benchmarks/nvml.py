"""What GPU telemetry costs: ``python benchmarks/nvml.py [--gpus 8] [--burst-hz 0] …``.

A lean process runs the worker as the daemon does, against the fake library of the tests: the cost
is that of this project and of pynvml. What a real driver adds is its own; the calls that it would
get are counted.
"""

from __future__ import annotations

import os
import sys
import time

# No pathlib in the measured process: the daemon has none either.
sys.path.insert(0, os.path.abspath(__file__ + "/../../agent"))  # noqa: PTH100


def measure(library: str, ticks: int, interval_s: float, burst_hz: float) -> None:
    """Run the worker in this process, which has imported nothing else; print the figures."""
    import select

    from trainwreck_agent.journal import encode_all
    from trainwreck_agent.nvml import NvmlWorker

    imported = {"ctypes", "pynvml", "duckdb"} & set(sys.modules)
    assert not imported, f"the sampling process imported {imported}"
    before_kib = memory_kib(os.getpid())["Pss:"]
    started_s = time.monotonic()
    worker = NvmlWorker(library, interval_s, burst_hz=burst_hz)
    worker.start()
    poll = select.poll()
    poll.register(worker.fileno(), select.POLLIN)
    while not worker.check(time.monotonic()):
        poll.poll(100)
    first_ms = (time.monotonic() - started_s) * 1000
    pid = worker.pid
    assert pid is not None
    poll.poll(10_000)
    worker.check(time.monotonic())
    own_ns, child_ns = time.process_time_ns(), child_cpu_ns(pid)
    begun_s, rows, size, encode_ns = time.monotonic(), 0, 0, 0
    seen = 0
    while seen < ticks:
        poll.poll(10_000)
        found = worker.check(time.monotonic())
        before = time.process_time_ns()
        size += sum(map(len, encode_all(found, 0)[0]))
        encode_ns += time.process_time_ns() - before
        rows += len(found)
        seen += 1
    own_ns = time.process_time_ns() - own_ns - encode_ns
    child_ns = child_cpu_ns(pid) - child_ns
    took_s = time.monotonic() - begun_s
    family = memory_kib(os.getpid()), memory_kib(pid)
    print(f"{'first rows after':34} {first_ms:8.1f} ms")
    print(f"{'ticks, in seconds':34} {seen:8d}    {took_s:.1f} s")
    for what, ns in (
        ("CPU a tick, child", child_ns),
        ("CPU a tick, sampling process", own_ns),
        ("CPU a tick, both", own_ns + child_ns),
        ("CPU a tick, rows to journal lines", encode_ns),
    ):
        print(f"{what:34} {ns / seen / 1e6:8.3f} ms")
    print(f"{'rows a tick':34} {rows / seen:8.1f}")
    print(f"{'journal lines a tick':34} {size / seen:8.0f} bytes")
    print(f"{'PSS sampling process, no child':34} {before_kib:8d} KiB")
    for what, memory in zip(("sampling process", "child"), family, strict=True):
        anonymous, whole = memory["Pss_Anon:"], memory["Pss:"]
        print(f"{'PSS ' + what:34} {whole:8d} KiB, of it anonymous {anonymous} KiB")
    print(f"{'PSS that telemetry adds':34} {sum(m['Pss:'] for m in family) - before_kib:8d} KiB")
    worker.stop()


def memory_kib(pid: int) -> dict[str, int]:
    """Lines of ``smaps_rollup``."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        words = [line.split() for line in file if line.endswith("kB\n")]
    return {line[0]: int(line[1]) for line in words}


def child_cpu_ns(pid: int) -> int:
    """User and system time of a process with one thread."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[0])


def main() -> None:
    """Build the fake library, run ``measure`` in a fresh process, add the calls that it made."""
    import argparse
    import importlib.util
    import subprocess
    import tempfile
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=8, choices=range(1, 17), metavar="1..16")
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--burst-hz", type=float, default=0.0)
    options = parser.parse_args()
    source = Path(__file__).parents[1] / "tests" / "agent" / "nvml" / "fake.py"
    spec = importlib.util.spec_from_file_location("fake", source)
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    with tempfile.TemporaryDirectory() as folder:
        library = fake.build(Path(folder))
        control = fake.Fake(Path(folder) / "control")
        control.set("device_count", options.gpus)
        inner = [sys.executable, __file__, "measure", str(library)]
        print(f"{options.gpus} fake GPUs, one tick each {options.interval:g} s", flush=True)
        subprocess.run(
            [*inner, str(options.ticks), str(options.interval), str(options.burst_hz)],
            check=True,
            env={**os.environ, fake.ENVIRONMENT: str(control.path)},
        )
        calls = control.calls()
        ticks = calls["nvmlEventSetWait_v2"]
        begin = calls["nvmlDeviceGetHandleByIndex_v2"]
        print(f"NVML calls a tick at most {control.get('tick_calls_max'):d} (the first one begins)")
        each = sum(calls.values()) / ticks / begin
        print(f"NVML calls a GPU and tick, the beginning spread over all {each:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    else:
        main()
