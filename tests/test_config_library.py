"""The shipped files: where they are, what they are for, and how one file is checked by itself."""

from pathlib import Path

import pytest

from sainet.config.check import check_file, checked_config, kind_of
from sainet.config.library import Profile, preset_layer, profile_names, profile_path, shipped_root
from sainet.errors import ConfigError

SHIPPED = sorted(shipped_root().glob("p*/*.yaml"))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems_of(text: str, name: str = "mine.yaml") -> list[str]:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_file(path)
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_profiles_and_presets() -> None:
    assert profile_names() == ["a100x2", "a10g", "cpu", "h200", "h200-shm"]
    assert [layer.settings[0].value for layer in (preset_layer(1), preset_layer(2))] == ["yolov8s.pt", "stage-1"]


def test_a_profile_is_a_shipped_name_or_a_yaml_of_ones_own() -> None:
    assert profile_path("h200") == shipped_root() / "profiles" / "h200.yaml"
    own = Path("h200.yaml")
    own.write_text("# My H200.\ntrain: {batch: 3}\n")
    profile = Profile("h200.yaml")
    assert (profile.path, profile.name, profile.tiers) == (own.absolute(), "h200", [])
    assert profile.headline() == "My H200."


def test_the_tiers_are_listed_in_the_order_of_the_file() -> None:
    assert Profile("h200").tiers == ["stable", "fast", "validated-896", "emergency"]
    assert Profile("cpu").tiers == []


def test_the_headline_skips_the_line_for_editors() -> None:
    Path("a.yaml").write_text("# yaml-language-server: $schema=x\n#\n# A machine.\ntrain: {}\n")
    assert Profile("a.yaml").headline() == "A machine."
    Path("b.yaml").write_text("train: {}\n")
    assert Profile("b.yaml").headline() == ""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_has_no_faults(path: Path) -> None:
    assert check_file(path) == path.parent.name.removesuffix("s")


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("sainet.yaml", "train: {batch: 3}\n", "project"),
        ("mine.yaml", "hardware: {gpus: 1}\n", "profile"),
        ("mine.conf", "tiers: {fast: {train: {batch: 3}}}\n", "profile"),
        ("profiles/mine.yaml", "train: {batch: 3}\n", "profile"),
        ("presets/mine.yaml", "schedule: {epochs: 3}\n", "preset"),
        ("presets/odd.yaml", "hardware: {gpus: 1}\n", "profile"),
        ("empty.yaml", "", "project"),
    ],
)
def test_content_and_folder_tell_what_a_file_is(name: str, text: str, kind: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    assert kind_of(Path(name)) == check_file(Path(name)) == kind


def test_each_tier_of_a_profile_is_checked() -> None:
    tiers = "tiers:\n  a: {train: {batch: x}}\n  b:\n    train: {batch: 61}\n  c: {lr0: 1}\n"
    text = f"train: {{device: '0,1', batch: 60}}\n{tiers}"
    problems = problems_of(text)
    assert [problem.split("\n")[0] for problem in problems] == [
        'mine.yaml:3: `train.batch` should be a whole number; it is "x"',
        "mine.yaml:5: `train.batch` 61 cannot be shared by 2 GPUs",
        "mine.yaml:6: unknown key `lr0`",
    ]


def test_a_contradiction_within_a_preset_is_found_and_none_is_made_up_for_a_project_file() -> None:
    (problem,) = problems_of("schedule: {single_cls: true}\n", "presets/mine.yaml")
    assert problem.startswith("presets/mine.yaml:1: `schedule.single_cls: true` needs exactly one name")
    Path("sainet.yaml").write_text("train: {micro_batch: 32}\n")  # the profile's batch may well be 128
    assert check_file(Path("sainet.yaml")) == "project"


def test_a_profile_on_its_own_may_leave_the_device_to_the_machine() -> None:
    Path("mine.yaml").write_text("hardware: {gpus: 1}\n")
    assert checked_config([Profile("mine.yaml").layer()]).train.device == "auto"


def test_checking_reports_a_missing_file_and_bad_yaml() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        check_file(Path("nowhere.yaml"))
    assert problems_of("a: [\n")[0].startswith("mine.yaml:2: not valid YAML")
