"""What a form costs and saves, from an even sample of the images: their sizes, and how long one takes to decode."""

import time
from dataclasses import dataclass
from io import BytesIO

from sainet.data.stage.converting import converted
from sainet.data.stage.form import Form
from sainet.data.stage.survey import Survey

__all__ = ["Estimate", "estimated"]

_SAMPLE = 32


@dataclass(frozen=True)
class Estimate:
    """`bytes`: of the whole set in that form, labels with it. `decode_s`, `staged_decode_s`: of one image before and
    after, mean of the sample of `images`, with Pillow on one core. `convert_s`: what making one takes there."""

    bytes: int
    images: int
    decode_s: float
    staged_decode_s: float
    convert_s: float


def estimated(survey: Survey, form: Form, sample: int = _SAMPLE) -> Estimate:
    """Images that cannot be read count as they are. Raises nothing."""
    before = after = count = 0
    decode_s = staged_decode_s = convert_s = 0.0
    for path in _evenly(survey, sample):
        try:
            with open(path, "rb") as stream:  # noqa: PTH123
                data = stream.read()
        except OSError:
            continue
        began_s = time.perf_counter()
        made = converted(data, form)
        convert_s += time.perf_counter() - began_s
        count += 1
        before += len(data)
        after += len(made if made is not None else data)
        one_s = _decoding_s(data)
        decode_s += one_s
        staged_decode_s += one_s if made is None else _decoding_s(made)
    many = max(1, count)
    size = _whole(survey, form, before, after, many)
    return Estimate(size, count, decode_s / many, staged_decode_s / many, convert_s / many)


def _whole(survey: Survey, form: Form, before: int, after: int, images: int) -> int:
    """Bytes of the whole set. How much smaller a JPEG gets goes by its size; how large a bitmap is by the pixels."""
    if form.kind == "raw":
        return round(len(survey.images) * after / images)
    return round(survey.bytes * after / before) if before else survey.bytes


def _evenly(survey: Survey, sample: int) -> list[str]:
    paths = survey.images
    count = min(sample, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def _decoding_s(data: bytes) -> float:
    from PIL import Image

    began_s = time.perf_counter()
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
    except Exception:  # Pillow's decoders raise all kinds
        return 0.0
    return time.perf_counter() - began_s
