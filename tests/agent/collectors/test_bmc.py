"""The management controller: slices of work, lost reservations, a log that is cleared."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_agent import ipmi
from trainwreck_agent.collector import Row
from trainwreck_agent.collectors.bmc import ROUND_S, Bmc, chassis
from trainwreck_agent.host import Host
from trainwreck_agent.ipmi import Refused, Transcript
from trainwreck_agent.ipmi_sensor import Sensor, event, reading, sensor, supply_state

ROOT = Path(__file__).parent / "bmc/root"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Controller:
    """The recorded controller, with what the test changes."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.recorded = Transcript((ROOT / "dev/ipmi0").read_bytes())
        self.clock = clock
        self.asked: list[tuple[int, int]] = []
        self.failing: dict[tuple[int, int], list[Exception]] = {}
        self.changed: dict[bytes, bytes] = {}

    def ask(self, function: int, command: int, data: bytes = b"") -> bytes:
        self.asked.append((function, command))
        if self.clock is not None:
            self.clock.now_s += 0.04
        if failures := self.failing.get((function, command)):
            raise failures.pop(0)
        changed = self.changed.get(bytes((function, command)) + data)
        return self.recorded.ask(function, command, data) if changed is None else changed

    def close(self) -> None:
        return


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    made = Controller()
    monkeypatch.setattr(ipmi, "connect", lambda host: made)
    return made


def of(rows: list[Row], table: str) -> list[tuple[object, ...]]:
    return [row.values for row in rows if row.table.name == table]


def test_work_is_cut_into_slices(controller: Controller) -> None:
    clock = controller.clock = Clock()
    collector = Bmc(Host(ROOT), clock)
    collector._slice_s = 0.1
    rows: list[Row] = []
    for _ in range(60):
        before = len(controller.asked)
        rows += collector.collect()
        assert len(controller.asked) - before <= 4
    assert len(of(rows, "thermal")) == 6
    assert len(of(rows, "bmc_event")) == 5


def test_a_round_a_minute_and_the_sensor_list_once(controller: Controller) -> None:
    clock = Clock()
    collector = Bmc(Host(ROOT), clock)
    list(collector.collect())
    assert list(collector.collect()) == []
    clock.now_s += ROUND_S + 1
    controller.asked.clear()
    rows = list(collector.collect())
    assert len(of(rows, "thermal")) == 6
    assert of(rows, "bmc") == []  # the chassis has not changed
    assert (ipmi.STORAGE, 0x23) not in controller.asked


def test_a_lost_reservation_is_taken_again(controller: Controller) -> None:
    controller.failing[ipmi.STORAGE, 0x23] = [Refused(0xC5)]
    assert len(of(list(Bmc(Host(ROOT), Clock()).collect()), "thermal")) == 6


def test_a_controller_that_stops_answering_raises_and_goes_on_later(
    controller: Controller,
) -> None:
    collector = Bmc(Host(ROOT), Clock())
    controller.failing[ipmi.SENSOR, 0x2D] = [OSError(errno.ETIMEDOUT, "no answer")]
    with pytest.raises(OSError, match="no answer"):
        list(collector.collect())
    assert len(of(list(collector.collect()), "thermal")) == 6


def test_new_events_are_told_once_and_a_cleared_log_starts_anew(controller: Controller) -> None:
    clock = Clock()
    collector = Bmc(Host(ROOT), clock)

    def events() -> list[tuple[object, object]]:
        found = [(e[0], e[2]) for e in of(list(collector.collect()), "bmc_event")]
        clock.now_s += ROUND_S + 1
        return found

    assert events() == [(1, True), (2, True), (3, True), (4, True), (7, True)]
    assert events() == []
    seventh = controller.recorded.ask(ipmi.STORAGE, 0x43, bytes.fromhex("0000070000ff"))
    ninth = bytes.fromhex("ffff09") + seventh[3:]
    controller.changed[bytes.fromhex("0a430000070000ff")] = bytes.fromhex("0900") + seventh[2:]
    controller.changed[bytes.fromhex("0a430000090000ff")] = ninth
    assert events() == [(9, False)]
    assert events() == []
    controller.failing[ipmi.STORAGE, 0x43] = [Refused(0xCB)]
    controller.changed[bytes.fromhex("0a430000000000ff")] = bytes.fromhex("ffff01") + seventh[3:]
    assert events() == [(1, False)]


def made(**changes: object) -> Sensor:
    values: dict[str, object] = {
        "number": 1, "lun": 0, "kind": 1, "reading_type": 1, "name": "x", "unit": 1, "signed": 0,
        "factors": (1, 0, 0, 0), "inverse": False, "upper_critical": None,
    }  # fmt: skip
    return Sensor(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "raw", "value"),
    [
        (made(), 200, 200.0),
        (made(signed=2), 0xF6, -10.0),
        (made(signed=1), 0xF5, -10.0),
        (made(factors=(63, 0, 0, -3)), 190, 11.97),
        (made(factors=(-2, 5, 1, 0)), 3, 44.0),
        (made(factors=(1, 0, 0, -2), inverse=True), 4, 25.0),
        (made(inverse=True), 0, None),
        (made(factors=None), 5, None),
    ],
)
def test_a_raw_reading_becomes_a_value(one: Sensor, raw: int, value: float | None) -> None:
    assert one.value(raw) == value


def test_states_of_a_supply() -> None:
    assert supply_state(0b1) == "present"
    assert supply_state(0b1011) == "present, failed, input lost"
    assert supply_state(0) == "absent"


@given(st.binary(max_size=80))
def test_any_record(record: bytes) -> None:
    sensor(record)
    event(record)
    reading(record)
    chassis(record, record)


@given(st.binary(max_size=300))
def test_any_transcript(text: bytes) -> None:
    with suppress(OSError, Refused):
        Transcript(text).ask(0, 1)


def test_the_layout_of_the_kernels_structures() -> None:
    """Sizes are part of the ioctl's number: a wrong layout would be refused."""
    assert ipmi._REQUEST.size == ipmi._SEND_COMMAND >> 16 & 0x3FFF
    assert ipmi._RECEIVED.size == ipmi._RECEIVE_TRUNCATED >> 16 & 0x3FFF
