"""Reading data YAMLs: what is found, and for everything that is wrong a message that says what and where."""

import subprocess
from pathlib import Path

import pytest

from sainet.data.source import DataSource, data_plan, read_source
from sainet.errors import DataError

NAMES = "names: {0: fire, 1: smoke}\n"
SPLITS = "train: images/train\nval: images/val\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set of three training images and one for validation. What is in the images is not looked at."""
    for name in ("train/a.jpg", "train/deep/b.PNG", "train/c.jpeg", "train/notes.txt", "val/d.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def written(root: Path, text: str) -> str:
    (root / "data.yaml").write_text(text, encoding="utf-8")
    return str(root / "data.yaml")


def read(root: Path, text: str) -> DataSource:
    return read_source(written(root, text))


def refused(root: Path, text: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(root, text)
    assert caught.value.exit_code == 5
    return caught.value


# --- places


def test_without_a_path_the_splits_start_at_the_yaml(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(root, SPLITS + NAMES)
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    source = read_source("../data.yaml")
    assert source.train == (root / "images" / "train",)
    assert source.val == (root / "images" / "val",)


@pytest.mark.parametrize("line", ["path: .\n", "path:\n", "path: {root}\n", "path: ../{name}\n"])
def test_a_relative_path_starts_at_the_yaml(root: Path, line: str) -> None:
    source = read(root, line.format(root=root, name=root.name) + SPLITS + NAMES)
    assert source.train == (root / "images" / "train",)


def test_the_home_folder_may_be_written_as_a_tilde(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    assert read(root, "path: ~/images\ntrain: train\nval: val\n" + NAMES).val == (root / "images" / "val",)


def test_images_are_counted_as_ultralytics_finds_them(root: Path) -> None:
    """Hidden files are no images for it, linked folders are part of the set, suffixes have any case."""
    (root / "images" / "train" / "._a.jpg").touch()
    (root / "more").mkdir()
    (root / "more" / "e.webp").touch()
    (root / "images" / "train" / "linked").symlink_to(root / "more")
    source = read(root, SPLITS + NAMES)
    assert (source.train_images, source.val_images) == (4, 1)


def test_a_split_may_be_several_folders_and_list_files(root: Path) -> None:
    (root / "list.txt").write_text("./images/val/d.jpg\n\n./images/train/a.jpg\nno image\n", encoding="utf-8")
    source = read(root, "train: [images/train, list.txt]\nval: list.txt\n" + NAMES)
    assert source.train == (root / "images" / "train", root / "list.txt")
    assert (source.train_images, source.val_images) == (5, 2)


def test_a_missing_yaml_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such data YAML: nothing\.yaml") as caught:
        read_source("nothing.yaml")
    assert caught.value.hint is not None
    assert "--data" in caught.value.hint
    with pytest.raises(DataError, match="no such data YAML"):
        read_source(str(tmp_path))


def test_a_missing_folder_is_named_with_its_line(root: Path) -> None:
    error = refused(root, "train: images/train\nval: images/valid\n" + NAMES)
    assert error.message == f"`val` is not there: {root}/images/valid"
    assert error.problems[0].where == f"{root}/data.yaml:2"
    assert error.hint is not None
    assert "starts at the YAML's own folder" in error.hint


def test_each_of_several_folders_has_to_be_there(root: Path) -> None:
    assert "images/more" in refused(root, "train: [images/train, images/more]\nval: images/val\n" + NAMES).message


@pytest.mark.parametrize(
    "text", ["train: images/train\n", "train: images/train\nval:\n", "train: images/train\nval: []\n"]
)
def test_a_missing_split_says_what_to_add(root: Path, text: str) -> None:
    error = refused(root, text + NAMES)
    assert error.message == "no `val:` images"
    assert error.hint == "add `val: images/val`"


def test_a_folder_without_images_is_refused(root: Path) -> None:
    (root / "empty").mkdir()
    (root / "empty" / "readme.txt").touch()
    error = refused(root, "train: empty\nval: images/val\n" + NAMES)
    assert error.message == f"`train` has no images: {root}/empty"
    assert error.problems[0].where == f"{root}/data.yaml:1"


def test_a_list_file_without_images_is_refused(root: Path) -> None:
    (root / "list.txt").write_text("\n", encoding="utf-8")
    assert "has no images" in refused(root, "train: list.txt\nval: images/val\n" + NAMES).message


@pytest.mark.parametrize("line", ["./images/train/a.jpg ", "./images/train/a.jpg\t", " ./images/train/a.jpg"])
def test_blanks_around_a_listed_image_are_refused_because_ultralytics_leaves_it_out(root: Path, line: str) -> None:
    listed = root / "list.txt"
    listed.write_text(f"./images/val/d.jpg\n{line}\n./images/val/d.jpg\n", encoding="utf-8")
    error = refused(root, "train: list.txt\nval: images/val\n" + NAMES)
    assert "blanks around the name" in error.message
    assert str(error).startswith(f"{listed}:2: ")


def test_a_list_file_that_is_not_utf_8_is_refused(root: Path) -> None:
    (root / "list.txt").write_bytes("./images/val/d.jpg\n./images/val/ü.jpg\n".encode("latin-1"))
    assert "UTF-8" in refused(root, "train: list.txt\nval: images/val\n" + NAMES).message


def test_a_single_image_is_refused_because_ultralytics_reads_it_as_a_list(root: Path) -> None:
    error = refused(root, "train: images/train/a.jpg\nval: images/val\n" + NAMES)
    assert error.message == f"`train` is one image: {root}/images/train/a.jpg"
    assert error.hint == "name a folder of images, or a text file with one image a line"


def test_download_is_never_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    ran = root / "ran"
    python = f"import pathlib; pathlib.Path({str(ran)!r}).touch()"
    for download in (f"bash touch {ran}", python, "https://example.invalid/set.zip"):
        read(root, SPLITS + NAMES + f'download: "{download}"\n')
        refused(root, f'train: nowhere\nval: images/val\n{NAMES}download: "{download}"\n')
    assert not ran.exists()


# --- the YAML itself


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("train: images/train\nval: [images/val\n" + NAMES, 3, "not valid YAML"),
        ("train: images/train\n\tval: images/val\n", 2, "not valid YAML"),
        ("- images/train\n", 1, "expected `key: value` lines"),
        (SPLITS + "train: images/val\n" + NAMES, 3, "`train` is set twice"),
    ],
)
def test_a_broken_yaml_is_told_with_its_line(root: Path, text: str, line: int, message: str) -> None:
    error = refused(root, text)
    assert message in error.message
    assert error.problems[0].where == f"{root}/data.yaml:{line}"


def test_a_yaml_that_is_not_text_is_bad_data(root: Path) -> None:
    (root / "data.yaml").write_bytes(b"\xff\xfe\x00names")
    with pytest.raises(DataError, match="not UTF-8"):
        read_source(str(root / "data.yaml"))


# --- classes


@pytest.mark.parametrize(
    "names",
    [
        "names: {0: fire, 1: smoke}",
        "names: [fire, smoke]",
        "names:\n  1: smoke\n  0: fire",
        "names:\n- fire\n- smoke",
        "names: {'0': fire, '1': smoke}\nnc: 2",
        "names: [fire, smoke]\nnc: '2'",
        "base: &base\n  names: [fire, smoke]\n<<: *base",
    ],
)
def test_names_are_a_list_or_a_mapping(root: Path, names: str) -> None:
    source = read(root, SPLITS + names + "\n")
    assert list(source.names.items()) == [(0, "fire"), (1, "smoke")]


@pytest.mark.parametrize("names", ["names: {0: no, 1: 1.10}", "names: [no, 1.10]"])
def test_a_class_keeps_the_name_that_is_written(root: Path, names: str) -> None:
    """YAML reads them as False and 1.1."""
    assert read(root, SPLITS + names + "\n").names == {0: "no", 1: "1.10"}


@pytest.mark.parametrize("names", ["", "names:\n", "names: smoke\n", "names: []\n", "names: {fire: 0, smoke: 1}\n"])
def test_missing_names_are_shown_by_example(root: Path, names: str) -> None:
    error = refused(root, SPLITS + names)
    assert error.message == "no class names"
    assert error.hint == "for example `names: {0: fire, 1: smoke}`"


def test_class_ids_with_gaps_are_refused(root: Path) -> None:
    error = refused(root, SPLITS + "names: {0: fire, 2: smoke}\n")
    assert error.message == "class ids [0, 2] are not 0 to 1"
    assert error.problems[0].where == f"{root}/data.yaml: names"


def test_two_classes_of_one_name_are_refused(root: Path) -> None:
    assert refused(root, SPLITS + "names: [smoke, Smoke]\n").message == "two classes have the same name: smoke, Smoke"


def test_a_count_that_does_not_fit_the_names_is_refused(root: Path) -> None:
    assert "`nc: [2]`" in refused(root, SPLITS + NAMES + "nc: [2]\n").message
    error = refused(root, SPLITS + NAMES + "nc: 3\n")
    assert error.message == "`nc: 3` does not fit the 2 names"
    assert error.problems[0].where == f"{root}/data.yaml:4"


def test_channels_that_would_be_ignored_are_refused(root: Path) -> None:
    assert read(root, SPLITS + NAMES + "channels: 3\n").train_images == 3
    assert "`channels: 1`" in refused(root, SPLITS + NAMES + "channels: 1\n").message


# --- the plan


def test_without_a_choice_every_class_keeps_its_id(root: Path) -> None:
    plan = data_plan(read(root, SPLITS + NAMES), None, skip_bad_images=False)
    assert plan.source_names == plan.target_names == {0: "fire", 1: "smoke"}
    assert plan.class_map == {0: 0, 1: 1}
    assert plan.train == [str(root / "images" / "train")]


@pytest.mark.parametrize(
    ("names", "class_map"),
    [("[fire, smoke]", {1: 0}), ("[smoke, fire]", {0: 0}), ("[Smoke]", {0: 0}), ("[FIRE, ' SMOKE ']", {1: 0})],
)
def test_a_class_is_found_by_name_in_any_case(root: Path, names: str, class_map: dict[int, int]) -> None:
    plan = data_plan(read(root, f"{SPLITS}names: {names}\n"), ["smoke"], skip_bad_images=False)
    assert plan.class_map == class_map
    assert plan.target_names == {0: "smoke"}


def test_the_order_asked_for_is_the_order_of_the_detector(root: Path) -> None:
    plan = data_plan(read(root, SPLITS + NAMES), ["smoke", "fire"], skip_bad_images=False)
    assert plan.target_names == {0: "smoke", 1: "fire"}
    assert plan.class_map == {1: 0, 0: 1}


def test_a_class_that_the_data_lack_is_refused_with_those_they_have(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        data_plan(read(root, SPLITS + "names: [fire, fog]\n"), ["smoke", "steam"], skip_bad_images=False)
    assert caught.value.message == "the data have no class 'smoke' and no class 'steam'"
    assert caught.value.hint is not None
    assert "its classes are fire, fog" in caught.value.hint


def test_a_class_asked_for_twice_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="asked for twice: smoke, Smoke"):
        data_plan(read(root, SPLITS + NAMES), ["smoke", "Smoke"], skip_bad_images=False)
