"""`sainet profile-memory`, as it is typed."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import command, environment, sainet
from typer.testing import CliRunner

from sainet.cli.app import app
from sainet.config.library import profile_names

GIB = 1024**3
ROUNDS = 7


def asked(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    done = sainet("profile-memory", *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def resource(found: dict[str, Any], name: str) -> dict[str, Any]:
    (entry,) = [entry for entry in found["resources"] if entry["name"] == name]
    return dict(entry)


@pytest.mark.parametrize("stage", ["1", "2"])
@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_and_stage_has_a_budget_whose_rows_add_up(profile: str, stage: str, tmp_path: Path) -> None:
    found = asked("--profile", profile, "--stage", stage, cwd=tmp_path)
    assert [entry["name"] for entry in found["resources"]] == ["ram", "shm", "disk", "vram"]
    for entry in found["resources"]:
        assert entry["need_bytes"] == sum(row["bytes"] for row in entry["rows"])
        assert entry["verdict"] in {"fits", "tight", "does not fit", "unknown"}
        assert all(row["component"] and row["where"] and row["formula"] for row in entry["rows"])
        assert all(row["bytes"] >= 0 for row in entry["rows"])
    vram = resource(found, "vram")
    if profile == "cpu":
        assert (vram["estimate_bytes"], vram["plan_bytes"], vram["need_bytes"]) == (None, None, 0)
        assert any(row["component"] == "training step" and row["bytes"] for row in resource(found, "ram")["rows"])
    else:
        assert 0 < vram["estimate_bytes"] < vram["plan_bytes"] == vram["need_bytes"]
        assert vram["machine"] is None, "a machine without that GPU is not compared"


def test_a_laptop_plans_for_another_card_batch_and_shape(tmp_path: Path) -> None:
    found = asked(
        *("--profile", "h200", "--gpu", "A10G", "--batch", "64", "--imgsz", "640", "--model", "yolov8n"), cwd=tmp_path
    )
    assert found["model"] == "yolov8n.yaml"
    assert (found["shape"], found["batch"]) == ([640, 640], 64)
    vram = resource(found, "vram")
    assert vram["limit_bytes"] == 23028 * 1024**2
    assert vram["verdict"] == "fits"
    assert found["largest_batch"] > 100
    by_size = asked(
        *("--profile", "h200", "--gpu", "22.48828125", "--batch", "64", "--imgsz", "640", "--model", "yolov8n"),
        cwd=tmp_path,
    )
    assert by_size["largest_batch"] == found["largest_batch"]


def test_the_largest_batch_is_the_last_that_is_not_refused(tmp_path: Path) -> None:
    options = ["--profile", "h200", "--cache", "false", "--imgsz", "640", "--model", "yolov8n", "--gpu", "24"]
    most = asked(*options, cwd=tmp_path)["largest_batch"]
    verdicts = {
        batch: resource(asked(*options, "--batch", str(batch), cwd=tmp_path), "vram")["verdict"]
        for batch in (most, most + 1)
    }
    assert verdicts == {most: "tight", most + 1: "does not fit"}


def test_check_ends_with_3_and_says_what_fits_and_without_it_the_verdict_is_no_error(tmp_path: Path) -> None:
    options = ["profile-memory", "--profile", "h200", "--model", "yolov8n", "--gpu", "12", "--imgsz", "640"]
    options += ["--cache", "false"]
    plain = sainet(*options, cwd=tmp_path)
    assert plain.returncode == 0
    assert "DOES NOT FIT" in plain.stdout
    refused = sainet(*options, "--check", cwd=tmp_path)
    assert refused.returncode == 3
    assert "memory.vram: VRAM of each GPU does not hold it" in refused.stderr
    assert "what fits: --set train.micro_batch=" in refused.stderr


def test_several_gpus_share_the_batch_and_the_machine(tmp_path: Path) -> None:
    options = ["--profile", "h200", "--imgsz", "640", "--model", "yolov8n", "--cache", "false"]
    one, two = (asked(*options, "--gpus", gpus, cwd=tmp_path) for gpus in ("1", "2"))
    assert resource(two, "vram")["estimate_bytes"] < 0.6 * resource(one, "vram")["estimate_bytes"]
    assert resource(two, "ram")["need_bytes"] > resource(one, "ram")["need_bytes"]


def test_what_plain_ultralytics_would_take_is_more(tmp_path: Path) -> None:
    options = ["--profile", "h200", "--tier", "validated-896", "--cache", "false"]
    ours, stock = (asked(*options, "--engine", engine, cwd=tmp_path) for engine in ("sainet", "stock"))
    for name in ("ram", "shm"):
        assert resource(stock, name)["need_bytes"] > resource(ours, name)["need_bytes"]


def test_the_data_count_the_images(shared_data: Path, tmp_path: Path) -> None:
    found = asked("--profile", "cpu", "--data", shared_data / "fire-smoke/data.yaml", "--cache", "ram", cwd=tmp_path)
    assert found["images"].startswith("907 train")
    assert any(row["component"] == "RAM cache" and row["bytes"] for row in resource(found, "ram")["rows"])
    unknown = asked("--profile", "cpu", "--cache", "ram", cwd=tmp_path)
    assert resource(unknown, "ram")["verdict"] == "unknown"
    assert "--data" in resource(unknown, "ram")["not_counted"]


def test_what_if_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sainet.run.what_if._SQUARES", ())  # each shape is traced, with and without accumulation
    options = ["profile-memory", "--profile", "a10g", "--model", "yolov8n", "--imgsz", "640", "--what-if"]
    done = CliRunner().invoke(app, [*options, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {tuple(cell["shape"]) for cell in found["what_if"]} == {(640, 640)}
    needs = [cell["vram_bytes"] for cell in found["what_if"]]
    assert needs == sorted(needs)
    assert "does not fit" in {cell["verdict"] for cell in found["what_if"]}, "batch 256 on 22.5 GiB"
    gpus = found["gpus_table"]
    assert [row["gpus"] for row in gpus] == [1, 2, 4, 8]
    assert [row["batch"] for row in gpus] == [24, 48, 96, 192]
    assert [row["workers"] for row in gpus] == [12, 24, 48, 96]
    assert gpus[3]["linear_rate"] > gpus[0]["linear_rate"]
    printed = CliRunner().invoke(app, options).stdout
    assert "total batch" in printed
    assert "640x640" in printed


def test_a_plot_is_drawn_and_another_ending_is_refused(tmp_path: Path) -> None:
    options = ["profile-memory", "--profile", "cpu", "--plot"]
    done = sainet(*options, "memory.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    wrong = sainet(*options, "memory.txt", cwd=tmp_path)
    assert wrong.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "Voodoo 2"], "the memory of a `Voodoo 2` is not known"),
        (["--gpu", "A10G"], "trains on the CPU here: there is no GPU memory to plan for"),
        (["--gpus", "1", "--gpu", "inf"], "the memory of a `inf` is not known"),
        (["--gpus", "1", "--gpu", "0"], "the memory of a `0` is not known"),
        (["--model", "nowhere/yolov8s.pt"], "there are no weights yolov8s.pt"),
        (["--model", "yolov99x"], "there is no model yolov99x.yaml"),
        (["--data", "nowhere.yaml"], "no such data YAML"),
        (["--set", "loader.wrkers=3"], "wrkers"),
        (["--measure"], "there are no data"),
    ],
)
def test_what_is_typed_wrong_is_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = sainet("profile-memory", "--profile", "cpu", *arguments, cwd=tmp_path)
    assert done.returncode in {2, 5}
    assert said in done.stderr


@pytest.mark.alone
def test_a_budget_is_printed_in_at_most_four_times_the_import_of_its_libraries(tmp_path: Path) -> None:
    libraries = [sys.executable, "-c", "import typer, rich, yaml, pydantic"]
    commands = {"libraries": libraries} | {
        f"{profile}, stage {stage}": command("profile-memory", "--profile", profile, "--stage", stage)
        for profile in profile_names()
        for stage in ("1", "2")
    }
    for words in commands.values():  # the traces
        subprocess.run(words, cwd=tmp_path, capture_output=True, env=environment(), check=True)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):  # in turns, so that a busy moment hits all of them
        for name, words in commands.items():
            times[name].append(_wall_s(words, tmp_path))
    fastest = {name: min(values) for name, values in times.items()}
    slow = {name: seconds for name, seconds in fastest.items() if seconds > 4 * fastest["libraries"]}
    assert not slow, fastest


def _wall_s(words: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, capture_output=True, env=environment(), check=True)
    return time.perf_counter() - began
