"""`sainet profiles`: list, read, and copy to adapt."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sainet.cli.profiles import app
from sainet.config.check import check_file
from sainet.config.library import Profile, shipped_root
from sainet.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def message_of(*arguments: str) -> str:
    error = run(*arguments).exception
    assert isinstance(error, UsageError)
    assert error.code == 2
    return str(error)


def test_ls_names_each_profile_with_its_machine_and_tiers() -> None:
    lines = run("ls").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["profile", "a100x2", "a10g", "cpu", "h200", "h200-shm"]
    assert "1x H200" in lines[4]
    assert "[1440, 808]" in lines[4]
    assert "stable, fast, validated-896, emergency" in lines[4]
    assert "One NVIDIA H200 (140 GB), 258 GB of RAM" in lines[4]


def test_ls_as_json() -> None:
    rows = {row["name"]: row for row in json.loads(run("ls", "--json").stdout)}
    assert rows["a100x2"] == {
        "name": "a100x2",
        "hardware": "Two NVIDIA A100-40GB (DDP), 500 GB of RAM that holds all decoded images.",
        "gpu": "A100",
        "gpus": 2,
        "batch": 60,
        "imgsz": [1440, 808],
        "tiers": ["stable"],
    }
    assert (rows["cpu"]["gpu"], rows["cpu"]["gpus"], rows["cpu"]["tiers"]) == (None, 0, [])


def test_show_prints_the_file_as_it_ships() -> None:
    assert run("show", "h200").stdout == (shipped_root() / "profiles" / "h200.yaml").read_text()


def test_show_as_json_resolves_each_tier() -> None:
    shown = json.loads(run("show", "h200", "--json").stdout)
    assert shown["name"] == "h200"
    assert shown["path"] == str(shipped_root() / "profiles" / "h200.yaml")
    assert shown["tiers"] == list(shown["tier_settings"]) == ["stable", "fast", "validated-896", "emergency"]
    assert shown["settings"]["train"]["batch"] == 128
    assert "optim" not in shown["settings"]
    emergency = shown["tier_settings"]["emergency"]
    assert (emergency["train"]["batch"], emergency["loader"]["cache"], emergency["train"]["save_period"]) == (
        64,
        False,
        5,
    )


def test_show_as_json_refuses_a_profile_with_faults() -> None:
    Path("mine.yaml").write_text("train: {bacth: 3}\n")
    error = run("show", "mine.yaml", "--json").exception
    assert isinstance(error, ConfigError)
    assert "mine.yaml:1: unknown key `train.bacth`" in str(error)


@pytest.mark.parametrize("command", ["show", "cp"])
def test_an_unknown_profile_names_the_nearest(command: str) -> None:
    destination = ["x.yaml"] if command == "cp" else []
    assert message_of(command, "a10", *destination) == (
        "there is no profile `a10`\n  hint: did you mean a10g or a100x2? (sainet profiles ls)"
    )


def test_a_copy_is_a_good_profile_whose_schema_and_commands_are_its_own() -> None:
    result = run("cp", "h200", "mine.yaml")
    assert result.stdout == "mine.yaml\n"
    assert "next: edit it, then: sainet config validate mine.yaml" in result.stderr
    copy, original = Path("mine.yaml").read_text(), (shipped_root() / "profiles" / "h200.yaml").read_text()
    assert f"# yaml-language-server: $schema={shipped_root()}/schema/profile.schema.json\n" in copy
    assert Path(copy.split("$schema=")[1].split("\n")[0]).is_file()
    assert "# One stage: sainet train --stage 1 --profile mine.yaml --data fasdd.yaml\n" in copy
    assert "--profile h200" not in copy
    changed = [line for line in copy.splitlines() if line not in original.splitlines()]
    assert all(line.startswith("#") for line in changed)
    assert check_file(Path("mine.yaml")) == "profile"
    assert Profile("mine.yaml").tiers == Profile("h200").tiers


def test_a_copy_of_h200_shm_keeps_its_own_name_apart_from_h200() -> None:
    run("cp", "h200-shm", "mine.yaml")
    assert "--profile mine.yaml --data" in Path("mine.yaml").read_text()


def test_a_copy_into_a_folder_keeps_the_name() -> None:
    Path("a folder").mkdir()
    result = run("cp", "cpu", "a folder")
    assert result.stdout == "a folder/cpu.yaml\n"
    assert "sainet config validate 'a folder/cpu.yaml'" in result.stderr
    assert Path("a folder/cpu.yaml").is_file()


def test_an_existing_file_is_replaced_only_with_force() -> None:
    Path("mine.yaml").write_text("precious")
    assert message_of("cp", "cpu", "mine.yaml") == (
        "mine.yaml exists already\n  hint: take another name, or replace it with --force"
    )
    assert Path("mine.yaml").read_text() == "precious"
    assert run("cp", "cpu", "mine.yaml", "--force").exit_code == 0
    assert check_file(Path("mine.yaml")) == "profile"


def test_a_place_that_no_profile_can_be_used_from_is_refused() -> None:
    assert message_of("cp", "cpu", "mine").startswith("mine does not end in .yaml")
    assert message_of("cp", "cpu", "no/where.yaml") == "there is no folder no\n  hint: mkdir -p no"


def test_a_copy_of_a_copy() -> None:
    run("cp", "cpu", "one.yaml")
    run("cp", "one.yaml", "two.yaml")
    assert Path("two.yaml").read_text() == Path("one.yaml").read_text().replace("one.yaml", "two.yaml")
