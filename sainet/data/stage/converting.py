"""One image file into a smaller one, or into one that needs no decoding. The pixels are not those of the original."""

from io import BytesIO
from typing import TYPE_CHECKING

from sainet.data.stage.form import JPEG_QUALITY, Form
from sainet.geometry import fit_inside

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["converted"]

_ALIKE = frozenset({"RGB", "L"})
"""Pillow's modes that OpenCV reads to the same colours. Palettes, transparency, CMYK and 16 bits it may read otherwise:
such images stay as they are."""


def converted(data: bytes, form: Form) -> bytes | None:
    """The image in `form`; None where it stays as it is.

    `jpeg`: only what is larger is made smaller. `raw`: every image becomes an uncompressed BMP, never a larger one.
    An image is turned upright as its EXIF says, since the new file says nothing. What does not decode, is animated or
    has unusual colours stays as it is: the training says what there is to say of it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data)) as image:
            if image.mode not in _ALIKE or getattr(image, "n_frames", 1) > 1:
                return None
            if form.kind == "jpeg" and max(image.size) <= form.side:
                return None
            return _encoded(_fitted(ImageOps.exif_transpose(image), form.side), form)
    except Exception:  # Pillow's decoders raise all kinds
        return None


def _fitted(image: "Image", side: int) -> "Image":
    from PIL.Image import Resampling

    width, height = image.size
    if max(width, height) <= side:
        return image
    height, width = fit_inside(height, width, (side, side))
    return image.resize((width, height), Resampling.BILINEAR)


def _encoded(image: "Image", form: Form) -> bytes:
    stream = BytesIO()
    if form.kind == "raw":
        image.convert("RGB").save(stream, "BMP")
    else:
        # What Pillow would copy of the original says nothing true of the new one.
        image.info.clear()
        image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()
