"""How images are made to fit. The training does it, and the memory budget has to know it without the training."""

import math

__all__ = ["Shape", "fit_inside"]

Shape = tuple[int, int]
"""Height and width in pixels."""


def fit_inside(height: int, width: int, shape: Shape) -> Shape:
    """The size of a `height` x `width` image resized, up or down, to the largest that fits into `shape`.

    The aspect is kept to the pixel above. For a square it is the size that Ultralytics loads images at.
    """
    ratio = min(shape[0] / height, shape[1] / width)
    return min(math.ceil(height * ratio), shape[0]), min(math.ceil(width * ratio), shape[1])
