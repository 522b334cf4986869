"""Mending the file of an image. Pure: bytes in, bytes out; where pixels have to be written anew, as a PNG, which
keeps every one of them."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["AS_PNG", "SUFFIXES", "as_png", "ended", "format_of"]

AS_PNG = {
    "image-ignored": "wrote it as a PNG",
    "image-format": "wrote it as a PNG",
    "image-16-bit": "scaled it to 8 bits, darkest to brightest",
    "image-mode": "wrote it as RGB",
    "image-animated": "kept the first frame",
    "image-orientation": "turned the pixels",
}
"""Kinds for which the pixels are written anew, and what is said of it."""
SUFFIXES = {
    "AVIF": "avif",
    "BMP": "bmp",
    "HEIF": "heic",
    "JPEG": "jpg",
    "JPEG2000": "jp2",
    "MPO": "jpg",
    "PNG": "png",
    "TIFF": "tif",
    "WEBP": "webp",
}
"""The suffix of each of Pillow's formats that Ultralytics reads."""
_END, _SCAN = b"\xff\xd9", b"\xda"


def format_of(data: bytes) -> str:
    """What the content is, in Pillow's words. Raises what Pillow raises."""
    from PIL import Image

    with Image.open(BytesIO(data)) as image:
        return str(image.format)


def ended(jpeg: bytes) -> bytes:
    """The JPEG with its end marker at its end, and the same pixels. Raises what Pillow raises.

    Markers may also be in a thumbnail before the picture, or in what a camera has put behind it.
    """
    begin = _scan(jpeg)
    places = [place + len(_END) for place in (jpeg.find(_END, begin), jpeg.rfind(_END, begin)) if place >= 0]
    pixels = _pixels(jpeg)
    for end in places:
        if _pixels(jpeg[:end]) == pixels:
            return jpeg[:end]
    return jpeg + _END


def _scan(jpeg: bytes) -> int:
    """Where the picture itself begins, behind all that is said about it (ITU T.81, annex B)."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and jpeg[place + 1 : place + 2] != _SCAN:
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return place


def _pixels(jpeg: bytes) -> bytes | None:
    from PIL import Image

    try:
        with Image.open(BytesIO(jpeg)) as image:
            return image.tobytes()
    except OSError:  # cut too early
        return None


def as_png(data: bytes) -> bytes:
    """The first frame, upright, of 8 bits, grey or RGB. Raises what Pillow raises."""
    from PIL import Image, ImageOps

    with Image.open(BytesIO(data)) as image:
        deep = image.format == "PNG" and data[24:25] == b"\x10"
        upright = image if image.format == "TIFF" else ImageOps.exif_transpose(image)
        if deep or upright.mode.startswith("I") or upright.mode == "F":
            upright = _shallow(upright)
        stream = BytesIO()
        (upright if upright.mode in {"L", "RGB"} else upright.convert("RGB")).save(stream, "PNG")
    return stream.getvalue()


def _shallow(image: "Image") -> "Image":
    """8 bits, of which the darkest pixel gets 0 and the brightest 255."""
    import numpy as np
    from PIL import Image

    # Of 16-bit colours Pillow keeps the upper 8 bits only, so there it spreads what is left.
    levels = np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("RGB"), dtype=np.float64)
    darkest, brightest = float(levels.min()), float(levels.max())
    spread = (levels - darkest) * (255 / max(brightest - darkest, 1e-9))
    return Image.fromarray(spread.round().astype(np.uint8))
