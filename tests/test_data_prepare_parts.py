"""The small parts of preparing on their own."""

import io
import json
import os
from pathlib import Path

import pytest
from data_check_cases import encoded, picture
from data_prepare_cases import FasddRelease

from sainet.data.check.paths import PathList
from sainet.data.check.picture import upright_size
from sainet.data.prepare import jsons, sizes
from sainet.data.prepare.match import Named, stem_of
from sainet.data.prepare.naming import renamed
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.sizes import size_of
from sainet.data.prepare.splits import split_of
from sainet.data.prepare.tree import Tree

TEXT = json.dumps(
    {"info": {"a": [1, {"b": "]},"}]}, "images": [{"id": 1}, 2.5e3, "x", [3], None], "none": [], "n": -12, "ü": '\\"'},
    indent=1,
    ensure_ascii=False,
)


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 64, 1 << 18])
def test_json_in_pieces_is_what_json_is_as_a_whole(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsons, "_AT_ONCE", at_once)
    found: dict[str, object] = {"none": []}
    lines = {}
    for piece in jsons.pieces(io.BytesIO(TEXT.encode()), "file"):
        lines[f"{piece.key} {piece.value}"] = piece.line
        if piece.key == "images":
            found.setdefault("images", []).append(piece.value)  # type: ignore[attr-defined]
        else:
            found[piece.key] = piece.value
    assert found == json.loads(TEXT)
    numbers = {line.strip(): number for number, line in enumerate(TEXT.splitlines(), start=1)}
    assert lines["images x"] == numbers['"x",']
    assert lines["n -12"] == numbers['"n": -12,']


def _turned(orientation: int) -> bytes:
    exif = picture("x").getexif()
    exif[0x0112] = orientation
    return encoded(picture("x"), "JPEG", exif=exif)


def test_sizes_without_pillow_are_those_of_pillow(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [path.read_bytes() for path in (shared_data / "fasdd-mini" / "FASDD_CV" / "images").iterdir()]
    made = [encoded(picture("x"), form) for form in ("JPEG", "PNG", "BMP", "WEBP")]
    made += [encoded(picture("x"), "JPEG", progressive=True), encoded(picture("x").convert("L"), "JPEG")]
    made += [_turned(1), _turned(6), images[0][:100], images[0][:10], b"", b"\xff\xd8\xff", b"GIF89a", b"\xff" * 40]
    asked: list[int] = []
    expected = [upright_size(data) for data in [*images, *made]]

    def counted(data: bytes) -> object:
        asked.append(len(data))
        return upright_size(data)

    monkeypatch.setattr(sizes, "upright_size", counted)
    assert [size_of(data) for data in images] == expected[: len(images)]
    assert not asked, "plain JPEGs need no Pillow"
    assert [size_of(data) for data in made] == expected[len(images) :]
    assert expected[-7] == (64, 48), "turned"


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("COCO_CV/Annotations/train.json", "train"),
        ("instances_train2017.json", "train"),
        ("data/val-00000-of-00001.parquet", "val"),
        ("valid/labels/_annotations.coco.json", "val"),
        ("annotations/validation.json", "val"),
        ("test/train.txt", "train"),
        ("Testing/images/a.jpg", "test"),
        ("FASDD_CV/annotations.json", None),
        ("contest/trained/latest.json", None),
        ("evaluation.json", None),
    ],
)
def test_the_split_of_a_path(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_the_name_of_an_image_is_no_split() -> None:
    assert split_of("images/train_7.jpg", folders_only=True) is None
    assert split_of("train/images/val_7.jpg", folders_only=True) == "train"


def test_paths_in_their_order_are_those_by_their_numbers() -> None:
    paths = PathList()
    names = [("", "a"), ("f", "b"), ("f", ""), ("ü", os.fsdecode(b"\xff.jpg")), ("f", "c")]
    for folder, name in names:
        paths.add(folder, name)
    assert list(paths) == [paths[index] for index in range(len(paths))]
    assert list(paths) == [f"{folder}/{name}" if folder else name for folder, name in names]


def test_of_files_with_one_name_the_nearest_is_meant(tmp_path: Path) -> None:
    for name in ("one/images/a.jpg", "two/images/a.jpg", "two/train/images/a.jpg", "two/images/a.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    tree = Tree(tmp_path)
    named = Named(tree, range(len(tree)), stem_of)

    def best(wanted: str, beside: str, split: str | None = None) -> str:
        found = named.best(stem_of(wanted), wanted, beside, split)
        return "" if found is None else tree.name(found)

    assert best("a.jpg", "one/labels/train.json") == "one/images/a.jpg"
    assert best("a.jpg", "two/labels/x.json") == "two/images/a.jpg"
    assert best("a.jpg", "two/labels/train.json", "train") == "two/train/images/a.jpg"
    assert best("one/images/a.jpg", "two/labels/train.json", "train") == "one/images/a.jpg"
    assert best("a.png", "one/x.json") == "two/images/a.png"
    assert best("b.jpg", "one/x.json") == ""


def test_new_names_are_free_and_the_same_each_time() -> None:
    names = ["a.jpg", "A.png", "a.jpeg", "a_2.jpg", "b.jpg"]
    found = renamed(range(5), lambda _: "train", names.__getitem__)
    assert found == {1: "A_3.png", 2: "a_4.jpeg"}
    assert renamed(range(5), lambda index: f"split {index}", names.__getitem__) == {}


def test_a_folder_that_leads_back_into_itself_is_read_once(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "fasdd").coco()
    count = len(Tree(release.root))
    (release.root / "images" / "again").symlink_to(release.root)
    (release.root / "annotations" / "nowhere.json").symlink_to("gone")
    tree = Tree(release.root)
    assert len(tree) == count + 1
    assert tree.state() != Tree(tmp_path).state()


def test_notes_keep_the_first_places_and_count_all() -> None:
    one, other = Notes(), Notes()
    for number in range(2):
        one.add("renamed", f"one {number}")
    for number in range(5):
        other.add("renamed", f"other {number}")
    one.merge(other.as_dict())
    assert one.as_dict() == {"renamed": {"count": 7, "examples": ["one 0", "one 1", "other 0"]}}
    with pytest.raises(KeyError):
        one.add("something", "")
