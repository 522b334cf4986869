"""`sainet data prepare` as it is typed: what it prints where, and how it ends."""

import json
from pathlib import Path

import polars as pl
import pytest
from data_prepare_cases import FasddRelease, files_of, shards
from running import sainet
from typer.testing import CliRunner, Result

from sainet.cli.data import app
from sainet.data.prepare.notes import KINDS
from sainet.errors import DataError, UsageError


@pytest.fixture
def release(tmp_path: Path) -> FasddRelease:
    return FasddRelease(tmp_path / "fasdd").coco().yolo()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


def test_a_table_and_what_comes_next(release: FasddRelease, tmp_path: Path) -> None:
    (release.root / "images" / "smoke_CV000002.jpg").unlink()
    done = sainet("data", "prepare", "fasdd", release.root, tmp_path / "set", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"{tmp_path}/set/data.yaml: fasdd from COCO (also there: YOLO; --annotations takes another)" in lines
    assert "images: 3 linked, 0 written" in lines
    assert "train 2 1 0 1 fire, 0 smoke" in lines
    assert "val 1 0 0 1 fire, 1 smoke" in lines
    assert f"1 {KINDS['image-absent']}" in lines
    assert any(line.endswith("train.json: smoke_CV000002.jpg") for line in lines)
    assert done.stderr.splitlines()[-1] == f"next: sainet data check {tmp_path}/set/data.yaml"
    assert "prepared 3 of 3 images" in done.stderr


def test_json_is_one_object_the_first_time_and_again(release: FasddRelease, tmp_path: Path) -> None:
    said = [run("fasdd", release.root, tmp_path / "set", "--json") for _ in range(2)]
    first, again = (json.loads(one.stdout) for one in said)
    assert first == again
    assert first["splits"]["val"] == {
        "images": 1,
        "backgrounds": 0,
        "backgrounds_left_out": 0,
        "boxes": {"fire": 1, "smoke": 1},
    }
    assert first["data"] == str(tmp_path / "set" / "data.yaml")
    assert "holds this set already" not in said[0].stderr
    assert "holds this set already; it was left as it is" in said[1].stderr


def test_pyrosdis_is_written_and_never_linked(tmp_path: Path) -> None:
    done = run("pyrosdis", shards(tmp_path / "pyro"), tmp_path / "set", "--json")
    told = json.loads(done.stdout)
    assert (told["linked"], told["written"], told["annotations"]) == (0, 6, "parquet")
    assert told["splits"]["val"]["backgrounds"] == 1
    assert pl.read_parquet(tmp_path / "set" / "manifest.parquet")["camera"].to_list() == ["brison-200"] * 6


def test_each_option_does_what_it_says(release: FasddRelease, tmp_path: Path) -> None:
    options = ["--annotations", "coco", "--copy", "--backgrounds", "drop", "--backgrounds-in", "all"]
    options += ["--splits", "regroup"]
    told = json.loads(run("fasdd", release.root, tmp_path / "set", "--json", *options).stdout)
    assert (told["linked"], told["written"]) == (0, 3)
    assert sum(counts["backgrounds_left_out"] for counts in told["splits"].values()) == 1
    asked = json.loads((tmp_path / "set" / "prepared.json").read_text(encoding="utf-8"))["request"]
    del asked["source"]
    assert asked == {
        "version": 1,
        "release": "fasdd",
        "annotations": "coco",
        "how": "copy",
        "backgrounds": "drop",
        "backgrounds_in": "all",
        "splits": "regroup",
    }


def test_bad_data_end_with_5_and_a_wrong_folder_with_2(release: FasddRelease, tmp_path: Path) -> None:
    release.put("annotations/COCO_CV/Annotations/val.json", '{"images": [\n{]}')
    bad = sainet("data", "prepare", "fasdd", release.root, tmp_path / "set", cwd=tmp_path)
    assert bad.returncode == DataError.exit_code == 5
    assert f"error: {release.root}/annotations/COCO_CV/Annotations/val.json:2: no valid JSON" in bad.stderr
    assert "hint: download the file again" in bad.stderr
    release.coco()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("", encoding="utf-8")
    wrong = sainet("data", "prepare", "fasdd", release.root, tmp_path / "set", cwd=tmp_path)
    assert wrong.returncode == UsageError.exit_code == 2
    assert list(files_of(tmp_path / "set")) == ["mine"]
    assert "Traceback" not in bad.stderr + wrong.stderr


def test_a_reader_of_polars_is_not_needed_for_the_help(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['sainet', 'data', 'prepare', 'fasdd', '--help']\n"
    script += "from sainet.cli.app import main\ntry: main()\n"
    script += "except SystemExit: print({'polars', 'numpy', 'PIL', 'torch'} & set(sys.modules))"
    import subprocess
    import sys

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.rstrip().endswith("set()")
