"""The commands of the users' own documents keep working, and say which sainet command they are."""

import subprocess
import sys
from pathlib import Path

from conftest import TinySetMaker
from running import environment

ROOT = Path(__file__).parent.parent


def shim(name: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment())


def test_train_two_stage_becomes_sainet_train(tmp_path: Path) -> None:
    options = ("--stage", "1", "--epochs", "110", "--batch", "128", "--workers", "8", "--cache", "disk")
    done = shim("train_two_stage.py", *options, "--profile", "h200", "--dry-run", cwd=tmp_path)
    assert done.stderr.startswith(
        "+ sainet train --stage 1 --profile h200 --epochs 110 --batch 128 --workers 8 --cache disk --dry-run\n"
    )
    assert "<- --cache disk" in done.stdout
    assert done.returncode == 3, "the exit code is sainet's: this machine has no H200"


def test_train_two_stage_becomes_the_full_workflow(tmp_path: Path) -> None:
    done = shim("train_two_stage.py", "--full-workflow", "--profile", "a100x2", "--dry-run", cwd=tmp_path)
    assert done.stderr.startswith("+ sainet full-workflow --profile a100x2 --dry-run\n")
    assert "stage 1: profile a100x2" in done.stdout
    assert "stage 2: profile a100x2" in done.stdout


def test_train_h200_shm_uses_its_profile(tmp_path: Path) -> None:
    done = shim("train_h200_shm.py", "--stage", "1", "--epochs", "110", "--dry-run", cwd=tmp_path)
    assert done.stderr.startswith("+ sainet train --stage 1 --profile h200-shm --epochs 110 --dry-run\n")
    assert "profile h200-shm (configs/profiles/h200-shm.yaml:" in done.stdout


def setup_shm(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    words = ["bash", str(ROOT / "scripts" / "setup_shm_training.sh"), *arguments]
    own = {**environment(), "PYTHON": sys.executable}
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=own)


def test_setup_shm_becomes_sainet_data_stage(tiny_set: TinySetMaker, tmp_path: Path) -> None:
    data = tiny_set()
    done = setup_shm(str(data.yaml), "--to", "staged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"+ sainet data stage {data.yaml} --to staged\n")
    assert done.stdout == f"{tmp_path}/staged/data.yaml\n"
    assert len(list((tmp_path / "staged").rglob("*.jpg"))) == 6


def test_setup_shm_without_data_says_what_it_needs_and_that_a_training_needs_none(tmp_path: Path) -> None:
    done = setup_shm(cwd=tmp_path)
    assert done.returncode == 2
    assert "setup_shm_training.sh DATA.yaml" in done.stderr
    assert "--profile h200-shm stages its data by itself" in done.stderr
    assert list(tmp_path.iterdir()) == []
