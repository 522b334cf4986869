"""Every value knows where it came from and what it replaced."""

import re
from pathlib import Path

import pytest
from config_cases import profile_file, settle

from sainet.config.keys import all_keys
from sainet.config.show import nested_values, ordered_keys, origin_lines, select_keys
from sainet.errors import UsageError

VAL_LOADER = [f"loader.val.{name}" for name in ("workers", "prefetch_factor", "pin_memory", "timeout_s")]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_origin_of_each_layer_in_words() -> None:
    Path("more.yaml").write_text("# a comment\ntrain:\n  batch: 24\n")
    mine = profile_file("train:\n  device: cpu\n  imgsz: 64\ntiers:\n  fast:\n    train:\n      amp: false\n")
    resolved = settle(
        profile=mine,
        tier="fast",
        project="\ntrain: {save_period: 5}\n",
        files=[Path("more.yaml")],
        environment={"SAINET_PATIENCE": "3"},
        sets=["epochs=7"],
    )
    assert str(resolved.origin("loss.box")) == "preset fasdd-pretrain (configs/presets/fasdd-pretrain.yaml:45)"
    assert str(resolved.origin("train.tf32")) == "default"
    others = {key: str(origin) for key, origin in resolved.origins.items() if origin.layer not in {"preset", "default"}}
    assert others == {
        "train.device": "profile mine (mine.yaml:2)",
        "train.imgsz": "profile mine (mine.yaml:3)",
        "train.amp": "tier fast (mine.yaml:7)",
        "train.save_period": "sainet.yaml:2",
        "train.batch": "more.yaml:3",
        "schedule.patience": "SAINET_PATIENCE",
        "schedule.epochs": "--set epochs=7",
        "loader.workers": "auto: training on the CPU loads in its own process",
    }


def test_what_the_user_typed_is_told_from_what_ships() -> None:
    resolved = settle(profile="h200", sets=["batch=96"])
    typed = [key for key, origin in resolved.origins.items() if origin.typed_by_user]
    assert typed == ["train.batch"]


def test_the_history_keeps_every_value_that_was_replaced() -> None:
    resolved = settle(profile="h200", tier="stable", sets=["workers=12"])
    assert [setting.value for setting in resolved.history["loader.workers"]] == ["auto", 8, 6, 12]


def test_a_line_names_the_value_its_origin_and_what_it_replaced() -> None:
    resolved = settle(profile="h200", tier="stable", sets=["imgsz=896"])
    keys = ["train.imgsz", "loader.workers", "loader.pin_memory", "loader.persistent_workers"]
    assert origin_lines(resolved, keys) == [
        "train.imgsz               = 896     <- --set imgsz=896, "
        "over [1440, 808] of profile h200 (configs/profiles/h200.yaml:24)",
        "",
        "loader.workers            = 6       <- tier stable (configs/profiles/h200.yaml:43), "
        "over 8 of profile h200 (configs/profiles/h200.yaml:29)",
        "loader.pin_memory         = false   <- profile h200 (configs/profiles/h200.yaml:31), over default null",
        "loader.persistent_workers = true    <- profile h200 (configs/profiles/h200.yaml:32)",
    ]
    (line,) = origin_lines(settle(profile="h200"), ["loader.workers"])
    assert line == 'loader.workers = 8   <- profile h200 (configs/profiles/h200.yaml:29), over default "auto"'


def test_one_long_value_does_not_push_every_origin_to_the_right() -> None:
    resolved = settle(sets=[f"env.LONG={'x' * 100}"])
    lines = origin_lines(resolved, ["train.batch", "env.LONG"])
    assert lines[0].index("<-") < 45


def test_every_key_of_the_schema_is_shown_once_in_its_order() -> None:
    resolved = settle(sets=["env.B=1", "env.A=2"])
    keys = ordered_keys(resolved)
    assert [key for key in keys if not key.startswith("env.")] == [key for key in all_keys() if key != "env"]
    assert keys[keys.index("env.B") : keys.index("env.B") + 2] == ["env.B", "env.A"]
    assert keys.index("env.A") < keys.index("reference.source")


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["train.batch"], ["train.batch"]),
        (["workers"], ["loader.workers"]),
        (["loader.val", "epochs"], ["schedule.epochs", *VAL_LOADER]),
        (["env"], []),
        (["staging"], ["staging.to", "staging.format"]),
        (["loss", "loss.box"], ["loss.box", "loss.cls", "loss.dfl"]),
    ],
)
def test_keys_are_chosen_by_key_section_or_short_name(names: list[str], keys: list[str]) -> None:
    assert select_keys(settle(), names) == keys


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("lodaer", "there is no key or section `lodaer`", "did you mean the section `loader`?"),
        ("bacth", "there is no key or section `bacth`", "did you mean `train.batch`?"),
        ("num_workers", "there is no key or section `num_workers`", "`loader.workers`, per GPU"),
        ("env.NOPE", "`env.NOPE` is not set", "sainet config show env"),
    ],
)
def test_a_name_that_stands_for_nothing_is_an_error(name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        select_keys(settle(), [name])
    assert caught.value.message == message
    assert hint in str(caught.value.hint)


def test_nested_values_keep_dots_out_of_keys() -> None:
    resolved = settle(sets=["env.A=1"])
    assert nested_values(resolved, ["data", "loader.val.workers", "env.A"]) == {
        "data": None,
        "loader": {"val": {"workers": None}},
        "env": {"A": "1"},
    }


def test_a_list_of_mappings_is_shown_by_its_length() -> None:
    (line,) = origin_lines(settle(profile="h200"), ["reference.claims"])
    assert re.fullmatch(r"reference\.claims = \d+ items   <- profile h200 \(\S+:\d+\), over default \[\]", line)
