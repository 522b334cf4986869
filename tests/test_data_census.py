"""Counting a data set: how many images, how large as the training reads them, how many bytes on the disk."""

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sainet.data import source
from sainet.data.census import take_census
from sainet.data.check.picture import upright_size
from sainet.data.source import DataSource, read_source

ORIENTATION = 0x0112


def draw(path: Path, width: int = 40, height: int = 24, *, orientation: int | None = None) -> Path:
    """An image of noise, so that no format can squeeze it away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("RGB", (width, height), random.Random(path.name).randbytes(3 * width * height))
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(path, exif=exif)
    return path


def a_set(root: Path, *, train: int = 3, val: int = 2) -> Path:
    for number in range(train):
        draw(root / "images" / "train" / f"{number:03d}.png")
    for number in range(val):
        draw(root / "images" / "val" / f"{number:03d}.png", 16, 64)
    return root


def read(root: Path, train: str = "images/train", val: str = "images/val") -> DataSource:
    (root / "data.yaml").write_text(f"train: {train}\nval: {val}\nnames: [smoke]\n")
    return read_source(str(root / "data.yaml"))


def bytes_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_both_splits_are_counted_measured_and_weighed(tmp_path: Path) -> None:
    found = take_census(read(a_set(tmp_path)))
    assert (found.train, found.val) == (3, 2)
    assert found.sizes == ((24, 40),) * 3 + ((64, 16),) * 2
    assert (found.file_bytes, found.extrapolated) == (bytes_below(tmp_path / "images"), False)


def test_the_sample_is_spread_evenly_over_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Image.open

    def spy(path: Any) -> Image.Image:
        opened.append(Path(path).parent.name + Path(path).stem)
        return real(path)

    data = read(a_set(tmp_path, train=40, val=10))
    monkeypatch.setattr(Image, "open", spy)
    take_census(data, sample=10)
    assert sorted(opened) == [*(f"train{number:03d}" for number in range(0, 40, 5)), "val000", "val005"]


def test_of_a_large_set_an_even_part_stands_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_NAMED", 30)
    data = read(a_set(tmp_path, train=100, val=30))
    assert (data.train_paths.count, len(data.train_paths.named), len(data.val_paths.named)) == (100, 25, 30)
    found = take_census(data)
    assert (found.train, found.val, found.extrapolated) == (100, 30, True)
    assert len(found.sizes) == 25 + 30
    # The files differ by a few bytes.
    assert found.file_bytes == pytest.approx(bytes_below(tmp_path / "images"), rel=0.01)


def test_listed_images_are_found_where_ultralytics_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./` is beside the list; any other relative line starts at the working directory."""
    a_set(tmp_path / "beside")
    draw(tmp_path / "cwd" / "here.jpg", 8, 8)
    (tmp_path / "beside" / "list.txt").write_text(f"./images/train/000.png\nhere.jpg\n{tmp_path}/cwd/here.jpg\n")
    monkeypatch.chdir(tmp_path / "cwd")
    found = take_census(read(tmp_path / "beside", train="list.txt"))
    assert (found.train, sorted(found.sizes[:3])) == (3, [(8, 8), (8, 8), (24, 40)])


def test_what_cannot_be_read_is_left_out_of_the_sizes_and_what_is_gone_of_the_bytes(tmp_path: Path) -> None:
    data = read(a_set(tmp_path))
    (tmp_path / "images" / "train" / "000.png").unlink()
    (tmp_path / "images" / "train" / "001.png").write_bytes(b"not an image")
    found = take_census(data)
    assert (found.train, found.sizes) == (3, ((24, 40), (64, 16), (64, 16)))
    assert found.file_bytes == bytes_below(tmp_path / "images")


def test_nothing_that_can_be_read_gives_no_sizes(tmp_path: Path) -> None:
    a_set(tmp_path)
    for path in (tmp_path / "images").rglob("*.png"):
        path.write_bytes(b"")
    assert take_census(read(tmp_path)).sizes == ()


@pytest.mark.usefixtures("sealed_ultralytics")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 5, 6, 7, 8])
def test_the_size_is_that_of_the_image_in_the_training(tmp_path: Path, suffix: str, orientation: int | None) -> None:
    from ultralytics.utils.patches import imread

    root = a_set(tmp_path, train=0)
    path = draw(root / "images" / "train" / f"turned.{suffix}", orientation=orientation)
    pixels = imread(str(path))
    assert pixels is not None
    assert take_census(read(root)).sizes[0] == pixels.shape[:2]


def test_a_png_is_not_decoded_for_its_header(tmp_path: Path) -> None:
    """The rest of the file is missing: whoever decodes it fails."""
    path = draw(tmp_path / "cut.png", 400, 300)
    path.write_bytes(path.read_bytes()[:1000])
    assert upright_size(str(path)) == (300, 400)


def test_real_images(shared_data: Path) -> None:
    yaml = shared_data / "smoke-cctv" / "data.yaml"
    found = take_census(read_source(str(yaml)))
    assert found.train + found.val == len(list((yaml.parent / "images").rglob("*.jpg")))
    assert len(found.sizes) == pytest.approx(found.train + found.val, abs=1)
    assert found.file_bytes == bytes_below(yaml.parent / "images")
