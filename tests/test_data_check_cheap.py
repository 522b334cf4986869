"""The cheap part of the check: before every start, again only when something changed."""

import json
import os
import shutil
from datetime import datetime
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import pytest
from data_check_cases import HAZARDS, Folder

from sainet.data.check.cheap import Count, check_labels
from sainet.data.check.kinds import KINDS
from sainet.data.source import read_source


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


class Checks:
    """Counts how often the labels were really looked at."""

    def __init__(self, folder: Folder, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from sainet.data.check import cheap

        self.folder, self.kept, self.count, self.told = folder, kept, 0, list[str]()
        self._check = cheap.check_data
        monkeypatch.setattr(cheap, "check_data", self._counted)

    def _counted(self, *arguments: object, **options: object) -> object:
        self.count += 1
        return self._check(*arguments, **options)  # type: ignore[arg-type]

    def __call__(self) -> list[Count]:
        return check_labels(read_source(str(self.folder.yaml)), self.kept, self.told.append)


@pytest.fixture
def checks(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(folder, tmp_path / "kept", monkeypatch)


def test_what_was_found_is_believed_until_something_changes(folder: Folder, checks: Checks) -> None:
    assert checks() == checks() == []
    assert checks.count == 1
    label, line = folder.say("7 0.5 0.5 0.1 0.1")
    found = checks()
    assert checks() == found
    assert checks.count == 2
    message = "class 7 is not one of 0 to 1, so Ultralytics drops the image"
    assert found == [Count("class-range", 1, f"{label}:{line}", message)]
    assert found[0].drops


@pytest.mark.parametrize(
    "what", ["label", "label of the same size", "image", "orphan", "hidden", "names", "link", "manifest"]
)
def test_every_change_that_a_check_could_see_is_seen(folder: Folder, checks: Checks, what: str) -> None:
    pool = folder.root / "images" / "pool.jpg"
    shutil.move(folder.image(), pool)
    folder.image().symlink_to(pool)
    assert checks() == []
    before = folder.label().stat()
    if what == "link":
        pool.unlink()
    elif what == "manifest":
        import polars as pl

        files, date = [f"images/{split}/{split}1.jpg" for split in ("train", "val")], datetime(2024, 1, 15)
        pl.DataFrame({"file": files, "camera": "a", "date": date}).write_parquet(folder.root / "manifest.parquet")
    elif what == "label":
        folder.label().unlink()
    elif what == "label of the same size":
        folder.label().write_text("0 0.3 0.5 0.2 0.2\n9 0.7 0.5 0.3 0.3\n", encoding="utf-8")
        assert folder.label().stat().st_size == before.st_size
    elif what == "image":
        shutil.copy(folder.image(), folder.image("train", "new"))
    elif what == "orphan":
        folder.label("train", "orphan").write_text("", encoding="utf-8")
    elif what == "hidden":
        shutil.copy(folder.image(), folder.image("train", ".hidden"))
    else:
        folder.yaml.write_text("train: images/train\nval: images/val\nnames: [fire]\n", encoding="utf-8")
    assert checks() != []
    assert checks.count == 2


def test_what_is_kept_and_damaged_or_cannot_be_kept_is_looked_at_again(checks: Checks) -> None:
    checks()
    (kept,) = checks.kept.iterdir()
    for damage in ("", "[]", '{"state": 1, "counts": 2}', json.dumps({"state": "", "counts": []})):
        kept.write_text(damage, encoding="utf-8")
        assert checks() == []
    assert checks.count == 5
    shutil.rmtree(checks.kept)
    checks.kept.write_text("no folder", encoding="utf-8")
    assert checks() == checks() == []
    assert checks.count == 7


def test_a_look_that_takes_a_moment_is_told_once(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sainet.data.check.cheap._MANY", 12)
    checks()
    checks()
    assert checks.told == ["checking the labels of 12 images"]


def _as_shipped(name: str) -> Any:
    """A module, loaded once more from its file."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ELSEWHERE = {"yaml", "image-twice", "leak-file", "labels-absent", "images-twice"}
"""Kinds that are about a YAML or a whole folder."""


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - ELSEWHERE))
def test_a_kind_is_said_to_drop_images_where_ultralytics_does(
    folder: Folder, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ultralytics.data.dataset as upstream
    import ultralytics.data.utils as utils

    # An engine that has trained in this process has put something else in its place, which reads less.
    monkeypatch.setattr(utils, "_replace_image", _as_shipped("ultralytics.data.utils")._replace_image)
    file, _ = HAZARDS[kind](folder)
    if kind == "label-unreadable":  # a link in a circle is no file for Ultralytics, and one that is forbidden is
        file.unlink()
        file.write_text("0 0.5 0.5 0.1 0.1 \n", encoding="utf-8")
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("root may read everything")
    there, taken = set(), set()
    for split in ("train", "val"):
        images = folder.root / "images" / split
        there |= {str(path) for path in images.rglob("*") if path.suffix != ".npy"}
        if split == "train" and (folder.root / "train.txt").exists():
            images = folder.root / "train.txt"
            there = {line.replace(".", str(folder.root), 1) for line in images.read_text(encoding="utf-8").split()}
        data = upstream.YOLODataset(img_path=str(images), data={"names": {0: "fire", 1: "smoke"}}, task="detect")
        taken |= {label["im_file"] for label in data.labels}
    assert bool(there - taken) == KINDS[kind].drops, there - taken
