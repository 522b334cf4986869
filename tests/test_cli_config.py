"""`sainet config`: data on stdout, warnings on stderr, and every problem of every file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import sainet.cli.machine_values
from sainet.cli.config import app
from sainet.config.auto import HardwareValues
from sainet.config.jsonschema import json_schema
from sainet.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def _in_an_empty_folder_on_a_known_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sainet.cli.machine_values, "hardware_values", lambda: HardwareValues(16))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def json_of(*arguments: str) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_show_prints_every_key_with_its_origin() -> None:
    result = run("show", "--profile", "h200")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line]
    assert len({line.index(" = ") for line in lines}) == 1
    assert all("<- " in line for line in lines)
    (workers,) = [line for line in lines if line.startswith("loader.workers ")]
    assert "= 8 " in workers
    assert workers.endswith('<- profile h200 (configs/profiles/h200.yaml:29), over default "auto"')


def test_warnings_go_to_stderr_and_never_between_the_data() -> None:
    result = run("show", "--profile", "h200", "imgsz")
    assert (
        result.stdout
        == "train.imgsz = [1440, 808]   <- profile h200 (configs/profiles/h200.yaml:24), over default 640\n"
    )
    assert "warning: train.imgsz [1440, 808] trains at 832x1440" in result.stderr


def test_show_takes_tier_stage_files_and_sets() -> None:
    Path("more.yaml").write_text("train: {batch: 24}\nschedule: {epochs: 9}\n")
    shown = json_of(
        "show", "--profile", "h200", "--tier", "fast", "--stage", "2", "--config", "more.yaml", "--set", "epochs=7",
        "--set", "stage1.patience=3", "--json",
    )  # fmt: skip
    assert (shown["profile"], shown["tier"], shown["stage"]) == ("h200", "fast", 2)
    assert shown["config"]["train"]["batch"] == 24
    assert shown["config"]["loader"]["workers"] == 12
    assert (shown["config"]["schedule"]["epochs"], shown["config"]["schedule"]["patience"]) == (7, 10)
    assert shown["origins"]["schedule.epochs"] == "--set epochs=7"
    assert shown["origins"]["train.batch"] == "more.yaml:1"
    assert any("trains at 832x1440" in text for text in shown["warnings"])


def test_show_reads_sainet_yaml_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sainet.yaml").write_text("train: {batch: 4}\n")
    monkeypatch.setenv("SAINET_EPOCHS", "3")
    shown = json_of("show", "--json", "batch", "epochs")
    assert shown["config"] == {"train": {"batch": 4}, "schedule": {"epochs": 3}}
    assert shown["origins"] == {"schedule.epochs": "SAINET_EPOCHS", "train.batch": "sainet.yaml:1"}
    assert shown["profile"] == "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lodaer"], "there is no key or section `lodaer`\n  hint: did you mean the section `loader`?"),
        (
            ["--profile", "h20"],
            "there is no profile `h20`\n  hint: did you mean h200 or h200-shm? (sainet profiles ls)",
        ),
        (["--tier", "fast"], "--tier: profile cpu has no tier `fast`\n  hint: its tiers: none"),
        (["--set", "a", "--set", "=b"], "--set a: expected KEY=VALUE"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_show_refuses(arguments: list[str], message: str) -> None:
    result = run("show", *arguments)
    assert isinstance(result.exception, UsageError)
    assert result.exception.code == 2
    assert message in str(result.exception)
    assert result.stdout == ""


def test_each_bad_set_is_named() -> None:
    error = run("show", "--set", "a", "--set", "=b").exception
    assert isinstance(error, ConfigError)
    assert [problem.where for problem in error.problems] == ["--set a", "--set =b"]


@pytest.mark.parametrize("arguments", [["--stage", "3"], ["--stage", "x"], ["--nope"]])
def test_a_bad_option_is_exit_code_2(arguments: list[str]) -> None:
    assert run("show", *arguments).exit_code == 2


def test_validate_without_files_checks_both_stages() -> None:
    result = run("validate")
    assert result.stdout == "ok: stage 1, profile cpu\nok: stage 2, profile cpu\n"
    assert "warning: augment.copy_paste" in result.stderr
    assert run("validate", "--profile", "h200", "--tier", "fast", "--stage", "2").stdout == (
        "ok: stage 2, profile h200, tier fast\n"
    )


def test_validate_without_files_reports_a_problem_of_one_stage_and_of_both_once() -> None:
    Path("sainet.yaml").write_text("train: {bacth: 3}\nstage2: {schedule: {single_cls: true, classes: []}}\n")
    error = run("validate").exception
    assert isinstance(error, ConfigError)
    assert [(problem.where, problem.message) for problem in error.problems] == [
        ("sainet.yaml:1", "unknown key `train.bacth`"),
        ("sainet.yaml:2", "`schedule.single_cls: true` needs exactly one name in `schedule.classes`"),
        ("sainet.yaml:2", "`schedule.classes` needs different names, at least one"),
    ]


def test_validate_reports_all_problems_of_all_files_and_says_which_are_well() -> None:
    Path("good.yaml").write_text("train: {batch: 3}\n")
    Path("bad.yaml").write_text("train: {batch: x}\nnoval: true\n")
    Path("mine.yaml").write_text("hardware: {gpus: 1}\nlr0: 3\n")
    result = run("validate", "good.yaml", "bad.yaml", "mine.yaml", "nowhere.yaml")
    assert result.stdout == "ok: good.yaml (project)\n"
    assert isinstance(result.exception, ConfigError)
    assert [problem.where for problem in result.exception.problems] == [
        "bad.yaml:2",
        "bad.yaml:1",
        "mine.yaml:2",
        "nowhere.yaml",
    ]


def test_validate_does_not_let_a_sainet_yaml_disturb_the_check_of_a_file() -> None:
    Path("sainet.yaml").write_text("nonsense: 1\n")
    Path("good.yaml").write_text("train: {batch: 3}\n")
    assert run("validate", "good.yaml").exit_code == 0


@pytest.mark.parametrize("option", [["--profile", "h200"], ["--tier", "fast"], ["--stage", "1"]])
def test_validate_refuses_an_option_that_it_would_ignore(option: list[str]) -> None:
    error = run("validate", "good.yaml", *option).exception
    assert isinstance(error, UsageError)
    assert error.message == f"{option[0]} is for a check without FILES"


@pytest.mark.parametrize("kind", ["profile", "preset", "project"])
def test_schema_prints_the_schema(kind: str) -> None:
    assert json_of("schema", "--kind", kind) == json_schema(kind)  # type: ignore[arg-type]
    assert json_of("schema")["title"] == "sainet project file"


def test_schema_of_an_unknown_kind() -> None:
    error = run("schema", "--kind", "tier").exception
    assert isinstance(error, UsageError)
    assert str(error) == "--kind: there is no kind of file `tier`\n  hint: one of profile, preset, project"


def test_the_command_exits_with_2_and_prints_every_problem_on_stderr() -> None:
    Path("bad.yaml").write_text("train:\n  batch: x\n  wrokers: 3\n")
    command = [sys.executable, "-m", "sainet", "config", "validate", "bad.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'error: bad.yaml:2: `train.batch` should be a whole number; it is "x"\n' in done.stderr
    assert "error: bad.yaml:3: unknown key `train.wrokers`\n  hint: did you mean `loader.workers`?\n" in done.stderr


def test_the_configuration_is_resolved_without_torch() -> None:
    code = (
        "import sys; from sainet.cli.app import app; app(['config', 'show'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ultralytics', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
