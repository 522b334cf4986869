"""When the guard speaks: levels, growth, patience, and how seldom it says the same thing twice."""

import math
from itertools import pairwise

import pytest
from config_cases import problems_of, settle
from fakes import GIB, MIB
from guard_cases import LIMIT, alarms, disk, looks, ram, shm, times, told, vram

from sainet.config.schema import Guard
from sainet.guard.policy import Alarm, Policy
from sainet.guard.sample import Sample
from sainet.guard.trend import Trend
from sainet.protocol import Level, Resource


def policy(**asked: float) -> Policy:
    return Policy(Guard.model_validate(asked))


# --- levels


def test_soft_takes_half_a_second_and_says_why() -> None:
    (first, *_) = alarms(policy(), (ram(t, 0.931) for t in times(5, 0.1)))
    assert told([first]) == [(0.5, "soft")]
    assert first.resource == "ram"
    assert first.reason == "RAM 93.1% of 24.0 GiB for 0.5 s (guard.soft 92%)"
    assert first.share == pytest.approx(0.931)


def test_a_level_that_is_left_in_time_is_no_alarm() -> None:
    shares = {0.0: 0.93, 0.1: 0.93, 0.2: 0.93, 0.3: 0.93, 0.4: 0.90, 0.5: 0.93, 0.6: 0.93}
    assert alarms(policy(), (ram(t, share) for t, share in shares.items())) == []


def test_hard_is_at_once() -> None:
    (first,) = policy().see(ram(0.0, 0.963))
    assert (first.level, first.reason) == ("hard", "RAM 96.3% of 24.0 GiB (guard.hard 96%)")


def test_shared_memory_is_judged_like_ram_and_by_itself() -> None:
    judge = policy()
    assert judge.see(shm(0.0, 0.97))[0].reason == "/dev/shm 97.0% of 24.0 GiB (guard.hard 96%)"
    assert judge.see(ram(0.1, 0.97))[0].resource == "ram", "the one does not wait for the other"


def test_above_the_limit_is_hard_too() -> None:
    (first,) = policy().see(ram(0.0, 1.2))
    assert (first.level, first.share) == ("hard", pytest.approx(1.2))


@pytest.mark.parametrize("every_s", [1.0, 5.0])
def test_a_recording_with_seconds_between_its_rows_is_judged_too(every_s: float) -> None:
    (first, *_) = alarms(policy(), (ram(t, 0.93) for t in times(20, every_s)))
    assert told([first]) == [(every_s, "soft")]


def test_what_nobody_could_read_is_no_alarm_and_no_error() -> None:
    unreadable = [Sample(0.0), Sample(0.5, ram_working_set_bytes=GIB), Sample(1.0, ram_limit_bytes=GIB)]
    unreadable += [Sample(1.5, ram_working_set_bytes=GIB, ram_limit_bytes=0), vram(2.0, None)]
    assert alarms(policy(), unreadable) == []


# --- growth


def test_growth_that_reaches_the_limit_soon_is_soft_before_the_level_is() -> None:
    judge = policy()
    first, *_ = alarms(judge, looks(judge, lambda t: 0.70 + 0.045 * t, 6.6))
    assert (first.level, first.share < 0.92) == ("soft", True)
    assert first.reason == "RAM 89.8% of 24.0 GiB, full in 2.3 s at its present growth (guard.slope_reach_s 2.5)"


def test_fast_growth_is_hard_before_the_level_is() -> None:
    judge = policy()
    found = alarms(judge, looks(judge, lambda t: 0.50 + 0.12 * t, 3.9))
    assert [alarm.level for alarm in found] == ["soft", "hard"]
    assert found[1].share < 0.96
    assert "guard.hard_slope_reach_s 1" in found[1].reason


def test_slow_growth_waits_for_the_level() -> None:
    judge = policy()
    first, *_ = alarms(judge, looks(judge, lambda t: 0.85 + 0.002 * t, 60))
    assert first.share == pytest.approx(0.921, abs=0.001)


def test_growth_below_the_gate_is_a_cache_that_is_being_built() -> None:
    judge = policy()
    assert alarms(judge, looks(judge, lambda t: min(0.87, 0.3 + 0.2 * t), 20)) == []


def teeth(peak: float, period_s: float = 60.0) -> "list[Sample]":
    """A validation every minute: up within five seconds, and back again."""
    shape = {0.0: 0.6, 10.0: 0.6, 15.0: peak, 17.0: peak, 18.0: 0.6, period_s: 0.6}
    knots = list(pairwise(shape.items()))

    def level(time_s: float) -> float:
        at = time_s % period_s
        (t0, y0), (t1, y1) = next((a, b) for a, b in knots if a[0] <= at <= b[0])
        return y0 + (y1 - y0) * (at - t0) / (t1 - t0)

    return [ram(t, level(t)) for t in times(5 * period_s, 0.1)]


def test_a_peak_that_was_survived_is_not_told_again() -> None:
    found = alarms(policy(cooldown_s=0.0), teeth(0.915))
    assert found, "the first is growth like any other"
    assert all(alarm.time_s < 60 for alarm in found if alarm.level != "clear")


def test_growth_above_what_was_survived_is_told() -> None:
    higher = [
        ram(sample.time_s + 400, share) for sample, share in zip(teeth(0.9), map(_share, teeth(0.918)), strict=True)
    ]
    found = [alarm for alarm in alarms(policy(), [*teeth(0.9), *higher]) if alarm.level != "clear"]
    assert len(found) == 2
    assert [alarm.time_s > 400 for alarm in found] == [False, True]


def test_a_peak_that_the_kernel_ended_was_not_survived() -> None:
    def killed(kills: int, start_s: float) -> list[Sample]:
        return [
            Sample(start_s + sample.time_s, sample.ram_working_set_bytes, sample.ram_limit_bytes, oom_kills=kills)
            for sample in teeth(0.915)[:600]
        ]

    judge = policy()
    assert alarms(judge, killed(0, 0.0))[0].level == "soft"
    assert [alarm.level for alarm in alarms(judge, killed(1, 60.0)) if alarm.level != "clear"] == ["soft"]


def _share(sample: Sample) -> float:
    assert sample.ram_working_set_bytes is not None
    return sample.ram_working_set_bytes / LIMIT


def test_growth_that_has_come_to_its_end_is_none() -> None:
    judge = policy()
    assert alarms(judge, looks(judge, lambda t: min(0.91, 0.4 + 0.3 * t), 20)) == []


def test_a_plateau_that_creeps_is_not_as_fast_as_the_burst_before_it() -> None:
    judge = policy()
    assert alarms(judge, looks(judge, lambda t: min(0.9 + 0.0005 * t, 0.4 + 0.3 * t), 20)) == []


def test_one_odd_sample_is_no_trend() -> None:
    shares = [0.80] * 20 + [0.915] + [0.80] * 20
    assert alarms(policy(), (ram(t, share) for t, share in zip(times(4, 0.1), shares, strict=True))) == []


@pytest.mark.parametrize("every_s", [0.1, 0.5, 1.0, 5.0])
def test_a_slope_is_that_of_the_line_whatever_the_pace(every_s: float) -> None:
    trend = Trend(1.0)
    for time_s in times(30, every_s, start_s=10):
        trend.add(1_700_000_000 + time_s, 0.01 * time_s)
    assert trend.slope(1.0) == pytest.approx(0.01, rel=1e-3)


def test_two_samples_far_apart_are_no_trend() -> None:
    trend = Trend(1.0)
    trend.add(0.0, 0.1)
    trend.add(11.0, 0.9)
    assert trend.slope(1.0) is None


def test_samples_of_the_same_moment_are_no_trend() -> None:
    trend = Trend(1.0)
    for share in (0.1, 0.9, 0.95):
        trend.add(5.0, share)
    assert trend.slope(1.0) is None


def test_nothing_grows_without_end() -> None:
    judge = policy()
    for number in range(20_000):
        judge.see(ram(number * 0.1, 0.5 + 0.2 * math.sin(number)))
    trend = judge._ram._trend
    assert len(trend._recent) <= 12
    assert len(trend._unsettled) <= 201


# --- how often


def test_the_alarm_comes_again_after_the_cooldown_as_long_as_it_is_tight() -> None:
    found = alarms(policy(), (ram(t, 0.93) for t in times(40, 0.1)))
    assert told(found) == [(0.5, "soft"), (15.5, "soft"), (30.5, "soft")]


def test_hard_does_not_wait_for_soft_but_for_hard() -> None:
    def level(time_s: float) -> float:
        return 0.93 if time_s < 2 else 0.97

    found = alarms(policy(), (ram(t, level(t)) for t in times(20, 0.1)))
    assert told(found) == [(0.5, "soft"), (2.0, "hard"), (17.0, "hard")]


def test_soft_waits_for_hard() -> None:
    found = alarms(policy(), (ram(t, 0.97 if t < 1 else 0.93) for t in times(20, 0.1)))
    assert told(found) == [(0.0, "hard"), (15.0, "soft")]


def test_clear_is_told_once_after_it_has_lasted() -> None:
    found = alarms(policy(), (ram(t, 0.93 if t < 5 else 0.7) for t in times(120)))
    assert told(found) == [(0.5, "soft"), (35.0, "clear")]
    assert found[1].reason == "RAM below 80% for 30 s (guard.clear)"


def test_between_clear_and_soft_nothing_is_said() -> None:
    assert told(alarms(policy(), (ram(t, 0.93 if t < 5 else 0.85) for t in times(120)))) == [(0.5, "soft")]


def test_clear_begins_anew_when_it_is_left() -> None:
    def level(time_s: float) -> float:
        return 0.93 if time_s < 5 else 0.85 if time_s == 20 else 0.7

    assert told(alarms(policy(), (ram(t, level(t)) for t in times(60)))) == [(0.5, "soft"), (50.5, "clear")]


def test_plenty_all_along_is_not_told() -> None:
    assert alarms(policy(), (ram(t, 0.3) for t in times(200))) == []


def test_an_alarm_that_was_taken_back_costs_no_cooldown() -> None:
    judge = policy()
    (first,) = judge.see(ram(0.0, 0.97))
    judge.take_back(first)
    assert told(judge.see(ram(0.1, 0.97))) == [(0.1, "hard")]
    assert judge.see(ram(0.2, 0.97)) == []


# --- what is forgotten


@pytest.mark.parametrize("later_s", [61.0, -3600.0])
def test_a_gap_and_a_clock_that_is_set_back_forget_how_long_it_lasted(later_s: float) -> None:
    judge = policy()
    assert alarms(judge, [ram(0.0, 0.93), ram(0.4, 0.93)]) == []
    assert alarms(judge, [ram(later_s, 0.93), ram(later_s + 0.4, 0.93)]) == []
    assert told(judge.see(ram(later_s + 0.5, 0.93))) == [(later_s + 0.5, "soft")]


def test_a_gap_does_not_forget_that_it_was_tight() -> None:
    judge = policy()
    judge.see(ram(0.0, 0.97))
    assert told(alarms(judge, (ram(t, 0.5) for t in times(200, start_s=100)))) == [(130.0, "clear")]


def test_another_limit_forgets_the_history_but_not_the_level() -> None:
    judge = policy()
    alarms(judge, [ram(0.0, 0.97), *(ram(t, 0.5) for t in times(30, start_s=0.5))])
    assert judge._ram._trend.survived == pytest.approx(0.97)
    assert told(judge.see(ram(30.5, 0.5, LIMIT // 2))) == [(30.5, "clear")]
    assert judge._ram._trend.survived == 0


# --- VRAM and the disk


def test_vram_is_judged_by_its_level_alone() -> None:
    judge = policy()
    assert alarms(judge, (vram(t, 0.3 + 0.1 * t) for t in times(6, 0.1))) == []
    found = alarms(judge, (vram(t, 0.93) for t in times(10, 0.1, start_s=6.1)))
    assert told(found) == [(6.6, "soft")]
    assert found[0].reason == "VRAM of GPU 0 93.0% of 40.0 GiB for 0.5 s (guard.vram_soft 92%)"


def test_two_gpus_make_one_alarm_about_the_fuller_one() -> None:
    (found,) = policy().see(vram(0.0, 0.961, 0.98))
    assert (found.gpu, found.reason) == (1, "VRAM of GPU 1 98.0% of 40.0 GiB (guard.vram_hard 96%)")


def test_vram_is_clear_when_every_gpu_is() -> None:
    judge = policy()
    judge.see(vram(0.0, 0.97, 0.5))
    assert alarms(judge, (vram(t, 0.5, 0.85) for t in times(60, start_s=0.5))) == []
    assert told(alarms(judge, (vram(t, 0.5, None) for t in times(100, start_s=60.5)))) == [(90.5, "clear")]


@pytest.mark.parametrize(
    ("free", "checkpoint", "level", "reason"),
    [
        (2.1 * GIB, None, None, ""),
        (1.9 * GIB, None, "soft", "1.9 GiB of the disk free, less than guard.disk_soft_gib 2"),
        (0.4 * GIB, None, "hard", "410 MiB of the disk free, less than guard.disk_hard_gib 0.5"),
        (1.9 * GIB, 100 * MIB, None, ""),
        (401 * MIB, 100 * MIB, None, ""),
        (390 * MIB, 100 * MIB, "soft", "390 MiB of the disk free, less than 4 checkpoints of 100 MiB"),
        (149 * MIB, 100 * MIB, "hard", "149 MiB of the disk free, less than 1.5 checkpoints of 100 MiB"),
        (3 * GIB, GIB, "soft", "3.0 GiB of the disk free, less than 4 checkpoints of 1.0 GiB"),
    ],
)
def test_the_disk_is_measured_in_checkpoints_where_one_is_known(
    free: float, checkpoint: int | None, level: Level | None, reason: str
) -> None:
    found = policy().see(disk(0.0, free, checkpoint))
    assert [(alarm.level, alarm.reason) for alarm in found] == ([(level, reason)] if level else [])


def test_the_disk_is_clear_above_its_soft_level() -> None:
    judge = policy()
    judge.see(disk(0.0, GIB))
    found = alarms(judge, (disk(t, 2.5 * GIB) for t in times(60, start_s=0.5)))
    assert [(alarm.time_s, alarm.reason) for alarm in found] == [(30.5, "enough of the disk free again for 30 s")]


# --- asking again


def test_tight_is_ram_or_shared_memory_above_a_share() -> None:
    judge = policy()
    assert [judge.tight(ram(0, 0.74)), judge.tight(ram(0, 0.76)), judge.tight(shm(0, 0.76))] == [False, True, True]
    assert not judge.tight(Sample(0.0))
    assert not judge.tight(vram(0, 0.99))


@pytest.mark.parametrize(
    ("resource", "over", "still"),
    [
        ("ram", ram(1, 0.87), ram(1, 0.881)),
        ("shm", shm(1, 0.87), shm(1, 0.881)),
        ("vram", vram(1, 0.99, 0.91), vram(1, 0.5, 0.921)),
        ("disk", disk(1, 2 * GIB), disk(1, 1.9 * GIB)),
    ],
)
def test_a_fresh_look_says_whether_it_is_over(resource: Resource, over: Sample, still: Sample) -> None:
    alarm = Alarm(0.0, resource, "soft", "", 0.95, gpu=1 if resource == "vram" else None)
    assert [policy().still(alarm, sample) for sample in (over, still)] == [False, True]
    assert policy().still(alarm, Sample(1.0)), "what cannot be read is not over"


def test_a_lower_soft_level_is_not_over_because_growth_counts_later() -> None:
    judge = policy(soft=0.82)
    (alarm,) = alarms(judge, (ram(t, 0.85) for t in times(0.5, 0.1)))
    assert judge.still(alarm, ram(0.6, 0.85))


# --- settings


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["guard.soft=0.97"], "`guard.soft` 0.97 cannot be above `guard.hard` 0.96"),
        (["guard.hard=0.9"], "`guard.hard` 0.9 cannot be below `guard.soft` 0.92"),
        (["guard.soft=0.8"], "`guard.soft` 0.8 has to be above `guard.clear` 0.8"),
        (["guard.clear=0.9"], "`guard.clear` 0.9 has to be below `guard.slope_from` 0.88"),
        (["guard.vram_soft=0.7"], "`guard.vram_soft` 0.7 has to be above `guard.clear` 0.8"),
        (["guard.vram_hard=0.9"], "`guard.vram_hard` 0.9 cannot be below `guard.vram_soft` 0.92"),
        (["guard.disk_hard_gib=3"], "`guard.disk_hard_gib` 3 cannot be above `guard.disk_soft_gib` 2"),
        (["guard.tight_every_s=1"], "`guard.tight_every_s` 1 cannot be above `guard.every_s` 0.5"),
    ],
)
def test_levels_in_a_wrong_order_are_refused_where_they_were_set(sets: list[str], message: str) -> None:
    (problem,) = problems_of(sets=sets)
    assert problem.startswith(f"--set {sets[0]}: {message}")


def test_a_soft_level_below_the_one_for_growth_is_fine() -> None:
    assert settle(sets=["guard.soft=0.85"]).config.guard.soft == 0.85
