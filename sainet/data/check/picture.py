"""Looking at one image: it is read once, decoded once, and told what Ultralytics would make of it."""

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from typing import TYPE_CHECKING

from sainet.data.check.rows import Trouble
from sainet.geometry import Shape

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Picture", "look_at", "look_at_bytes", "upright_size"]

_ORIENTATION = 0x0112
_LYING = frozenset({5, 6, 7, 8})
_LEAST = 10
"""Pixels; Ultralytics drops what is smaller."""
_SLICE = 4096
_READ = {
    "AVIF": ("avif",),
    "BMP": ("bmp",),
    "JPEG": ("jpg", "jpeg"),
    "JPEG2000": ("jp2",),
    "MPO": ("mpo", "jpg", "jpeg"),
    "PNG": ("png",),
    "TIFF": ("tif", "tiff", "dng"),
    "WEBP": ("webp",),
    "HEIF": ("heic", "heif"),
}
"""Pillow's formats that Ultralytics reads, and the suffixes that fit them."""
_MODES = {
    "CMYK": "CMYK colours",
    "YCCK": "CMYK colours",
    "P": "a palette",
    "PA": "a palette with transparency",
    "RGBA": "transparency",
    "LA": "transparency",
    "La": "transparency",
    "RGBa": "transparency",
}


@dataclass
class Picture:
    """What was seen.

    - `size`: height and width as the training reads it; None where it does not decode.
    - `key`: 8 bytes that are equal for equal files, and hardly ever for others; 0 where there is no file.
    - `look`: 64 bits of which few differ between images that look alike; 0 where it does not decode.
    """

    size: Shape | None = None
    key: int = 0
    look: int = 0
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def absent(self) -> bool:
        """Whether there is no such file, or none that may be read."""
        return any(trouble.kind == "image-absent" for trouble in self.troubles)

    def add(self, kind: str, message: str) -> None:
        self.troubles.append(Trouble(kind, None, message))


def look_at(path: str) -> Picture:
    """Read and decode an image. Raises nothing; Pillow's warnings are the caller's to switch off."""
    picture = Picture()
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path for each costs more than the call
            data = stream.readall() or b""
    except OSError as error:
        picture.add("image-absent", _absence(path, error))
        return picture
    return look_at_bytes(data, path)


def look_at_bytes(data: bytes, path: str) -> Picture:
    """The same for the contents of an image; `path` is its name."""
    picture = Picture(key=_key(data))
    _decode(data, path, picture)
    return picture


def upright_size(image: str | bytes) -> Shape | None:
    """Height and width as the training reads it, by the head alone; None where that is of no image.

    `image`: the path of a file, or its contents.
    """
    from PIL import Image

    try:
        with Image.open(image if isinstance(image, str) else BytesIO(image)) as opened:
            height, width = opened.height, opened.width
            return (width, height) if _orientation(opened) in _LYING else (height, width)
    except Exception:  # Pillow's plugins raise all kinds
        return None


def _absence(path: str, error: OSError) -> str:
    if os.path.islink(path):  # noqa: PTH114
        return f"a link to {os.readlink(path)}, which cannot be read: {error.strerror}"  # noqa: PTH115
    return f"cannot be read: {error.strerror}"


def _key(data: bytes) -> int:
    """Of the length, the head, the middle and the tail: a whole hash would take a tenth of the decoding."""
    middle = len(data) // 2
    pieces = data[:_SLICE] + data[middle : middle + _SLICE] + data[-_SLICE:]
    return int.from_bytes(blake2b(b"%d" % len(data) + pieces, digest_size=8).digest(), "little") | 1


def _decode(data: bytes, path: str, picture: Picture) -> None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data)) as image:
            stored_as, frames = image.mode, getattr(image, "n_frames", 1)
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
                picture.add("image-huge", f"{image.width} x {image.height} pixels")
            if image.format == "PNG":
                _verify(data)
            image.load()
            _judge(image, data, path, picture, stored_as=stored_as, frames=frames)
            picture.look = _look(image)
    except Image.DecompressionBombError:
        picture.add("image-bomb", "more than 178 million pixels: Pillow refuses it, so Ultralytics drops it")
    except UnidentifiedImageError:
        picture.add("image-undecodable", "no image, or of a format that cannot be read here")
    except Exception as error:  # Pillow's decoders raise all kinds
        picture.add("image-undecodable", f"does not decode: {str(error) or type(error).__name__}")


def _verify(data: bytes) -> None:
    """The checksums of a PNG, which decoding does not look at and Ultralytics does. Raises what Pillow raises."""
    from PIL import Image

    with Image.open(BytesIO(data)) as image:
        image.verify()


def _judge(image: "Image", data: bytes, path: str, picture: Picture, *, stored_as: str, frames: int) -> None:
    """Everything about an image that decodes."""
    height, width = image.height, image.width
    turned = _orientation(image)
    picture.size = (width, height) if turned in _LYING else (height, width)
    if turned > 1:
        picture.add("image-orientation", f"EXIF orientation {turned}: trained upright, so the boxes must be drawn so")
    if min(height, width) < _LEAST:
        picture.add("image-small", f"{width} x {height} pixels: Ultralytics drops it")
    if not _is_read(str(image.format), path, picture):
        return
    if image.format == "JPEG" and data[-2:] != b"\xff\xd9":
        picture.add("image-no-end", f"{_ending(data)}: Ultralytics would re-encode it in your folder")
    if _is_16_bit(image, data, stored_as):
        picture.add("image-16-bit", "16 bits: only the upper 8 are trained on, which may leave it all dark")
    elif stored_as not in {"RGB", "L"}:
        picture.add("image-mode", f"has {_MODES.get(stored_as, f'the mode {stored_as}')}, which is turned into RGB")
    if frames > 1 and image.format != "MPO":
        picture.add("image-animated", f"{frames} frames, of which the first is trained on")


def _is_read(form: str, path: str, picture: Picture) -> bool:
    """Whether Ultralytics reads the format; a suffix that does not fit it is told."""
    if form not in _READ:
        picture.add("image-format", f"is {form}, which Ultralytics drops")
        return False
    if path.rpartition(".")[2].lower() not in _READ[form]:
        picture.add("image-suffix", f"is {form}")
    return True


def _ending(data: bytes) -> str:
    end = data.rfind(b"\xff\xd9")
    return "no end marker" if end < 0 else f"{len(data) - end - 2} bytes behind the end marker"


def _orientation(image: "Image") -> int:
    # Pillow turns a TIFF as it decodes it; what has no EXIF block need not be asked.
    if image.format == "TIFF" or "exif" not in image.info:
        return 1
    try:
        turned = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block raises all kinds
        return 1
    return turned if isinstance(turned, int) and 1 <= turned <= 8 else 1


def _is_16_bit(image: "Image", data: bytes, stored_as: str) -> bool:
    if image.format == "PNG":
        return data[24:25] == b"\x10"  # Pillow opens 16-bit RGB as RGB
    return stored_as.startswith("I") or stored_as == "F"


def _look(image: "Image") -> int:
    """Whether the picture gets brighter to the right, in 8 x 8 places; sampled, which is cheap and good enough."""
    from PIL.Image import Resampling

    small = image.convert("RGB") if image.mode in {"P", "PA"} else image
    small = small.resize((72, 64), Resampling.NEAREST).convert("L").resize((9, 8), Resampling.BOX)
    cells = small.tobytes()
    bits = 0
    for row in range(0, 72, 9):
        for column in range(row, row + 8):
            bits = bits << 1 | (cells[column] < cells[column + 1])
    return bits
