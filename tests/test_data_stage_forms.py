"""Images staged in another form: as the training reads them, at most so large, and never worse where it is not sure."""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data_check_cases import Folder, encoded, picture
from PIL import Image
from stage_cases import stage

from sainet.data.source import read_source
from sainet.data.stage.converting import converted
from sainet.data.stage.estimate import estimated
from sainet.data.stage.form import AS_IS, Form, parse_form
from sainet.data.stage.need import need_of
from sainet.data.stage.survey import take_survey
from sainet.errors import UsageError


def smooth(width: int, height: int) -> Image.Image:
    return picture("smooth", (8, 6)).resize((width, height), Image.Resampling.BICUBIC)


def turned(orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(smooth(200, 120), "JPEG", exif=exif, quality=95, **options)


def read_by_the_training(data: bytes, folder: Path, suffix: str = "jpg") -> np.ndarray:
    from ultralytics.utils.patches import imread

    path = folder / f"image.{suffix}"
    path.write_bytes(data)
    image = imread(str(path))
    assert image is not None
    return np.asarray(image)


@pytest.mark.parametrize("form", ["jpeg-100", "raw-100", "raw-400"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_the_training_turns_them(
    form: str, orientation: int, tmp_path: Path, engine: SimpleNamespace
) -> None:
    import cv2

    del engine
    original = turned(orientation)
    staged = converted(original, parse_form(form))
    assert staged is not None
    was, now = read_by_the_training(original, tmp_path), read_by_the_training(staged, tmp_path)
    side = parse_form(form).side
    assert max(now.shape) == min(side, max(was.shape))
    fitted = cv2.resize(was, (now.shape[1], now.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(fitted.astype(int) - now).mean() < 4, "another orientation of this picture differs by 40 and more"
    if form == "raw-400":
        assert np.abs(was.astype(int) - now).max() <= 2, "the decoders of Pillow and OpenCV differ by no more"


def test_a_raw_image_is_an_uncompressed_bitmap_whatever_it_was(tmp_path: Path, engine: SimpleNamespace) -> None:
    del engine
    for data in (encoded(smooth(90, 50), "PNG"), encoded(smooth(90, 50).convert("L"), "JPEG")):
        staged = converted(data, Form("raw", 64))
        assert staged is not None
        assert len(staged) == 54 + 36 * 64 * 3
        assert read_by_the_training(staged, tmp_path, "png").shape == (36, 64, 3)


def _animated() -> bytes:
    stream = BytesIO()
    smooth(200, 120).save(stream, "PNG", save_all=True, append_images=[smooth(120, 200).resize((200, 120))])
    return stream.getvalue()


KEPT = {
    "small": encoded(smooth(100, 60), "JPEG"),
    "a palette": encoded(smooth(200, 120).convert("P"), "PNG"),
    "transparency": encoded(smooth(200, 120).convert("RGBA"), "PNG"),
    "CMYK": encoded(smooth(200, 120).convert("CMYK"), "JPEG"),
    "16 bits": encoded(Image.fromarray(np.full((120, 200), 40000, np.uint16)), "PNG"),
    "animated": _animated(),
    "damaged": encoded(smooth(200, 120), "JPEG")[:900],
    "no image": b"text",
}


@pytest.mark.parametrize("what", KEPT)
def test_what_is_small_or_strange_stays_as_it_is(what: str) -> None:
    assert converted(KEPT[what], Form("jpeg", 100)) is None


def test_names_stay_so_that_order_and_labels_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "set")
    smooth(200, 120).save(folder.image(stem="train0", suffix="png"))
    staged = stage(folder.yaml, tmp_path / "staged", parse_form("jpeg-100"))
    with Image.open(staged.place / "images" / "train" / "train0.png") as image:
        assert (image.format, image.size) == ("JPEG", (100, 60))
    assert staged.record.converted == 1, "the others are small"
    assert staged.record.format == "jpeg-100"
    assert not stage(folder.yaml, staged.place, parse_form("jpeg-100")).is_new
    assert stage(folder.yaml, staged.place, AS_IS).is_new


def test_what_it_costs_and_saves_is_told_before_by_a_sample(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "set")
    for number in range(8):
        smooth(400, 240).save(folder.image(stem=f"train{number}"), quality=95)
    survey = take_survey(read_source(str(folder.yaml)))
    raw = parse_form("raw-200")
    found = estimated(survey, raw)
    assert found.images == 12
    assert found.decode_s > 0
    staged = stage(folder.yaml, tmp_path / "staged", raw)
    assert found.bytes == pytest.approx(staged.record.bytes, rel=0.15)
    assert need_of(survey, raw, tmp_path / "x").is_estimate
    assert not need_of(survey, AS_IS, tmp_path / "x").is_estimate


@pytest.mark.parametrize("text", ["jpeg", "jpeg-63", "raw-8193", "png-1440", "jpeg-1440x808", "as_is", ""])
def test_formats_that_are_none_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="no format to stage in"):
        parse_form(text)
