"""Sensor records (SDR), readings and event records (SEL) of a BMC, as bytes become values.

Source: IPMI specification 2.0, revision 1.1: tables 43-1 and 43-2 (records), 35-15 (reading), 32-1
(event record), 42-1 to 42-3 (event and sensor types)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

FULL, COMPACT = 0x01, 0x02
TEMPERATURE_C, VOLT, AMPERE, WATT, RPM = 1, 4, 5, 6, 18
POWER_SUPPLY = 0x08
_THRESHOLD, _SENSOR_SPECIFIC = 0x01, 0x6F
_CRITICAL_BITS = 0b110110
"""Of a threshold sensor's status: lower and upper critical and non-recoverable."""

SENSOR_TYPES = {
    0x01: "temperature", 0x02: "voltage", 0x03: "current", 0x04: "fan", 0x05: "intrusion",
    0x07: "processor", 0x08: "power supply", 0x09: "power unit", 0x0B: "other units",
    0x0C: "memory", 0x0D: "drive bay", 0x0F: "firmware progress", 0x10: "event log",
    0x12: "system event", 0x13: "critical interrupt", 0x14: "button", 0x15: "module",
    0x18: "chassis", 0x19: "chip set", 0x1B: "cable", 0x1D: "system boot", 0x1F: "boot",
    0x20: "stop of the operating system", 0x21: "slot", 0x22: "ACPI power state",
    0x23: "watchdog", 0x24: "platform alert", 0x28: "management subsystem", 0x29: "battery",
    0x2B: "version change", 0x2C: "FRU state",
}  # fmt: skip

_THRESHOLDS = (
    "lower non-critical, going low", "lower non-critical, going high",
    "lower critical, going low", "lower critical, going high",
    "lower non-recoverable, going low", "lower non-recoverable, going high",
    "upper non-critical, going low", "upper non-critical, going high",
    "upper critical, going low", "upper critical, going high",
    "upper non-recoverable, going low", "upper non-recoverable, going high",
)  # fmt: skip
POWER_SUPPLY_STATES = (
    "present", "failed", "failure predicted", "input lost", "input lost or out of range",
    "input out of range", "configuration error", "inactive",
)  # fmt: skip
_EVENTS = {
    0x07: ("IERR", "thermal trip", "BIST failure", "hang in POST", "startup failure",
           "configuration error", "SMBIOS uncorrectable error", "presence", "disabled",
           "terminator present", "throttled", "uncorrectable machine check",
           "correctable machine check"),
    0x08: POWER_SUPPLY_STATES,
    0x09: ("power off", "power cycle", "240 VA power down", "interlock power down", "AC lost",
           "soft-power control failure", "failure", "failure predicted"),
    0x0C: ("correctable ECC", "uncorrectable ECC", "parity", "scrub failed", "device disabled",
           "correctable ECC limit reached", "presence", "configuration error", "spare",
           "throttled", "critical overtemperature"),
    0x12: ("reconfigured", "OEM boot", "undetermined hardware failure", "log entry added"),
    0x13: ("front-panel NMI", "bus timeout", "I/O channel check NMI", "software NMI", "PCI PERR",
           "PCI SERR", "EISA fail-safe timeout", "bus correctable error",
           "bus uncorrectable error", "fatal NMI", "bus fatal error", "bus degraded"),
    0x1D: ("power-up", "hard reset", "warm reset", "PXE", "diagnostics", "reset by software",
           "restart"),
    0x20: ("critical stop at load", "critical stop at run", "graceful stop", "graceful shutdown"),
    0x23: ("expired", "hard reset", "power down", "power cycle"),
}  # fmt: skip
RESTART_CAUSES = (
    None, "chassis control command", "reset button", "power button", "watchdog expired", "OEM",
    "power restored: always on", "power restored: as before", "event filter: reset",
    "event filter: power cycle", "soft reset", "real-time clock",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sensor:
    """One sensor as its record describes it."""

    number: int
    lun: int
    kind: int
    reading_type: int
    name: str
    unit: int
    signed: int
    """0 unsigned, 1 one's complement, 2 two's complement, 3 no analog reading."""
    factors: tuple[int, int, int, int] | None
    """M, B, exponent of B, exponent of the result; None where the record gives none."""
    inverse: bool
    upper_critical: int | None
    """Raw."""

    @property
    def analog(self) -> bool:
        """Whether it measures something that is recorded."""
        units = (TEMPERATURE_C, VOLT, AMPERE, WATT, RPM)
        return self.reading_type == _THRESHOLD and self.factors is not None and self.unit in units

    @property
    def supply(self) -> bool:
        """Whether it tells the state of a power supply."""
        return self.kind == POWER_SUPPLY and self.reading_type == _SENSOR_SPECIFIC

    def value(self, raw: int) -> float | None:
        """A raw reading in the sensor's unit."""
        if self.factors is None:
            return None
        if self.signed and raw & 0x80:
            raw -= 0xFF if self.signed == 1 else 0x100
        m, b, b_exponent, exponent = self.factors
        measured = (m * raw + b * 10.0**b_exponent) * 10.0**exponent
        if self.inverse:
            return None if measured == 0 else round(1 / measured, 6)
        return round(measured, 6)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sensor says now; ``raw`` is None where it has no reading."""

    raw: int | None
    states: int
    """Bits of states or crossed thresholds."""

    @property
    def critical(self) -> bool:
        """Whether a threshold sensor is over a critical threshold."""
        return bool(self.states & _CRITICAL_BITS)


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the event log."""

    record: int
    time_s: int | None
    """The BMC's clock, s since 1970; None where it had not been set."""
    sensor_type: str
    sensor: int
    text: str
    asserted: bool
    data: str
    """The three event bytes, hexadecimal."""


def sensor(record: bytes) -> Sensor | None:
    """The sensor that a record describes; None for other records and damaged ones."""
    if len(record) < 5:
        return None
    full = record[3] == FULL
    at = 47 if full else 31
    if record[3] not in (FULL, COMPACT) or len(record) <= at:
        return None
    name = record[at + 1 : at + 1 + (record[at] & 0x1F)]
    factors = None
    if full and record[23] & 0x7F in (0, 7) and record[20] >> 6 != 3:
        factors = (
            _twos(record[24] | (record[25] & 0xC0) << 2, 10),
            _twos(record[26] | (record[27] & 0xC0) << 2, 10),
            _twos(record[29] & 0x0F, 4),
            _twos(record[29] >> 4, 4),
        )
    has_upper_critical = full and bool(record[18] & 0x10)
    return Sensor(
        number=record[7],
        lun=record[6] & 3,
        kind=record[12],
        reading_type=record[13],
        name=name.decode("ascii", "replace").replace("\0", "").strip() or f"sensor {record[7]}",
        unit=record[21] if not record[20] & 1 else 0,
        signed=record[20] >> 6,
        factors=factors,
        inverse=full and record[23] & 0x7F == 7,
        upper_critical=record[37] if has_upper_critical else None,
    )


def _twos(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def reading(answer: bytes) -> Reading:
    """The reading in the answer to Get Sensor Reading."""
    if len(answer) < 2 or answer[1] & 0x20 or not answer[1] & 0x40:
        return Reading(None, 0)
    states = answer[2] if len(answer) > 2 else 0
    if len(answer) > 3:
        states |= (answer[3] & 0x7F) << 8
    return Reading(answer[0], states)


def event(record: bytes) -> Event | None:
    """The event of a log record; None for a damaged one."""
    if len(record) < 16:
        return None
    number, kind, time_s = struct.unpack_from("<HBI", record)
    if kind != 0x02:
        stamp = time_s if kind < 0xE0 else None
        return Event(number, stamp, "OEM", 0, f"record type {kind:#04x}", True, record[7:].hex())
    sensor_kind, sensor_number, how = record[10], record[11], record[12]
    offset = record[13] & 0x0F
    names: tuple[str, ...] = ()
    if how & 0x7F == _THRESHOLD:
        names = _THRESHOLDS
    elif how & 0x7F == _SENSOR_SPECIFIC:
        names = _EVENTS.get(sensor_kind, ())
    text = names[offset] if offset < len(names) else f"type {how & 0x7F:#04x} offset {offset}"
    return Event(
        number,
        time_s if 0x20000000 <= time_s < 0xFFFFFFFF else None,
        SENSOR_TYPES.get(sensor_kind, f"type {sensor_kind:#04x}"),
        sensor_number,
        text,
        not how & 0x80,
        record[13:16].hex(),
    )


def supply_state(states: int) -> str:
    """The states of a power supply in words."""
    named = [name for bit, name in enumerate(POWER_SUPPLY_STATES) if states >> bit & 1]
    return ", ".join(named) or "absent"
