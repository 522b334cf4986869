"""What `sainet train` and `sainet full-workflow` answer before anything trains: plans, and all kinds of wrong input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import SMALL, command, environment, sainet

from sainet.data.demo import write_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "demo"
    write_demo(folder, train=4, val=2, width=96, height=64, seed=0)
    return folder


def stage_1(demo: Path, *extra: str) -> list[str]:
    return ["train", "--stage", "1", *SMALL, "--data", str(demo / "stage-1" / "data.yaml"), *extra]


# --- the dry run


def test_dry_run_prints_the_documents_settings_with_their_origins_and_then_refuses_for_want_of_the_gpu(
    tmp_path: Path,
) -> None:
    done = sainet("train", "--stage", "1", "--profile", "h200", "--dry-run", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert plan["profile"] == "h200"
    assert plan["tier"] is None
    assert plan["stage"] == 1
    assert plan["config"]["train"]["batch"] == 128
    assert plan["config"]["loader"]["workers"] == 8, "the document's number, whatever this machine has"
    assert plan["config"]["train"]["imgsz"] == [1440, 808]
    assert plan["origins"]["train.batch"].startswith("profile h200 (configs/profiles/h200.yaml:")
    assert plan["origins"]["optim.lr0"].startswith("preset fasdd-pretrain (configs/presets/fasdd-pretrain.yaml:")
    assert plan["command"][1:3] == ["-m", "sainet.engine.worker"]
    assert any("trains at 832x1440" in warning for warning in plan["warnings"])
    assert plan["shape"] == [832, 1440]
    assert done.returncode == 3
    assert "GPU 0 is not here" in done.stderr
    assert not (tmp_path / "runs").exists(), "a dry run writes nothing"


def test_dry_run_of_what_can_start_here_exits_0_and_lists_what_is_not_named_yet(tmp_path: Path) -> None:
    done = sainet("train", "--stage", "2", "--profile", "cpu", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "optim.lr0                    = 0.001" in done.stdout
    assert "stage 2 has no data" in done.stderr
    assert "stage 1's best weights" in done.stderr


def test_dry_run_of_the_workflow_plans_both_stages_and_lets_a_key_reach_one(demo: Path, tmp_path: Path) -> None:
    done = sainet(
        *("full-workflow", *SMALL, "--set", f"stage1.data={demo}/stage-1/data.yaml"),
        *("--set", f"stage2.data={demo}/stage-2/data.yaml", "--set", "stage2.epochs=7", "--dry-run", "--json"),
        cwd=tmp_path,
    )
    first, second = json.loads(done.stdout)["stages"]
    assert done.returncode == 0, done.stderr
    assert (first["config"]["schedule"]["epochs"], second["config"]["schedule"]["epochs"]) == (110, 7)
    assert first["config"]["weights"] == "yolov8n.yaml"
    assert second["config"]["weights"] == "stage-1"
    assert second["origins"]["schedule.epochs"] == "--set stage2.epochs=7"
    assert first["images"] == {"train": 4, "val": 2}


def test_a_dry_run_imports_neither_torch_nor_ultralytics(tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.argv = ['sainet', 'train', '--stage', '1', '--profile', 'h200', '--dry-run']\n"
        "try: runpy.run_module('sainet', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'ultralytics', 'cv2', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert "train.batch" in done.stdout
    assert done.stdout.rstrip().endswith("HEAVY []")


# --- wrong input: message, hint, exit code


def test_no_data_named(tmp_path: Path) -> None:
    done = sainet("train", "--stage", "1", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    assert "stage 1 has no data" in done.stderr
    assert "--data DATA.yaml" in done.stderr


def test_a_data_yaml_that_is_not_there(tmp_path: Path) -> None:
    done = sainet("train", "--stage", "1", *SMALL, "--data", "nowhere.yaml", cwd=tmp_path)
    assert done.returncode == 5
    assert f"no such data YAML: {tmp_path}/nowhere.yaml" in done.stderr


def test_a_dry_run_ends_as_the_real_start_would_when_named_data_are_wrong(tmp_path: Path) -> None:
    done = sainet("train", "--stage", "1", *SMALL, "--data", "nowhere.yaml", "--dry-run", cwd=tmp_path)
    assert "schedule.epochs" in done.stdout
    assert done.returncode == 5


def test_an_image_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [fire, smoke]\n")
    done = sainet("train", "--stage", "1", *SMALL, "--data", "data.yaml", cwd=tmp_path)
    assert done.returncode == 5
    assert f"{tmp_path}/data.yaml:1: `train` is not there" in done.stderr


def test_an_empty_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [fire, smoke]\n")
    done = sainet("train", "--stage", "1", *SMALL, "--data", "data.yaml", cwd=tmp_path)
    assert done.returncode == 5
    assert "`train` has no images" in done.stderr


def test_data_without_the_needed_class(demo: Path, tmp_path: Path) -> None:
    done = sainet("train", "--stage", "1", *SMALL, "--data", demo / "stage-2" / "data.yaml", cwd=tmp_path)
    assert done.returncode == 5
    assert "the data have no class 'fire'" in done.stderr
    assert "its classes are smoke" in done.stderr


def test_weights_that_are_not_there_say_where_was_looked_and_how_to_start_from_scratch(
    demo: Path, tmp_path: Path
) -> None:
    done = sainet(*stage_1(demo, "--weights", "yolov8s.pt"), cwd=tmp_path)
    assert done.returncode == 2
    assert f"there are no weights yolov8s.pt (looked in {tmp_path} and {tmp_path}/weights)" in done.stderr
    assert "--weights yolov8s.yaml" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_weights_that_are_no_checkpoint(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"\x80\x02 not a checkpoint")
    done = sainet(*stage_1(demo, "--weights", "broken.pt"), cwd=tmp_path)
    assert done.returncode == 2
    assert "broken.pt is not a checkpoint" in done.stderr


def test_stage_2_without_stage_1_weights(demo: Path, tmp_path: Path) -> None:
    done = sainet("train", "--stage", "2", "--profile", "cpu", "--data", demo / "stage-2" / "data.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "stage 2 starts from stage 1's best weights, and none are named" in done.stderr
    assert "--weights runs/NAME/stage-1/weights/best.pt" in done.stderr


def test_what_the_stock_engine_cannot_do_is_refused_by_name_and_never_trained_as_something_else(
    demo: Path, tmp_path: Path
) -> None:
    asked = ["--imgsz", "128x96", "--workers", "2", "--set", "train.micro_batch=2"]
    done = sainet(*stage_1(demo, *asked, "--engine", "stock"), cwd=tmp_path)
    assert done.returncode == 3
    for key in ("train.imgsz", "loader.workers", "train.micro_batch"):
        assert f"{key}: " in done.stderr
    assert not (tmp_path / "runs").exists()


def test_wrong_keys_of_several_places_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "sainet.yaml").write_text("train:\n  batch_size: 4\noptim:\n  lr0: fast\n")
    done = sainet("train", "--stage", "1", "--profile", "h2000", "--set", "epochz=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "sainet.yaml:2: sainet has no `train.batch_size`" in done.stderr
    assert "sainet.yaml:4: `optim.lr0` should be a number" in done.stderr
    assert "there is no profile `h2000`" in done.stderr
    assert "did you mean `schedule.epochs`?" in done.stderr


def test_a_resume_without_a_run(demo: Path, tmp_path: Path) -> None:
    done = sainet(*stage_1(demo, "--resume", "--run", "never"), cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no run never to resume" in done.stderr


def test_commands_say_what_they_are_asked_for_in_help() -> None:
    done = subprocess.run(command("train", "--help"), capture_output=True, text=True, env=environment())
    assert done.returncode == 0
    frozen = (
        *("--stage", "--profile", "--tier", "--data", "--weights", "--run", "--runs-dir", "--resume", "--dry-run"),
        *(
            "--json",
            "--force",
            "--engine",
            "--set",
            "--config",
            "--epochs",
            "--batch",
            "--workers",
            "--cache",
            "--imgsz",
            "--device",
        ),
    )
    assert [option for option in frozen if option not in done.stdout] == []
