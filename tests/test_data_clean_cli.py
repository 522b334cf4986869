"""`sainet data clean` as it is typed: what it prints where, how it ends, and killed at any moment it goes on."""

import json
import random
from pathlib import Path

import pytest
from data_check_cases import Folder
from running import sainet

from benchmarks.data.clean_kills import one_strike, spoil
from benchmarks.data.kills import SAINET, run, tree


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


def test_it_tells_what_was_done_and_what_was_left_and_the_next_command(folder: Folder, tmp_path: Path) -> None:
    folder.say("7 0.5 0.5 0.1 0.1", "0 0.5 0.5 1 1", "1 0.98 0.5 0.1 0.1")
    done = sainet("data", "clean", folder.yaml, "clean", cwd=tmp_path)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["class-range", "1", "left", "the", "row", "out"] in rows
    assert ["box-edge", "1", "cut", "it", "at", "the", "edge"] in rows
    assert ["train", "8", "8", "0", "9", "fire,", "8", "smoke"] in rows
    assert "left as they are: 1 box-frame (--also box-frame)" in done.stdout
    assert f"next: sainet data check {tmp_path}/clean/data.yaml" in done.stderr
    assert sainet("data", "check", "clean/data.yaml", cwd=tmp_path).returncode == 0
    again = sainet("data", "clean", folder.yaml, "clean", cwd=tmp_path)
    assert again.returncode == 0
    assert "holds this clean copy already" in again.stderr
    assert again.stdout == done.stdout


def test_json_is_one_object_and_the_log_has_every_change(folder: Folder, tmp_path: Path) -> None:
    label, line = folder.say("7 0.5 0.5 0.1 0.1")
    done = sainet("data", "clean", folder.yaml, tmp_path / "clean", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert said["changes"] == [{"kind": "class-range", "did": "left the row out", "count": 1}]
    assert said["splits"]["val"] == {
        "images": 4,
        "images_before": 4,
        "backgrounds": 0,
        "boxes": {"fire": 4, "smoke": 4},
    }
    head, change = map(json.loads, Path(said["log"]).read_text(encoding="utf-8").splitlines())
    assert head["request"]["data"] == str(folder.yaml)
    assert change == {"kind": "class-range", "file": str(label), "line": line, "did": "left the row out"}


def test_a_set_that_cannot_be_cleaned_ends_with_5_and_a_wrong_kind_with_2(folder: Folder, tmp_path: Path) -> None:
    folder.yaml_says("train: images/train\nval: images/valid")
    stopped = sainet("data", "clean", folder.yaml, "clean", cwd=tmp_path)
    assert stopped.returncode == 5
    assert f"error: {folder.yaml}:2: `val` is not there" in stopped.stderr
    wrong = sainet("data", "clean", folder.yaml, "clean", "--also", "row-six", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "'row-six' is none of these kinds" in wrong.stderr
    assert not (tmp_path / "clean").exists()


def test_killed_at_random_moments_it_goes_on_to_the_same_end(folder: Folder, tmp_path: Path) -> None:
    """A fast version of benchmarks/data/clean_kills.py."""
    chance = random.Random(0)
    for number in range(500):
        folder.add("train", f"more{number}")
    spoil(folder.root, chance)
    out = tmp_path / "out"
    command = [*SAINET, "data", "clean", str(folder.yaml), str(out)]
    run(command)
    reference = tree(out)
    assert len(reference) > 1000
    for parts in (0, 3, 7):
        assert one_strike(command, out, parts, reference, chance)
