"""A run that became slower and went on: what the recorder saw change then, and what it did not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import START, Recorded
from trainwreck_agent.collector import Value
from trainwreck_analyzer import pace, series
from trainwreck_analyzer.verdict import Incident

GPUS = 8
SLOW_S = 120.0
"""When the steps become slower."""
STEP_S, SLOWER_S, STEPS = 4.0, 6.4, 60
HEAT, BRAKE = 0x40, 0x80
Change = Callable[[int], dict[str, Value]]
"""What is other about a GPU, by its number, since the steps are slower."""


def _ends() -> list[float]:
    """When each step ends, s."""
    at, ends = 0.0, []
    for n in range(STEPS):
        at += (STEP_S if n < SLOW_S / STEP_S else SLOWER_S) * (1 + 0.003 * (n % 5))
        ends.append(at)
    return ends


def _log(*, timed: bool) -> list[str]:
    ends = _ends()
    took = [after - before for before, after in zip([0.0, *ends], ends, strict=False)]
    return [
        f"{at:.3f} INFO step {n + 1} loss {2.5 - n / 1000:.4f}"
        + (f" step_time {took[n]:.3f}s" if timed else "")
        for n, at in enumerate(ends)
    ]


def _ticks(recorded: Recorded, change: Change) -> None:
    for at_s in range(0, int(_ends()[-1]), 5):
        recorded.add("memory", at_s, total_bytes=64 << 30, available_bytes=60 << 30)
        for number in range(GPUS):
            cells: dict[str, Value] = {
                "status": "ok", "utilization_percent": 97, "temperature_c": 60,
                "sm_clock_mhz": 1980, "clock_event_reasons": 0, "pcie_link_width": 16,
                "pcie_link_generation": 5, "ecc_uncorrected_count": 0,
            }  # fmt: skip
            cells |= change(number) if at_s > SLOW_S else {}
            recorded.add("gpu", at_s, uuid=f"GPU-{number}", gpu_index=number, **cells)


def _told(recorded: Recorded, change: Change, *, timed: bool = True) -> Incident:
    _ticks(recorded, change)
    (incident,) = recorded.incidents(*_log(timed=timed))
    return incident


def _one(**cells: Value) -> Change:
    return lambda number: cells if number == 3 else {}


def _all(**cells: Value) -> Change:
    return lambda number: cells


@pytest.mark.parametrize("timed", [True, False], ids=["told", "by the clock"])
def test_one_hot_gpu_is_the_cause_and_the_slow_steps_its_consequence(
    recorded: Recorded, timed: bool
) -> None:
    hot = _one(clock_event_reasons=HEAT, temperature_c=93, sm_clock_mhz=900)
    incident = _told(recorded, hot, timed=timed)
    assert incident.verdict.cause == "gpu_thermal"
    assert incident.verdict.component.gpu_uuid == "GPU-3"
    text = incident.hypotheses[0].evidence[0].text
    assert "100% of the samples since the steps became slower, up to 93 °C" in text
    assert "from 1980 to 900 MHz" in text
    assert len(incident.victims) == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_all(clock_event_reasons=HEAT, temperature_c=90), "cooling_chassis"),
        (_all(clock_event_reasons=BRAKE), "psu_power"),
        (_one(clock_event_reasons=BRAKE), "gpu_power"),
        (_one(pcie_link_generation=1, utilization_percent=80), "pcie_link"),
        (_one(pcie_link_width=8, utilization_percent=80), "pcie_link"),
        (_all(utilization_percent=30), "dataloader_starvation"),
        (_all(), "straggler"),
    ],
    ids=["heat of all", "brake of all", "brake", "generation", "width", "waiting", "nothing"],
)
def test_what_changed_then_is_the_cause(recorded: Recorded, change: Change, cause: str) -> None:
    incident = _told(recorded, change)
    assert incident.verdict.cause == cause
    of_one = cause in ("gpu_power", "pcie_link")
    assert incident.verdict.component.gpu_uuid == ("GPU-3" if of_one else None)


def test_gpus_that_kept_their_clocks_are_said_to_have(recorded: Recorded) -> None:
    incident = _told(recorded, _all())
    (absence,) = [e for e in incident.hypotheses[0].evidence if e.kind == "absence"]
    assert "the 8 GPUs of " in absence.text
    assert "kept their clocks" in absence.text


def test_a_state_that_was_there_all_along_slowed_nothing_down(recorded: Recorded) -> None:
    for at_s in range(0, 121, 5):
        recorded.add("gpu", at_s + 1, uuid="GPU-3", clock_event_reasons=HEAT, temperature_c=90)
    hot = _one(clock_event_reasons=HEAT, temperature_c=90)
    assert _told(recorded, hot).verdict.cause == "straggler"


def test_heat_without_slower_steps_is_no_incident(recorded: Recorded) -> None:
    _ticks(recorded, _one(clock_event_reasons=HEAT, temperature_c=88))
    even = [f"{4 * n} INFO step {n} loss {2.5 - n / 1000:.4f} step_time 4.0s" for n in range(60)]
    assert recorded.incidents(*even) == ()


def test_the_recorder_alone_tells_of_slower_steps(recorded: Recorded) -> None:
    """No log is given; it was followed while it was written."""
    _ticks(recorded, _one(clock_event_reasons=HEAT, temperature_c=93))
    for n, at_s in enumerate(_ends()):
        recorded.add("training_event", at_s, path="/w/train.log", line=n + 1, kind="step",
                     step=n + 1, loss=2.5)  # fmt: skip
    (incident,) = recorded.incidents()
    assert incident.verdict.cause == "gpu_thermal"
    assert incident.verdict.component.gpu_uuid == "GPU-3"


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("step 3 loss 2.5 step_time 4.01s", 4.01),
        ("step 3 loss 2.5 step_time=4.01", 4.01),
        ("step 3 | loss 2.5 | step time: 401.5 ms", 0.4015),
        ("{'step': 3, 'loss': 2.5, 'step_time_ms': 401.5}", 0.4015),
        ('{"step": 3, "loss": 2.5, "iter_time": 0.25}', 0.25),
        ("step 3 loss 2.5 time/step 0.25", 0.25),
        ("step 3 loss 2.5 step_time 12:01:02", None),
        ("step 3 loss 2.5 total_time 12.5", None),
        ("step 3 loss 2.5 data_time 0.5", None),
    ],
)
def test_the_time_of_a_step_is_read(line: str, seconds: float | None) -> None:
    step = series.read(line, 1, None)
    assert step is not None
    assert step.step_time_s == (None if seconds is None else pytest.approx(seconds))


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 40),
            st.none() | st.datetimes(min_value=START.replace(tzinfo=None)),
            st.none() | st.floats(0, 100),
        ),
        max_size=60,
    )
)
def test_any_steps_have_a_pace(said: list[tuple[int | None, object, float | None]]) -> None:
    steps = [pace.Timed(step, at, took) for step, at, took in said]  # type: ignore[arg-type]
    found = pace.slower(steps)
    if found is not None:
        assert 0 <= found.place < len(steps)
        assert found.after_s > found.before_s
