"""What is wrong with one box: centre and size as shares of the image, as in a label file."""

import math
from collections.abc import Iterator

__all__ = ["TINY", "box_troubles", "tiny_trouble"]

TINY = 2.0
"""Pixels; Ultralytics' augmentation drops what is smaller."""
_TOLERANCE = 1e-4
"""How far over the edge is still rounding."""
_DROPPED_ABOVE, _DROPPED_BELOW = 1.01, -0.01
"""Values beyond these make Ultralytics drop the image."""
_PIXELS_ABOVE = 2.0
_WHOLE = 0.99


def box_troubles(x: float, y: float, width: float, height: float) -> Iterator[tuple[str, str]]:
    """Kind and message of everything that is wrong; the first that makes the box useless ends it."""
    values = (x, y, width, height)
    if not math.isfinite(x + y + width + height):
        yield "box-not-finite", f"box {_text(*values)} is not finite, so Ultralytics drops the image"
    elif max(values) > _PIXELS_ABOVE and min(values) >= 0:
        yield "box-pixels", f"box {_text(*values)} is in pixels, not shares, so Ultralytics drops the image"
    elif max(values) > _DROPPED_ABOVE or min(values) < _DROPPED_BELOW or min(width, height) < 0:
        yield "box-range", f"box {_text(*values)} is outside 0 to 1, so Ultralytics drops the image"
    elif width == 0 or height == 0:
        yield "box-empty", f"box {_text(*values)} has no area: nothing can be learned from it"
    else:
        yield from _shape_troubles(x, y, width, height)


def _shape_troubles(x: float, y: float, width: float, height: float) -> Iterator[tuple[str, str]]:
    over = max(width / 2 - x, x + width / 2 - 1, height / 2 - y, y + height / 2 - 1)
    if over > _TOLERANCE:
        yield "box-edge", f"box {_text(x, y, width, height)} is over the edge by {over:.2%} of the image"
    if width >= _WHOLE and height >= _WHOLE:
        yield "box-frame", "the box is the whole image"


def tiny_trouble(width: float, height: float, size: tuple[int, int]) -> str | None:
    """What to say of a box of these shares in an image of `size` (height, width), where it is too small to be seen."""
    across, down = width * size[1], height * size[0]
    if 0 < min(across, down) < TINY:
        return f"the box is {across:.1f} x {down:.1f} pixels: augmentation drops it"
    return None


def _text(*values: float) -> str:
    return " ".join(f"{value:g}" for value in values)
