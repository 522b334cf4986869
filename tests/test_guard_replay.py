"""`sainet guard replay`: what other settings would have done with a recording."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from guard_cases import ram, shm, times, vram
from running import sainet
from typer.testing import CliRunner, Result

from sainet.cli.guard import app
from sainet.config.schema import Guard
from sainet.errors import ConfigError, UsageError
from sainet.guard.replay import replay
from sainet.guard.sample import Sample
from sainet.guard.sample_file import SampleLog
from sainet.protocol import Level, Resource


@dataclass(frozen=True)
class Step:
    action: str
    ends_attempt: bool = False


@dataclass
class FewSteps:
    """Two for soft alarms, then nothing; a hard one ends the attempt. Notes what it is told."""

    left: list[str] = field(default_factory=lambda: ["first", "second"])
    told: list[tuple[str, bool]] = field(default_factory=list)

    def next(self, _resource: Resource, level: Level) -> Step | None:
        if level == "hard":
            return Step("stop", ends_attempt=True)
        return Step(self.left[0]) if self.left else None

    def took(self, rung: Step) -> None:
        self.left = [name for name in self.left if name != rung.action]

    def measured(self, rung: Step, *, helped: bool) -> None:
        self.told.append((rung.action, helped))


def decided(samples: Sequence[Sample], ladder: FewSteps | None = None, **asked: object) -> list[tuple[float, str, str]]:
    found = replay(samples, Guard.model_validate(asked), ladder or FewSteps())
    return [(round(one.time_s, 1), one.level, one.action) for one in found]


def tight(until_s: float, start_s: float = 0.0) -> list[Sample]:
    return [ram(t, 0.93) for t in times(until_s, start_s=start_s)]


def test_each_alarm_takes_the_next_step_and_that_nothing_is_left_is_said_once() -> None:
    assert decided(tight(100)) == [(0.5, "soft", "first"), (15.5, "soft", "second"), (30.5, "soft", "none")]


def test_it_is_said_again_after_there_was_plenty() -> None:
    samples = [*tight(100), *(ram(t, 0.5) for t in times(140, start_s=100.5)), *tight(200, start_s=140.5)]
    assert decided(samples, FewSteps([])) == [(0.5, "soft", "none"), (130.5, "clear", "none"), (141.0, "soft", "none")]


def test_a_hard_alarm_still_acts_where_a_soft_one_had_nothing_left() -> None:
    samples = [*tight(20), *(ram(t, 0.97) for t in times(60, start_s=20.5))]
    assert decided(samples, FewSteps([])) == [(0.5, "soft", "none"), (20.5, "hard", "stop")]


def test_resources_are_judged_each_by_itself() -> None:
    assert decided([shm(0.0, 0.97), vram(0.5, 0.97), ram(1.0, 0.97)]) == [
        (0.0, "hard", "stop"),
        (0.5, "hard", "stop"),
        (1.0, "hard", "stop"),
    ]


def test_a_guard_that_is_off_says_what_it_sees_and_does_nothing() -> None:
    assert decided(tight(100), enabled=False) == [(0.5, "soft", "none")]


def test_a_step_that_the_alarm_comes_after_again_has_not_helped() -> None:
    ladder = FewSteps()
    decided([*tight(20), *(ram(t, 0.5) for t in times(60, start_s=20.5))], ladder)
    assert ladder.told == [("first", False), ("second", True)]


def test_a_step_that_had_no_time_to_show_is_not_judged() -> None:
    ladder = FewSteps()
    decided([*tight(2), ram(2.5, 0.97)], ladder)
    assert ladder.told == []


# --- the command


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A minute just below the soft level, then a minute above it."""
    path = tmp_path / "memory.csv"
    log = SampleLog(path)
    for time_s in times(120):
        log.append(ram(1_700_000_000 + time_s, 0.90 if time_s < 60 else 0.93))
    log.close()
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)], catch_exceptions=False)


def test_the_command_prints_each_decision_with_its_reason(recording: Path) -> None:
    result = run(recording, "--profile", "h200")
    head, first, *_ = result.stdout.splitlines()
    assert head.split() == ["after", "resource", "level", "action", "because"]
    assert first.split(maxsplit=4)[:4] == ["60.5", "s", "ram", "soft"]
    assert "prefetch: prefetch_factor 2 -> 1" in first
    assert first.endswith("RAM 93.0% of 24.0 GiB for 0.5 s (guard.soft 92%)")


def test_another_setting_decides_otherwise(recording: Path) -> None:
    earlier = json.loads(run(recording, "--profile", "h200", "--json", "--set", "guard.soft=0.85").stdout)
    assert earlier[0]["time_s"] == 1_700_000_000.5
    assert set(earlier[0]) == {"time_s", "resource", "level", "action", "reason"}
    # short names, other layers and keys of other sections work as everywhere
    Path("sainet.yaml").write_text("guard: {cooldown_s: 1000}\n")
    later = json.loads(run(recording, "--json", "--set", "slope_from=0.85", "--set", "batch=4").stdout)
    assert [round(one["time_s"] - 1_700_000_000, 1) for one in later] == [60.5]


def test_a_quiet_recording_says_so_on_stderr_and_is_an_empty_list(recording: Path) -> None:
    result = run(recording, "--set", "guard.soft=0.95")
    assert (result.stdout, result.stderr) == ("", "nothing to decide in 241 samples over 120 s\n")
    assert json.loads(run(recording, "--set", "guard.soft=0.95", "--json").stdout) == []


def test_a_column_that_nobody_looks_at_is_told_beside_the_answer(tmp_path: Path) -> None:
    (tmp_path / "hand.csv").write_text("time_s,ram\n0,1\n")
    assert "the column `ram` is not looked at" in run("hand.csv").stderr


def test_what_is_wrong_is_a_usage_error(recording: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        run("gone.csv")
    with pytest.raises(ConfigError, match=r"did you mean `guard\.soft`"):
        run(recording, "--set", "guard.sofd=0.85")


def test_the_whole_command_line_knows_it(recording: Path, tmp_path: Path) -> None:
    done = sainet("guard", "replay", recording, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["level"] == "soft"
    assert sainet("guard", "replay", "gone.csv", cwd=tmp_path).returncode == 2
