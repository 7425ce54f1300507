"""Sensors, event log and chassis state of the management controller.

Source: IPMI specification 2.0, revision 1.1, chapters 28, 31, 33 and 35

A command takes some milliseconds to tens of them, a whole round seconds. So the work is cut into
slices of a tenth of a second: first the list of sensors, then a round of readings a minute.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from trainwreck_agent import ipmi
from trainwreck_agent.collector import Collector, Row, Value
from trainwreck_agent.host import Host, Unavailable
from trainwreck_agent.ipmi import Refused
from trainwreck_agent.ipmi_sensor import (
    AMPERE,
    RESTART_CAUSES,
    RPM,
    TEMPERATURE_C,
    VOLT,
    WATT,
    Event,
    Reading,
    Sensor,
    event,
    reading,
    sensor,
    supply_state,
)
from trainwreck_agent.tables.devices import BMC, BMC_EVENT, POWER, THERMAL

SLICE_S = 0.1
ROUND_S = 60.0
RECORDS_MAX = 8192
RESERVATIONS_MAX = 100
EARLIER_EVENTS_MAX = 256
_CHUNK_BYTES = 16
_END = 0xFFFF
_RESERVATION_LOST = 0xC5
_LAST_EVENTS = ("AC lost", "overload", "interlock", "power fault", "power-on by command")


class Bmc(Collector):
    """Asks the controller behind ``/dev/ipmi0``."""

    name = "bmc"
    every_s = 1.0
    may_block = True
    tables = (THERMAL, POWER, BMC, BMC_EVENT)

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(host)
        self._clock = clock
        self._slice_s = SLICE_S if host.live else math.inf
        self._bmc = ipmi.connect(host)
        self._sensors: list[Sensor] | None = None
        self._chassis: tuple[Value, ...] = ()
        self._last_event: int | None = None
        self._work = self._rounds()
        try:
            answer = self._bmc.ask(ipmi.APPLICATION, 0x01)
        except (Refused, OSError) as error:
            raise Unavailable(f"{ipmi.DEVICES[0]}: the BMC does not answer: {error}") from error
        self._firmware = firmware(answer)

    def collect(self) -> Iterator[Row]:
        """Yield what a slice of the work brought."""
        until_s = self._clock() + self._slice_s
        try:
            for row in self._work:
                if row is _PAUSE:
                    return
                if row is not None:
                    yield row
                if self._clock() >= until_s:
                    return
        except OSError:
            self._work = self._rounds()  # the generator has ended with it
            raise

    def _rounds(self) -> Iterator[Row | None]:
        """Rows, None after a command without one, and the pause between two rounds."""
        while True:
            next_s = self._clock() + ROUND_S
            yield from self._read_chassis()
            if self._sensors is None:
                found: list[Sensor] = []
                for one in self._walk_sensors():
                    found += [one] if one is not None else []
                    yield None
                self._sensors = unique(found)
            for one in self._sensors:
                yield self._read_sensor(one)
            yield from self._follow_log()
            while self._clock() < next_s:
                yield _PAUSE

    def _read_chassis(self) -> Iterator[Row | None]:
        try:
            status = self._bmc.ask(ipmi.CHASSIS, 0x01)
            yield None
            cause = self._bmc.ask(ipmi.CHASSIS, 0x07)
        except Refused:
            return
        state = (self._firmware, *chassis(status, cause))
        if state != self._chassis:
            self._chassis = state
            yield Row(BMC, state)

    def _walk_sensors(self) -> Iterator[Sensor | None]:
        number, seen, tries = 0, 0, 0
        reservation = self._bmc.ask(ipmi.STORAGE, 0x22)[:2]
        while number != _END and seen < RECORDS_MAX:
            record, length, following = b"", 5, _END
            try:
                while len(record) < length:
                    count = 5 if not record else min(_CHUNK_BYTES, length - len(record))
                    place = number.to_bytes(2, "little") + bytes((len(record), count))
                    answer = self._bmc.ask(ipmi.STORAGE, 0x23, reservation + place)
                    if len(answer) < 3:
                        return
                    if not record and len(answer) >= 7:
                        length = 5 + answer[6]
                    following = int.from_bytes(answer[:2], "little")
                    record += answer[2 : 2 + count]
                    yield None
            except Refused as error:
                tries += 1
                if error.code == _RESERVATION_LOST and tries < RESERVATIONS_MAX:
                    reservation = self._bmc.ask(ipmi.STORAGE, 0x22)[:2]
                    continue
                record = b""  # this one cannot be had; the next one, where it is known
            number, seen = following, seen + 1
            one = sensor(record)
            yield one if one is not None and (one.analog or one.supply) else None

    def _read_sensor(self, one: Sensor) -> Row | None:
        try:
            now = reading(self._bmc.ask(ipmi.SENSOR, 0x2D, bytes((one.number,))))
        except Refused:  # the part that it measures is off or not there
            return None
        return sensor_row(one, now)

    def _follow_log(self) -> Iterator[Row | None]:
        first = self._last_event is None
        kept: deque[Event] = deque(maxlen=EARLIER_EVENTS_MAX)
        number = 0 if self._last_event is None else self._last_event
        for _ in range(RECORDS_MAX):
            try:
                answer = self._bmc.ask(
                    ipmi.STORAGE, 0x43, b"\0\0" + number.to_bytes(2, "little") + b"\0\xff"
                )
            except Refused:
                if number and not first:  # the log was cleared: it starts anew
                    self._last_event, number = 0, 0
                    continue
                break
            record = event(answer[2:])
            if record is None:
                break
            if record.record != self._last_event:
                self._last_event = record.record
                kept.append(record)
            number = int.from_bytes(answer[:2], "little")
            if number == _END:
                break
            yield None
        self._last_event = self._last_event or 0
        names = {one.number: one.name for one in self._sensors or ()}
        for record in kept:
            yield event_row(record, names, earlier=first)


_PAUSE = Row(BMC, ())
"""Nothing is to be done before the next round."""


def firmware(answer: bytes) -> str | None:
    """Firmware revision in the answer to Get Device ID."""
    return f"{answer[2] & 0x7F}.{answer[3]:02x}" if len(answer) >= 4 else None


def chassis(status: bytes, cause: bytes) -> tuple[Value, ...]:
    """The columns of the table ``bmc`` after the first, from the two answers."""
    if len(status) < 3:
        return (None,) * 8
    power, last, misc = status[:3]
    number = cause[0] & 0x0F if cause else 0
    events = [name for bit, name in enumerate(_LAST_EVENTS) if last >> bit & 1]
    return (
        RESTART_CAUSES[number] if number < len(RESTART_CAUSES) else None,
        bool(power & 0x01),
        bool(power & 0x02),
        bool(power & 0x18),
        ", ".join(events) or None,
        bool(misc & 0x08),
        bool(misc & 0x04),
        bool(misc & 0x01),
    )


def unique(found: list[Sensor]) -> list[Sensor]:
    """Sensors, each once, with names that tell them apart: boards have two sensors "Temp"."""
    once = {(one.name, one.number): one for one in found}.values()
    count = Counter(one.name for one in once)
    return [
        one if count[one.name] == 1 else replace(one, name=f"{one.name} (#{one.number})")
        for one in once
    ]


def sensor_row(one: Sensor, now: Reading) -> Row | None:
    """The row of a reading; None where the sensor has none now."""
    labels = ("bmc", "ipmi", "ipmi0", one.name)
    if one.supply:
        alarm = bool(now.states & 0x7E)
        state = supply_state(now.states)
        return Row(POWER, (*labels, None, None, None, None, None, alarm, state))
    value = None if now.raw is None else one.value(now.raw)
    if value is None:
        return None
    if one.unit == TEMPERATURE_C:
        critical = None if one.upper_critical is None else one.value(one.upper_critical)
        return Row(THERMAL, (*labels, value, critical, None, None, now.critical))
    if one.unit == RPM:
        return Row(THERMAL, (*labels, None, None, round(value), None, now.critical))
    watt, volt, ampere = (value if one.unit == unit else None for unit in (WATT, VOLT, AMPERE))
    return Row(POWER, (*labels, watt, None, None, volt, ampere, now.critical, None))


def event_row(record: Event, names: dict[int, str], *, earlier: bool) -> Row:
    """The row of an event."""
    return Row(
        BMC_EVENT,
        (
            record.record,
            None if record.time_s is None else record.time_s * 1_000_000,
            earlier,
            record.sensor_type,
            names.get(record.sensor, f"sensor {record.sensor}"),
            record.text,
            record.asserted,
            record.data,
        ),
    )
