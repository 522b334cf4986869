"""Cleaning: of every hazard a copy is made that has nothing wrong, with a log of what was done; the source stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from data_check_cases import HAZARDS, Folder, encoded, picture, snapshot
from PIL import Image

from sainet.data.check.checking import check_data
from sainet.data.check.kinds import KINDS
from sainet.data.clean.cleaning import Options, Survey, clean, survey
from sainet.data.clean.plan import ON_REQUEST
from sainet.data.clean.result import LOG, Cleaned
from sainet.errors import DataError, UsageError

BY_HAND = {"yaml", "labels-absent", "no-boxes", "classes-swapped"}
"""Kinds that stop a cleaning before anything is written."""
LEFT = ON_REQUEST.keys() - BY_HAND | {"class-absent"}
"""Kinds that are left as they are."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


def cleaned_of(yaml: Path, out: Path, **options: Any) -> Cleaned:
    found = survey(str(yaml), out, Options(**options), lambda *_: None)
    return clean(found, lambda *_: None) if isinstance(found, Survey) else found


def logged(out: Path) -> list[dict[str, Any]]:
    """The changes, without the head of the log."""
    return [json.loads(line) for line in (out / LOG).read_text(encoding="utf-8").splitlines()[1:]]


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_what_has_nothing_wrong_is_linked_and_says_the_same(folder: Folder, tmp_path: Path) -> None:
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert cleaned.changes == []
    assert (cleaned.splits["train"].images, cleaned.splits["val"].boxes) == (8, {"fire": 4, "smoke": 4})
    assert (tmp_path / "out" / "images" / "train" / "train3.jpg").samefile(folder.image())
    label = tmp_path / "out" / "labels" / "train" / "train3.txt"
    assert label.read_bytes() == folder.label().read_bytes()
    assert not label.samefile(folder.label())  # so that a label mended by hand stays in the copy
    assert check_data(cleaned.yaml).findings == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG, "data.yaml", "images", "labels"]


@pytest.mark.parametrize("how", ["link", "copy"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - BY_HAND))
def test_every_hazard_is_cleaned_and_told(folder: Folder, tmp_path: Path, kind: str, how: str) -> None:
    HAZARDS[kind](folder)
    before = snapshot(folder.root)
    cleaned = cleaned_of(folder.yaml, tmp_path / "out", how=how)
    assert snapshot(folder.root) == before
    assert {finding.kind for finding in check_data(cleaned.yaml).findings} <= LEFT & {kind}
    if kind in LEFT:
        assert cleaned.left == {kind: cleaned.left[kind]}
        assert cleaned.changes == []
    else:
        assert kind in {change["kind"] for change in logged(tmp_path / "out")}


@pytest.mark.parametrize("kind", sorted(ON_REQUEST))
def test_what_is_left_as_it_is_can_be_cleaned_on_request(folder: Folder, tmp_path: Path, kind: str) -> None:
    HAZARDS[kind](folder)
    cleaned = cleaned_of(folder.yaml, tmp_path / "out", also=frozenset({kind}))
    left = {finding.kind for finding in check_data(cleaned.yaml).findings}
    assert left <= ({"class-name"} if kind == "classes-swapped" else set())
    assert (kind, ON_REQUEST[kind]) in [(change["kind"], change["did"]) for change in logged(tmp_path / "out")]


@pytest.mark.parametrize("kind", sorted(BY_HAND))
def test_what_only_a_person_can_mend_stops_it_before_anything_is_written(
    folder: Folder, tmp_path: Path, kind: str
) -> None:
    file, line = HAZARDS[kind](folder)
    with pytest.raises(DataError) as raised:
        cleaned_of(folder.yaml, tmp_path / "out")
    assert [(problem.where, problem.hint) for problem in raised.value.problems] == [
        (f"{file}:{line}", KINDS[kind].fix.removeprefix("nothing: "))
    ]
    assert not (tmp_path / "out").exists()


# --- what becomes of rows and images


@pytest.mark.parametrize(
    ("row", "mended"),
    [
        ("1,0.5,0.5,0.25,0.25", "1 0.5 0.5 0.25 0.25"),
        ("1 0.5 0.5 0.25 0.25 0.93", "1 0.5 0.5 0.25 0.25"),
        ("1.0 0.5 0.5 0.25 0.25", "1 0.5 0.5 0.25 0.25"),
        ("1 32 24 16 12", "1 0.5 0.5 0.25 0.25"),
        ("1 0.9 0.5 0.4 0.2", "1 0.85 0.5 0.3 0.2"),
        ("1.0,32,24,16,12", "1 0.5 0.5 0.25 0.25"),
        ("1 0.1 0.1 0.5 0.1 0.5 0.6", "1 0.3 0.35 0.4 0.5"),
        ("1 6.4 4.8 32 4.8 32 28.8", "1 0.3 0.35 0.4 0.5"),
        ("1 0 0 1.005 0", None),
        ("1 320 240 64 48", None),
        ("1 0,5 0,5 0,25 0,25", "1 0.5 0.5 0.25 0.25"),
        ("1, 0.5, 0.5, 0.25, 0.25", "1 0.5 0.5 0.25 0.25"),
        ("1 0.5 0.5 2.5 0.3", None),
        ("1 0.5 0.5 0.2 20", None),
    ],
)
def test_a_row_is_mended_through_all_its_troubles(folder: Folder, tmp_path: Path, row: str, mended: str | None) -> None:
    """The picture has 64 x 48 pixels."""
    folder.label().write_text(f"{row}\n1 0.4 0.4 0.2 0.2\n", encoding="utf-8")
    cleaned_of(folder.yaml, tmp_path / "out")
    text = (tmp_path / "out" / "labels" / "train" / "train3.txt").read_text(encoding="utf-8")
    assert text == "".join(f"{line}\n" for line in (mended, "1 0.4 0.4 0.2 0.2") if line)


def test_an_image_of_whose_boxes_none_is_left_is_no_declared_negative(folder: Folder, tmp_path: Path) -> None:
    folder.label().write_text("7 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    cleaned_of(folder.yaml, tmp_path / "out")
    assert not (tmp_path / "out" / "images" / "train" / "train3.jpg").exists()
    assert not (tmp_path / "out" / "labels" / "train" / "train3.txt").exists()
    assert [change["did"] for change in logged(tmp_path / "out")] == [
        "left the row out",
        "left the image out: no row is left",
    ]


def test_images_without_a_label_file_are_negatives_or_left_out(folder: Folder, tmp_path: Path) -> None:
    folder.label().unlink()
    assert cleaned_of(folder.yaml, tmp_path / "one").splits["train"].backgrounds == 1
    assert (tmp_path / "one" / "labels" / "train" / "train3.txt").read_bytes() == b""
    assert cleaned_of(folder.yaml, tmp_path / "two", missing="drop").splits["train"].images == 7


@pytest.mark.parametrize("kind", ["image-mode", "image-orientation", "image-16-bit", "image-animated"])
def test_pixels_that_are_written_anew_are_those_that_were_trained_on(folder: Folder, tmp_path: Path, kind: str) -> None:
    import cv2
    import numpy as np

    path, _ = HAZARDS[kind](folder)
    cleaned_of(folder.yaml, tmp_path / "out")
    before = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH if kind == "image-16-bit" else cv2.IMREAD_COLOR)
    after = cv2.imread(str(tmp_path / "out" / "images" / "train" / "train3.png"))
    if kind == "image-16-bit":  # there they were all dark
        assert (after.min(), after.max()) == (0, 255)
        assert np.corrcoef(before.ravel(), after[..., 0].ravel())[0, 1] > 0.999
    else:
        assert after.shape == before.shape
        assert np.abs(after.astype(int) - before.astype(int)).max() <= (3 if kind == "image-mode" else 0)


def test_the_pixels_of_a_jpeg_with_something_behind_it_stay(folder: Folder, tmp_path: Path) -> None:
    whole = folder.image().read_bytes()
    folder.image().write_bytes(whole + b"from the camera")
    cleaned_of(folder.yaml, tmp_path / "out")
    assert (tmp_path / "out" / "images" / "train" / "train3.jpg").read_bytes() == whole


def test_every_copy_with_other_labels_is_left_out_and_the_rest_stays(folder: Folder, tmp_path: Path) -> None:
    HAZARDS["copy-labels"](folder)
    cleaned_of(folder.yaml, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "images" / "train").iterdir()}
    assert names == {f"train{number}.jpg" for number in range(8) if number != 3}


def test_names_that_are_one_elsewhere_get_numbers_with_their_labels(folder: Folder, tmp_path: Path) -> None:
    folder.add("train", "TRAIN3", text="1 0.5 0.5 0.5 0.5\n")
    cleaned_of(folder.yaml, tmp_path / "out")
    assert (tmp_path / "out" / "labels" / "train" / "train3-2.txt").read_bytes() == folder.label().read_bytes()
    assert {path.stem for path in (tmp_path / "out" / "images" / "train").iterdir()} >= {"TRAIN3", "train3-2"}


def test_a_folder_that_is_called_as_an_image_is_called_otherwise(folder: Folder, tmp_path: Path) -> None:
    folder.add("train/cam.jpg", "one")
    (folder.root / "some.txt").write_text("./images/train/cam.jpg/one.jpg\n", encoding="utf-8")
    folder.yaml_says("train: some.txt\nval: images/val")
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert (tmp_path / "out" / "labels" / "train" / "cam_jpg" / "one.txt").is_file()
    assert check_data(cleaned.yaml).findings == []


def test_lists_several_folders_and_a_test_split_are_laid_out_the_same_way(folder: Folder, tmp_path: Path) -> None:
    for stem in ("one", "two"):
        folder.add("more", stem)
        folder.add("test", f"test {stem}")
    (folder.root / "some.txt").write_text("./images/train/train3.jpg\n./images/train/train5.jpg\n", encoding="utf-8")
    folder.yaml_says("train: [some.txt, images/more]\nval: images/val\ntest: images/test")
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert [path.stem for path in sorted((tmp_path / "out" / "images" / "train").iterdir())] == [
        "one",
        "train3",
        "train5",
        "two",
    ]
    assert {split: counts.images for split, counts in cleaned.splits.items()} == {"train": 4, "val": 4, "test": 2}
    assert check_data(cleaned.yaml).findings == []


# --- one thing that leads to another


def checked_kinds(cleaned: Cleaned) -> set[str]:
    return {finding.kind for finding in check_data(cleaned.yaml).findings}


@pytest.mark.parametrize(
    "tail", [b"\0" * 64, b"\xff\xd9from the camera", b"\xff\xd9preview: \xff\xd8..\xff\xd9 and more"]
)
def test_a_thumbnail_and_a_preview_have_end_markers_that_are_not_the_pictures(
    folder: Folder, tmp_path: Path, tail: bytes
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail \xff\xd9 and on"
    data = encoded(picture("large", (640, 480)), "JPEG", exif=exif.tobytes() + encoded(picture("thumb"), "JPEG"))
    assert data.count(b"\xff\xd9") == 2
    folder.image().write_bytes(data[:-2] + tail)
    with Image.open(folder.image()) as image:
        before = image.tobytes()
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert checked_kinds(cleaned) == set()
    with Image.open(tmp_path / "out" / "images" / "train" / "train3.jpg") as image:
        assert image.tobytes() == before


def test_images_that_become_copies_by_being_mended_leave_again_and_it_is_told(folder: Folder, tmp_path: Path) -> None:
    same = folder.image("val", "val1").read_bytes()
    folder.image("val", "val1").write_bytes(same + b"one")
    folder.image("train", "train1").write_bytes(same + b"another")
    (folder.image().parent / "tiny.gif").write_bytes(encoded(picture("tiny", (5, 5)), "GIF"))
    shutil.copy(folder.image("val", "val2"), folder.image().parent / ".hidden.jpg")
    shutil.copy(folder.label("val", "val2"), folder.label().parent / ".hidden.txt")
    for out in (tmp_path / "out", tmp_path / "again"):
        cleaned = cleaned_of(folder.yaml, out)
        assert checked_kinds(cleaned) == set()
        assert {path.name for path in (out / "images" / "train").iterdir()} == {
            f"train{number}.jpg" for number in range(8) if number != 1
        }
        assert (cleaned.splits["train"].images, cleaned.splits["train"].boxes) == (7, {"fire": 7, "smoke": 7})
        told = [
            (change["kind"], Path(change["file"]).name) for change in logged(out) if "as it is now" in change["did"]
        ]
        assert sorted(told) == [("image-small", "tiny.png"), ("leak-copy", "hidden.jpg"), ("leak-copy", "train1.jpg")]


def test_killed_while_what_leaves_again_is_removed_it_comes_to_the_same(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.image().parent / "tiny.gif").write_bytes(encoded(picture("tiny", (5, 5)), "GIF"))
    cleaned_of(folder.yaml, tmp_path / "whole")
    for name in ("check_data", "left_out", "replace_text"):
        with monkeypatch.context() as patch:
            patch.setattr(f"sainet.data.clean.afterwards.{name}", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                cleaned_of(folder.yaml, tmp_path / name)
        cleaned_of(folder.yaml, tmp_path / name)
    with monkeypatch.context() as patch:
        patch.setattr("sainet.data.clean.cleaning.write_result", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cleaned_of(folder.yaml, tmp_path / "result")
    cleaned_of(folder.yaml, tmp_path / "result")
    whole = {name: data for name, data in files(tmp_path / "whole").items() if name != LOG}
    for name in ("check_data", "left_out", "replace_text", "result"):
        assert {file: data for file, data in files(tmp_path / name).items() if file != LOG} == whole
        assert len(logged(tmp_path / name)) == len(logged(tmp_path / "whole"))


def test_an_image_with_a_suffix_that_is_not_read_is_of_one_split_and_its_label_is_judged(
    folder: Folder, tmp_path: Path
) -> None:
    for name, text in (("one", b"0 .5 .5 .1 .1\r\n\xe9"), ("two", b"0 .5 .5 .1 .1\n")):
        (folder.image().parent / f"{name}.gif").write_bytes(encoded(picture(name), "GIF"))
        folder.label("train", name).write_bytes(text)
    (folder.root / "val.txt").write_text("./images/train/train7.jpg\n", encoding="utf-8")
    folder.yaml_says("train: images/train\nval: val.txt")
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert checked_kinds(cleaned) == set()
    names = {
        split: {path.name for path in (tmp_path / "out" / "images" / split).rglob("*.*")} for split in cleaned.splits
    }
    assert names["val"] == {"train7.jpg"}
    assert names["train"] == {"two.png", *(f"train{number}.jpg" for number in range(7))}


def test_of_copies_one_stays_that_is_not_left_out_for_a_reason_of_its_own(folder: Folder, tmp_path: Path) -> None:
    for name in ("train4", "train5"):
        folder.image("train", name).write_bytes(folder.image().read_bytes())
    folder.label().unlink()
    for name in ("train4", "train5"):
        folder.label("train", name).write_text("", encoding="utf-8")
    cleaned_of(folder.yaml, tmp_path / "out", missing="drop")
    names = {path.stem for path in (tmp_path / "out" / "images" / "train").iterdir()}
    assert names == {f"train{number}" for number in range(8) if number not in {3, 5}}


def test_a_declared_negative_and_a_copy_with_rows_that_cannot_be_read_are_told_apart(
    folder: Folder, tmp_path: Path
) -> None:
    folder.image("train", "train4").write_bytes(folder.image().read_bytes())
    folder.label().write_text("", encoding="utf-8")
    folder.label("train", "train4").write_text("0,0.5,0.5,0.2,0.2\n", encoding="utf-8")
    assert "copy-labels" in check_data(str(folder.yaml)).by_kind()
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert cleaned.splits["train"].images == 6


@pytest.mark.parametrize("row", ["0 0.5 0.5 0.1 0.1 0.9", "0,0.5,0.5,0.1,0.1"])
def test_a_set_that_is_wholly_of_a_form_that_is_mended_is_cleaned(folder: Folder, tmp_path: Path, row: str) -> None:
    for label in folder.root.rglob("*.txt"):
        label.write_text(f"{row}\n{row.replace('0', '1', 1)}\n", encoding="utf-8")
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert cleaned.splits["train"].boxes == {"fire": 8, "smoke": 8}
    assert checked_kinds(cleaned) == set()


def test_names_are_exchanged_on_request_also_where_nothing_tells_that_they_are_swapped(
    folder: Folder, tmp_path: Path
) -> None:
    cleaned = cleaned_of(folder.yaml, tmp_path / "out", also=frozenset({"classes-swapped"}))
    assert "names: {0: smoke, 1: fire}" in Path(cleaned.yaml).read_text(encoding="utf-8")
    assert [change["did"] for change in logged(tmp_path / "out")] == ["exchanged the two names"]


def test_a_test_split_of_which_nothing_is_left_makes_no_set_either(folder: Folder, tmp_path: Path) -> None:
    folder.add("test", "test1", text="0 0.5 0.5 0 0.1\n1 0.5 0.5 0.1 0\n")
    folder.yaml_says("train: images/train\nval: images/val\ntest: images/test")
    with pytest.raises(DataError, match="of 1 test images none is left with a box"):
        cleaned_of(folder.yaml, tmp_path / "out")


def test_a_path_that_cannot_be_printed_does_no_harm_to_the_yaml(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "two\nlines: \udcff")
    cleaned = cleaned_of(folder.yaml, tmp_path / "out")
    assert checked_kinds(cleaned) == set()


# --- where to, and again


def test_a_folder_that_holds_something_else_is_refused(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        cleaned_of(folder.yaml, tmp_path / "out")
    with pytest.raises(UsageError, match="lies in the set"):
        cleaned_of(folder.yaml, folder.image().parent / "clean")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_made_again_it_says_so_and_asked_otherwise_it_is_refused(folder: Folder, tmp_path: Path) -> None:
    folder.say("7 0.5 0.5 0.1 0.1")
    first = cleaned_of(folder.yaml, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    second = cleaned_of(folder.yaml, tmp_path / "out")
    assert second.already
    assert second.as_dict() == first.as_dict()
    assert snapshot(tmp_path / "out") == before
    with pytest.raises(UsageError, match="not empty"):
        cleaned_of(folder.yaml, tmp_path / "out", missing="drop")


def test_a_split_of_which_nothing_is_left_makes_no_set(folder: Folder, tmp_path: Path) -> None:
    for label in folder.label("val").parent.iterdir():
        label.write_text("0 0.5 0.5 0 0.1\n1 0.5 0.5 0.1 0\n", encoding="utf-8")
    with pytest.raises(DataError, match="of 4 val images none is left with a box"):
        cleaned_of(folder.yaml, tmp_path / "out")
    assert not (tmp_path / "out" / "data.yaml").exists()
    assert (tmp_path / "out" / LOG).exists()


def test_stopped_after_any_part_it_goes_on_to_the_same_end(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sainet.data.clean.cleaning.PART", 2)
    for kind in ("row-six", "image-no-end", "label-missing", "leak-copy"):
        HAZARDS[kind](folder)
    whole = cleaned_of(folder.yaml, tmp_path / "whole")
    for stop in range(1, 6):
        out = tmp_path / f"stopped-{stop}"
        found = survey(str(folder.yaml), out, Options(), lambda *_: None)
        assert isinstance(found, Survey)
        calls: list[int] = []

        def once(*_: int, calls: list[int] = calls, stop: int = stop) -> None:
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            clean(found, once)
        assert not (out / "data.yaml").exists()
        again = cleaned_of(folder.yaml, out)
        assert again.splits == whole.splits
        there = {name: data for name, data in files(out).items() if name != LOG}
        assert there == {name: data for name, data in files(tmp_path / "whole").items() if name != LOG}
        assert logged(out) == logged(tmp_path / "whole")


def test_a_set_that_changes_meanwhile_is_told(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sainet.data.clean.cleaning.PART", 2)
    found = survey(str(folder.yaml), tmp_path / "out", Options(how="copy"), lambda *_: None)
    assert isinstance(found, Survey)
    with pytest.raises(DataError, match=r"(?s)train3\.jpg.*changed while it was cleaned.*clean it anew"):
        clean(found, lambda *_: folder.image().unlink(missing_ok=True))
    with pytest.raises(UsageError, match="begun otherwise: set was"):
        cleaned_of(folder.yaml, tmp_path / "out", how="copy")


def test_a_source_that_has_changed_is_not_taken_for_what_was_cleaned(folder: Folder, tmp_path: Path) -> None:
    cleaned_of(folder.yaml, tmp_path / "out")
    folder.label().write_text("0 0.4 0.4 0.2 0.2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        cleaned_of(folder.yaml, tmp_path / "out")


def test_a_journal_that_a_kill_at_the_very_end_has_left_goes(folder: Folder, tmp_path: Path) -> None:
    cleaned_of(folder.yaml, tmp_path / "out")
    (tmp_path / "out" / ".clean.jsonl").write_text("left\n", encoding="utf-8")
    assert cleaned_of(folder.yaml, tmp_path / "out").already
    assert not (tmp_path / "out" / ".clean.jsonl").exists()


# --- real photographs


@pytest.mark.parametrize("name", ["fire-smoke", "smoke-cctv"])
def test_a_real_set_is_cleaned_by_several_processes(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / name / "data.yaml"
    also = frozenset({"box-frame", "box-tiny"})
    cleaned = cleaned_of(source, tmp_path / "out", also=also)
    assert set(check_data(cleaned.yaml).by_kind()) <= {"class-absent"}
    unchanged = cleaned_of(source, tmp_path / "unchanged", how="copy")
    train = tmp_path / "unchanged" / "labels" / "train"
    assert unchanged.changes == []
    assert {path.name: path.read_bytes() for path in train.iterdir()} == {
        path.name: path.read_bytes() for path in (shared_data / name / "labels" / "train").iterdir()
    }
