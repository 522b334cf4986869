"""`sainet runs ls` and `show`, over folders made of real state and events."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_report_runs import driven, epoch_done, make_run, stage_state
from typer.testing import CliRunner, Result

from sainet.cli.runs import app
from sainet.errors import StorageError, UsageError
from sainet.protocol import StageFailed
from sainet.state import StageState


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_ls_shows_every_run_even_one_that_cannot_be_read() -> None:
    make_run(Path("runs"), "night", {1: stage_state("interrupted", epochs_done=3)}, [epoch_done(2, 0.5)])
    Path("runs/torn").mkdir()
    Path("runs/torn/state.json").write_text('{"version":')
    result = run("ls")
    assert result.exit_code == 0
    night, torn = result.stdout.splitlines()[2:]
    assert "night" in night
    assert "1: 3/5" in night
    assert "0.500" in night
    assert torn.split() == ["torn", "unreadable"]
    assert "runs/torn/state.json cannot be read" in result.stderr


def test_ls_tells_a_run_that_is_driven_from_one_whose_process_is_gone() -> None:
    folder = make_run(Path("runs"), "night", {1: stage_state("running")}, [])
    with driven(folder):
        assert "process gone" not in run("ls").stdout
    assert "interrupted (process gone)" in run("ls").stdout


def test_ls_json_is_one_list_also_when_there_are_no_runs() -> None:
    assert json.loads(run("ls", "--json").stdout) == []
    make_run(Path("elsewhere"), "night", {1: stage_state("running"), 2: StageState()}, [epoch_done(0, 0.5)])
    (found,) = json.loads(run("ls", "--json", "--runs-dir", "elsewhere").stdout)
    assert (found["name"], found["status"], found["process_gone"]) == ("night", "interrupted", True)
    assert found["stages"][0]["metrics"]["map50"] == 0.5


def test_ls_without_runs_says_so_on_stderr() -> None:
    result = run("ls")
    assert (result.stdout, result.stderr) == ("", "no runs in runs\n")


def test_show_tells_what_happened_and_how_to_go_on() -> None:
    failed = StageFailed(stage=1, attempt=1, exit_code=4, message="RAM is short", hint="fewer workers")
    make_run(Path("runs"), "night", {1: stage_state("failed", epochs_done=1)}, [epoch_done(0, 0.5), failed])
    text = run("show", "night").stdout
    for expected in ("RAM is short", "fewer workers", "log: runs/night/stage-1/attempts/001/log.txt", "h200/fast"):
        assert expected in text
    assert text.splitlines()[-1] == "go on with  sainet train --stage 1 --run night --resume"


def test_show_takes_the_path_of_a_run() -> None:
    make_run(Path("elsewhere"), "night", {1: stage_state("done")}, [])
    value = json.loads(run("show", "elsewhere/night", "--json").stdout)
    assert (value["name"], value["status"], value["resume"]) == ("night", "done", None)
    assert [attempt["number"] for attempt in value["attempts"]] == [1]


def test_show_of_an_unknown_run_names_the_nearest_ones() -> None:
    make_run(Path("runs"), "fasdd-night", {1: stage_state("done")}, [])
    error = run("show", "fasd-night").exception
    assert isinstance(error, UsageError)
    assert "did you mean fasdd-night?" in str(error)


def test_show_of_a_run_that_cannot_be_read_is_a_storage_error() -> None:
    Path("runs/torn").mkdir(parents=True)
    Path("runs/torn/state.json").write_bytes(b"\xff")
    assert isinstance(run("show", "torn").exception, StorageError)


def test_the_commands_import_nothing_heavy_before_they_run() -> None:
    code = "import sys, sainet.cli.runs; print([m for m in ('pydantic', 'rich.live', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
