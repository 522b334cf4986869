"""Quiet when all is well, awake when it is not, and cheap: `benchmarks/guard` in small, over real recordings."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT

from sainet.config.schema import Guard

SECONDS = {"validation": 6.0, "worker bursts": 5.0, "cache builds": 5.0, "page cache": 5.0}
TRACES = 24
CARELESS = Guard.model_validate(
    {"slope_from": 0.3, "hard_slope_from": 0.3, "slope_reach_s": 10.0, "survived_margin": 0.0, "clear": 0.2}
)
"""Growth counts from far below the limit: what false alarms come of."""


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_can_be_imported() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT)
        yield


@pytest.fixture(scope="module")
def recordings() -> dict[str, Any]:
    """A few seconds of each, for real, in a control group with a limit."""
    from benchmarks.guard.limits import Unavailable
    from benchmarks.guard.recording import record

    try:
        return {kind: record(kind, seconds) for kind, seconds in SECONDS.items()}
    except Unavailable as reason:
        pytest.skip(str(reason))


def alarms(recording: Any, settings: Guard | None = None) -> dict[str, float]:
    """The shares of traces with an alarm of each level."""
    from benchmarks.guard.traces import alarm_times, safe_trace

    rng = np.random.default_rng(0)
    found = [alarm_times(safe_trace(recording, rng), settings or Guard()) for _ in range(TRACES)]
    return {level: sum(level in times for times in found) / TRACES for level in ("soft", "hard")}


def test_the_recordings_are_what_they_are_called(recordings: dict[str, Any]) -> None:
    teeth, burst, cache = (recordings[kind].share for kind in ("validation", "worker bursts", "cache builds"))
    assert sum(a < 0.3 <= b for a, b in pairwise(teeth)) >= 2, "up and down again"
    assert max(burst) == pytest.approx(burst[-3], abs=0.02), "a plateau"
    assert max(burst) > 0.5
    assert max(cache) > 0.5
    assert sorted(cache)[len(cache) // 2] < max(cache), "a ramp"


def test_page_cache_fills_the_raw_usage_and_not_the_working_set(recordings: dict[str, Any]) -> None:
    recording = recordings["page cache"]
    assert max(recording.raw) > 0.9
    assert max(recording.share) < 0.5


@pytest.mark.parametrize("kind", SECONDS)
def test_it_is_quiet_when_all_is_well(recordings: dict[str, Any], kind: str) -> None:
    found = alarms(recordings[kind])
    assert found["hard"] == 0
    assert found["soft"] <= 0.1, "5% over the many traces of the benchmark"


def test_the_same_traces_alarm_a_guard_that_goes_by_growth_alone(recordings: dict[str, Any]) -> None:
    assert alarms(recordings["worker bursts"], CARELESS)["soft"] > 0.5


@pytest.mark.parametrize("kind", ["slow leaks", "leaks with validation"])
def test_a_leak_is_seen_before_the_limit(recordings: dict[str, Any], kind: str) -> None:
    from benchmarks.guard.traces import EVERY_S, FATAL, alarm_times, fatal_trace

    rng = np.random.default_rng(0)
    for _ in range(5):
        trace = fatal_trace(kind, recordings[FATAL[kind]], rng)
        times = alarm_times(trace, Guard())
        assert len(trace) * EVERY_S - min(times.values()) > 10, "time enough for a checkpoint"


def test_traces_are_the_same_each_time_and_as_high_as_they_say(recordings: dict[str, Any]) -> None:
    from benchmarks.guard.traces import safe_trace

    one, again = (safe_trace(recordings["validation"], np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, again)
    peaks = [safe_trace(recordings["validation"], np.random.default_rng(seed)).max() for seed in range(20)]
    assert 0.60 <= min(peaks) < 0.7 < 0.85 < max(peaks) <= 0.91


def test_a_look_costs_less_than_half_a_millisecond(tmp_path: Path) -> None:
    from benchmarks.guard.cheap import LOOK_S, cpu_s_of, looking

    before = os.times().user
    with looking(tmp_path) as look:
        look()
        # The quietest of some: others may hold the processor's caches, which is nothing that a look can help.
        assert min(cpu_s_of(look, 200) for _ in range(5)) <= LOOK_S
    assert os.times().user > before, "the looks were made"
    assert len((tmp_path / "memory.csv").read_text().splitlines()) == 1002
