"""Renders one image of the demo set: landscape, fire and smoke, then the camera that looks at them."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sainet.data.render_noise import Canvas, unit
from sainet.data.render_objects import Box, add_objects
from sainet.data.render_scene import Purpose, Shot, paint_scene


@dataclass(frozen=True)
class Frame:
    """A finished image: `pixels` is uint8 of shape (H, W, 3), RGB; `quality` is that of its JPEG."""

    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    quality: int

    def jpeg(self) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(self.pixels).save(stream, "JPEG", quality=self.quality)
        return stream.getvalue()


def render(shot: Shot) -> Frame:
    """The image that `shot` names, with a box for each fire or plume that can be seen in it."""
    canvas, boxes = add_objects(paint_scene(shot), shot)
    return Frame(expose(canvas, shot), boxes, int(shot.stream(Purpose.SENSOR).integers(62, 93)))


def expose(canvas: Canvas, shot: Shot) -> NDArray[np.uint8]:
    """`canvas` (H, W, 3) in 0..1 as the camera of `shot` records it: cast, vignette, soft focus, noise."""
    rng = shot.stream(Purpose.SENSOR).spawn(1)[0]
    height, width = canvas.shape[:2]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - rng.uniform(0.0, 0.16) * (rows**2 + columns**2)).astype(np.float32)
    cast = rng.uniform(0.96, 1.04, 3).astype(np.float32)
    lens = Image.fromarray(_to_bytes(canvas * vignette[..., None] * cast))
    soft = np.asarray(lens.filter(ImageFilter.GaussianBlur(rng.uniform(0.25, 0.75))), np.float32) / 255
    grain = rng.standard_normal((height, width, 3), dtype=np.float32) * rng.uniform(0.004, 0.016)
    return _to_bytes(soft + grain)


def _to_bytes(canvas: Canvas) -> NDArray[np.uint8]:
    return (unit(canvas) * 255 + 0.5).astype(np.uint8)
