"""The fields that every part of a rendered scene is made of: noise, ridges, splats and blurs.

A *field* is a float32 array of shape (H, W), a *canvas* one of shape (H, W, 3) with colours in 0..1; rows grow
downwards. Lengths are in pixels; callers scale them by the height of the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Field = NDArray[np.float32]
Canvas = NDArray[np.float32]
Rng = np.random.Generator


def fractal_noise(
    rng: Rng, height: int, width: int, *, cell: float, octaves: int = 4, gain: float = 0.5, stretch: float = 1.0
) -> Field:
    """Value noise summed over `octaves`, stretched to exactly 0..1: (height, width).

    `cell` is the size in pixels of the largest feature, `stretch` how much wider than high the features are.
    Each octave is drawn on its own small grid and scaled up, which is what makes it cheap.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        size = max(1.0, cell / 2**octave)
        rows, columns = int(height / size) + 3, int(width / (size * stretch)) + 3
        total += gain**octave * enlarge(rng.random((rows, columns), dtype=np.float32), height, width)
    total -= total.min()
    total /= total.max()
    return total


def enlarge(field: Field, height: int, width: int) -> Field:
    """`field` scaled smoothly to (height, width)."""
    image = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


def blur(field: Field, radius: float) -> Field:
    """A field in 0..1, blurred; in 8 bits, since only soft glows and shadows are made with it."""
    image = Image.fromarray((unit(field) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.BoxBlur(radius)), dtype=np.float32) / np.float32(255)


def soften(canvas: Canvas) -> Canvas:
    """`canvas` (H, W, C), of any range, as a lens shows it: each pixel shared with its neighbours."""
    padded = np.pad(canvas, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    soft: Canvas = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / np.float32(16)
    return soft


def shifted(field: Field, rows: int, columns: int) -> Field:
    """`field` (H, W) moved down and to the right; what enters repeats the edge."""
    height, width = field.shape
    down = np.clip(np.arange(height) - rows, 0, height - 1)
    right = np.clip(np.arange(width) - columns, 0, width - 1)
    return field[down[:, None], right[None, :]]


def ridge_line(rng: Rng, width: int, *, wavelength: float, octaves: int, gain: float = 0.5) -> Field:
    """A mountain profile in 0..1 by column, shape (width,): straight slopes, broken at every octave."""
    columns = np.arange(width)
    line = np.zeros(width)
    for octave in range(octaves):
        step = max(2.0, wavelength / 2**octave)
        knots = np.arange(-step * rng.random(), width + 2 * step, step)
        line += gain**octave * np.interp(columns, knots, rng.random(knots.size))
    line -= line.min()
    return unit(line / line.max())


def tree_line(rng: Rng, width: int, *, spacing: float) -> Field:
    """The saw-tooth outline of conifers in 0..1 by column, shape (width,); one tree every `spacing` pixels."""
    count = int(2 * width / spacing) + 4
    knots = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * spacing / 2
    tops = rng.uniform(0.3, 1.0, count)
    tops[::2] = rng.uniform(0.0, 0.25, tops[::2].size)
    return np.interp(np.arange(width), knots, tops).astype(np.float32)


def smoothstep(low: float, high: float, field: Field) -> Field:
    """0 at `low`, 1 at `high`, a smooth ramp between; falling when `low` is the greater."""
    ramp = unit((field - low) / (high - low))
    return ramp * ramp * (3 - 2 * ramp)


def unit(values: NDArray[Any]) -> Canvas:
    """`values` of any shape, cut to 0..1."""
    cut: Canvas = np.clip(values, 0, 1).astype(np.float32, copy=False)
    return cut


def mix(canvas: Canvas, colour: Canvas, alpha: Field) -> Canvas:
    """`colour` (3,) or (H, W, 3) over `canvas` with `alpha` (H, W)."""
    mixed: Canvas = canvas + (colour - canvas) * alpha[..., None]
    return mixed


@dataclass(frozen=True)
class Splats:
    """Soft round puffs: centres, radii (pixels) and weights, each of shape (N,)."""

    x: Field
    y: Field
    radius: Field
    weight: Field

    def density(self, height: int, width: int) -> Field:
        """The sum of all puffs as a field.

        A round Gaussian is a product of one over rows and one over columns, so the sum is one matrix product:
        by einsum, since what BLAS returns depends in the last bit on its number of threads.
        """
        rows = self._profile(np.arange(height, dtype=np.float32), self.y) * self.weight[:, None]
        columns = self._profile(np.arange(width, dtype=np.float32), self.x)
        total: Field = np.einsum("nh,nw->hw", rows, columns)
        return total

    def density_at(self, x: Field, y: Field) -> Field:
        """The sum of all puffs at the points `x`, `y`, shape (P,)."""
        total: Field = np.einsum("np,np,n->p", self._profile(x, self.x), self._profile(y, self.y), self.weight)
        return total

    def _profile(self, at: Field, centre: Field) -> Field:
        away = (at[None, :] - centre[:, None]) / self.radius[:, None]
        return np.exp(np.float32(-0.5) * away * away)
