"""What hosts have and run: services that stopped, versions and settings that differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from recorded import START, Recorded
from trainwreck_agent import store
from trainwreck_agent.collector import Value
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.fact import Fact
from trainwreck_analyzer.telemetry import Window, gather
from trainwreck_analyzer.verdict import Incident

DAY = -86_400.0
TIMEOUT = (
    "30 [rank0]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, OpType=ALLREDUCE)"
)


def _service(recorded: Recorded, at_s: float, name: str, pid: int | None) -> None:
    recorded.add("service", at_s, name=name, running=pid is not None, pid=pid, started_us=pid)


@pytest.mark.parametrize("name", ["nvidia-fabricmanager", "nvidia-imex"])
def test_a_fabric_service_that_stopped_first_is_the_cause(recorded: Recorded, name: str) -> None:
    _service(recorded, -3600, name, 900)
    _service(recorded, 20, name, None)
    recorded.end(29, 100, exit_code=1)
    (fact,) = recorded.facts()["fabric_service_stopped"]
    assert f"{name} (pid 900) stopped between 08:59:20 and 09:00:20 UTC" in fact.text
    (incident,) = recorded.incidents("5 step 1 loss 2.0", TIMEOUT)
    assert incident.verdict.cause == "nvswitch"
    assert incident.verdict.component.device == name


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("nvidia-fabricmanager", [(-3600, None)]),  # installed and never needed
        ("nvidia-fabricmanager", [(-3600, 900), (300, None)]),  # long after the crash
        ("nvidia-fabricmanager", [(-7200, 900), (-3600, None)]),  # long before the job
        ("nvidia-fabricmanager", [(-3600, 900), (10, 900)]),  # the recorder was restarted
        ("nvidia-persistenced", [(-3600, 900), (20, None)]),
        ("chrony", [(-3600, 900), (20, None)]),
    ],
)
def test_a_service_that_decides_nothing_is_silent(
    recorded: Recorded, name: str, states: list[tuple[float, int | None]]
) -> None:
    for at_s, pid in states:
        _service(recorded, at_s, name, pid)
    recorded.end(29, 100, exit_code=1)
    assert not [kind for kind in recorded.facts() if kind.startswith("fabric_service")]


def test_a_fabric_service_on_an_idle_host_is_no_incident(recorded: Recorded) -> None:
    _service(recorded, -3600, "nvidia-fabricmanager", 900)
    _service(recorded, 20, "nvidia-fabricmanager", 901)
    assert "fabric_service_restarted" in recorded.facts()
    assert recorded.incidents() == ()


def _version(recorded: Recorded, at_s: float, version: str, **cells: Value) -> None:
    cells = {"kind": "driver", "name": "nvidia", "path": "/proc/driver/nvidia/version", **cells}
    recorded.add("software", at_s, version=version, **cells)


def test_a_driver_that_changed_since_the_last_good_run_is_told_with_that_run(
    recorded: Recorded,
) -> None:
    _version(recorded, 2 * DAY, "570.86.15")
    recorded.end(DAY, 100, exit_code=0)
    _version(recorded, -3600, "575.51.03")
    recorded.end(29, 100, exit_code=1)
    (fact,) = recorded.facts()["driver_changed"]
    assert "driver nvidia is 575.51.03 since 2026-11-24 08:00 UTC; it was 570.86.15" in fact.text
    assert "ranks last ended well (2026-11-23 09:00 UTC)" in fact.text
    assert fact.evidence == "inventory"
    (incident,) = recorded.incidents(
        "29 RuntimeError: CUDA error: Failed to initialize NVML: Driver/library version mismatch"
    )
    assert incident.verdict.cause == "driver_mismatch"
    assert fact.text in [e.text for e in incident.hypotheses[0].evidence]


@pytest.mark.parametrize(
    ("changed_s", "good_s"),
    [
        (2 * DAY, DAY),  # a run with the new version ended well
        (30 * DAY, None),  # long ago
        (120.0, None),  # after the crash
    ],
)
def test_a_change_that_explains_nothing_is_silent(
    recorded: Recorded, changed_s: float, good_s: float | None
) -> None:
    _version(recorded, 31 * DAY, "570.86.15")
    _version(recorded, changed_s, "575.51.03")
    if good_s is not None:
        recorded.end(good_s, 100, exit_code=0)
    recorded.end(29, 100, exit_code=1)
    assert "driver_changed" not in recorded.facts()


def test_a_library_is_known_by_its_folder_and_other_environments_are_no_change(
    recorded: Recorded,
) -> None:
    for at_s, path, version in (
        (2 * DAY, "/opt/a/libnccl.so.2.21.5", "2.21.5"), (-60, "/opt/a/libnccl.so.2.26.2", "2.26.2"),
        (2 * DAY, "/opt/b/libcudart.so.11.8", "11.8"), (-60, "/opt/c/libcudart.so.12.4", "12.4"),
    ):  # fmt: skip
        name = path.split("/")[-1].split(".")[0]
        _version(recorded, at_s, version, kind="library", name=name, path=path)
    recorded.end(29, 100, exit_code=1)
    (fact,) = recorded.facts()["library_changed"]
    assert "libnccl is 2.26.2" in fact.text


@pytest.mark.parametrize(
    ("path", "version", "differs"),
    [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.575.51.03", "575.51.03", True),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15", "570.86.15", False),
        ("/usr/local/cuda/compat/libcuda.so.575.51.03", "575.51.03", False),  # made for that
    ],
)
def test_a_loaded_driver_library_must_be_of_the_drivers_release(
    recorded: Recorded, path: str, version: str, differs: bool
) -> None:
    _version(recorded, -60, "570.86.15")
    _version(recorded, 5, version, kind="library", name="libcuda", path=path)
    recorded.end(8, 100, exit_code=1)
    assert ("driver_library_differs" in recorded.facts()) is differs
    (incident,) = recorded.incidents("8 RuntimeError: CUDA error: unknown error")
    assert (incident.verdict.cause == "driver_mismatch") is differs


@pytest.fixture
def together(tmp_path: Path, prepared: Path) -> Callable[..., dict[str, Recorded]]:
    def make(*names: str) -> dict[str, Recorded]:
        made = {}
        for name in names:
            made[name] = Recorded(tmp_path / name, prepared)
            meta = made[name].layout.root / "meta.json"
            meta.write_text(f'{{"schema_version": 1, "host": "{name}"}}')
        return made

    return make


def _facts(hosts: dict[str, Recorded]) -> dict[str, Fact]:
    connection = store.connect([one.write() for one in hosts.values()])
    found = gather(connection, Window(START, START + timedelta(minutes=10)))
    assert all(connection.execute(str(fact.sql)).fetchall() for fact in found)
    return {fact.kind: fact for fact in found}


def _incidents(hosts: dict[str, Recorded], log: Path) -> tuple[Incident, ...]:
    at_s, _, words = TIMEOUT.partition(" ")
    log.write_text(f"{START + timedelta(seconds=int(at_s)):%Y-%m-%dT%H:%M:%SZ} {words}\n")
    return diagnose([log], [one.layout.root for one in hosts.values()]).incidents


def test_an_odd_mtu_is_named_with_its_host(
    together: Callable[..., dict[str, Recorded]], tmp_path: Path
) -> None:
    hosts = together("a", "b", "c")
    for name, one in hosts.items():
        mtu = 1500 if name == "c" else 9000
        one.add("memory", 5, total_bytes=1)
        one.add("network", 5, interface="eth0", carrier=True, mtu_bytes=mtu)
        one.add("network", 5, interface="docker0", carrier=True, mtu_bytes=mtu)
        one.add("network", 5, interface="eth1", carrier=False, mtu_bytes=mtu)
        one.add("network", 5, interface="ib0", carrier=True, mtu_bytes=2044)
    fact = _facts(hosts)["mtu_differs"]
    assert fact.text == ("the MTU of eth0 differs between the hosts: 9000 on a, b; 1500 on c")
    (incident,) = _incidents(hosts, tmp_path / "train.log")
    assert incident.verdict.cause == "nccl_config_network"


def test_equal_mtus_and_virtual_interfaces_are_silent(
    together: Callable[..., dict[str, Recorded]],
) -> None:
    hosts = together("a", "b")
    for name, one in hosts.items():
        one.add("network", 5, interface="eth0", carrier=True, mtu_bytes=9000)
        one.add("network", 5, interface="veth1", carrier=True, mtu_bytes=1 + len(name))
    hosts["b"].add("network", 5, interface="docker0", carrier=True, mtu_bytes=1450)
    assert _facts(hosts) == {}


def test_hosts_with_different_nccl_are_told(
    together: Callable[..., dict[str, Recorded]], tmp_path: Path
) -> None:
    hosts = together("a", "b")
    for name, version in (("a", "2.21.5"), ("b", "2.26.2")):
        path = f"/opt/libnccl.so.{version}"
        hosts[name].add("memory", 5, total_bytes=1)
        _version(hosts[name], 5, version, kind="library", name="libnccl", path=path)
    assert "2.21.5 on a; 2.26.2 on b" in _facts(hosts)["library_differs"].text
    (incident,) = _incidents(hosts, tmp_path / "train.log")
    assert incident.verdict.cause == "version_mismatch"


def test_a_host_that_runs_two_environments_says_nothing(
    together: Callable[..., dict[str, Recorded]],
) -> None:
    hosts = together("a", "b")
    for name, version in (("a", "2.21.5"), ("a", "2.26.2"), ("b", "2.26.2")):
        path = f"/opt/libnccl.so.{version}"
        _version(hosts[name], 5, version, kind="library", name="libnccl", path=path)
    assert "library_differs" not in _facts(hosts)


def test_access_control_above_gpus_is_told_and_above_others_not(recorded: Recorded) -> None:
    for bridge, device, role in (("0000:16:01.0", "0000:17:00.0", "gpu"),
                                 ("0000:36:01.0", "0000:37:00.0", "nic")):  # fmt: skip
        recorded.add("setting", -3600, name="acs", subject=bridge, value="SV RR CR UF")
        recorded.add("pcie", 5, pci=device, role=role, parent=bridge)
    (fact,) = recorded.facts()["acs_redirects"]
    assert "bridge 0000:16:01.0, above GPU 0000:17:00.0" in fact.text
    assert recorded.incidents() == ()


def test_access_control_that_does_not_redirect_is_silent(recorded: Recorded) -> None:
    recorded.add("setting", -3600, name="acs", subject="0000:16:01.0", value="SV")
    recorded.add("pcie", 5, pci="0000:17:00.0", role="gpu", parent="0000:16:01.0")
    assert recorded.facts() == {}


def _open(recorded: Recorded, count: int, most: int | None) -> None:
    recorded.add("process", 20, pid=102, started_us=1, role="training", rank=2,
                 open_files_count=count)  # fmt: skip
    recorded.add("process_detail", 10, pid=102, started_us=1, rank=2, open_files_max_count=most)


def test_open_files_at_the_limit_explain_the_exception(recorded: Recorded) -> None:
    _open(recorded, 1024, 1024)
    recorded.end(25, 102, exit_code=1)
    (fact,) = recorded.facts()["open_files_at_limit"]
    assert fact.text == "rank 2, pid 102 had 1024 files open; its limit (ulimit -n) is 1024"
    (incident,) = recorded.incidents(
        "5 step 1 loss 2.0",
        "24 Traceback (most recent call last):",
        '24   File "train.py", line 3, in <module>',
        "24 OSError: [Errno 24] Too many open files: 'shard-17.tar'",
    )
    assert incident.verdict.cause == "python_exception"
    assert "file descriptors" in incident.verdict.summary
    assert any("ulimit -n" in action for action in incident.actions)


@pytest.mark.parametrize(("count", "most"), [(900, 1024), (60_000, None)])
def test_open_files_below_the_limit_say_nothing(
    recorded: Recorded, count: int, most: int | None
) -> None:
    _open(recorded, count, most)
    recorded.end(25, 102, exit_code=1)
    assert "open_files_at_limit" not in recorded.facts()


@pytest.mark.parametrize(("used", "told"), [(4095, True), (1000, False)])
def test_tasks_of_the_job_and_of_the_kernel_at_their_limit(
    recorded: Recorded, used: int, told: bool
) -> None:
    recorded.add("cgroup", 5, path="v2:/job", tasks_count=used, tasks_max_count=4096)
    recorded.add("kernel_limit", 5, resource="tasks", used_count=used, max_count=4096)
    kinds = {"cgroup_tasks_at_limit", "kernel_limit_reached"}
    assert kinds & set(recorded.facts()) == (kinds if told else set())
