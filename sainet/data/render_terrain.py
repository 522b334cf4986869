"""Hills, one behind the other: their shape stays with the camera, their light changes from frame to frame."""

from dataclasses import dataclass

import numpy as np

from sainet.data.render_noise import (
    Canvas,
    Field,
    Rng,
    enlarge,
    fractal_noise,
    mix,
    ridge_line,
    shifted,
    smoothstep,
    tree_line,
    unit,
)
from sainet.data.render_sky import Light

FOREST, MEADOW, ROCK = (0.17, 0.25, 0.12), (0.46, 0.43, 0.24), (0.46, 0.43, 0.39)
AUTUMN = ((0.62, 0.25, 0.08), (0.70, 0.44, 0.10), (0.50, 0.14, 0.08))


@dataclass(frozen=True)
class Layer:
    """One range of hills, as seen from the camera."""

    ridge: Field
    """The row of its top by column, shape (W,)."""
    coverage: Field
    """How much of each pixel lies below the ridge, (H, W)."""
    albedo: Canvas
    """Its colour in full light, (H, W, 3)."""
    distance: float
    """0 at the camera, 1 at the farthest hills."""


@dataclass(frozen=True)
class Terrain:
    """Everything that does not move: `layers` from far to near."""

    layers: tuple[Layer, ...]
    owner: Field
    """The index of the nearest layer at each pixel, -1 for the sky; (H, W)."""
    horizon: float
    """The row of the highest of the far hills."""


def build_terrain(
    rng: Rng, height: int, width: int, *, layers: int, horizon: float, nearest_far: float, autumn: bool
) -> Terrain:
    """Hills below the row `horizon`: `layers` ranges, each nearer, rougher and darker than the one behind.

    `nearest_far` is how near (0..1) the farthest range is.
    """
    # Half as large again as the picture: each range of hills shows another part of it.
    relief = fractal_noise(rng, height * 3 // 2, width * 3 // 2, cell=height * 0.28, octaves=5, gain=0.55)
    ranges = tuple(
        _build_layer(rng, _window(rng, relief, height, width), horizon, nearness, autumn=autumn)
        for nearness in np.linspace(nearest_far, 1, layers)
    )
    owner = np.full((height, width), -1, np.float32)
    for index, layer in enumerate(ranges):
        owner[layer.coverage > 0.5] = index
    return Terrain(ranges, owner, float(ranges[0].ridge.min()))


def _window(rng: Rng, field: Field, height: int, width: int) -> Field:
    top, left = rng.integers(0, [field.shape[0] - height, field.shape[1] - width], endpoint=True)
    return field[top : top + height, left : left + width]


def _build_layer(rng: Rng, relief: Field, horizon: float, nearness: float, *, autumn: bool) -> Layer:
    height, width = relief.shape
    profile = ridge_line(rng, width, wavelength=width * rng.uniform(0.25, 0.6), octaves=7, gain=0.48)
    base = horizon + (height - horizon) * (0.12 + 0.62 * nearness**1.3)
    ridge = base - profile * height * rng.uniform(0.10, 0.22)
    ridge -= tree_line(rng, width, spacing=1.5 + height * 0.022 * nearness) * height * 0.05 * nearness**2
    rows = np.arange(height, dtype=np.float32)[:, None]
    coverage = np.clip(rows - ridge[None, :] + 0.5, 0, 1)
    albedo = _albedo(rng, relief, nearness, autumn=autumn)
    return Layer(ridge.astype(np.float32), coverage, albedo, float(1 - 0.93 * nearness**0.7))


def _albedo(rng: Rng, relief: Field, nearness: float, *, autumn: bool) -> Canvas:
    """Forest with meadows (or rock, far away) where the relief says so, roughened by tree crowns."""
    height, width = relief.shape
    open_ground = MEADOW if nearness > 0.3 or rng.random() < 0.5 else ROCK
    wood = smoothstep(0.5, 0.62, relief + rng.uniform(-0.05, 0.22))
    flat = np.broadcast_to(np.asarray(open_ground, np.float32), (height, width, 3))
    albedo = mix(flat, np.asarray(FOREST, np.float32), wood)
    crowns = _crowns(rng, height, width, cell=height * (0.012 + 0.03 * nearness))
    if autumn and nearness > 0.2:
        tint = np.asarray(AUTUMN[int(rng.integers(len(AUTUMN)))], np.float32)
        albedo = mix(albedo, tint, 0.8 * wood * smoothstep(0.62, 0.75, crowns))
    slope = shifted(relief, 0, height // 40) - relief
    contrast = 0.35 + 0.75 * nearness
    light = 1 + contrast * (crowns - 0.5) * (0.35 + 0.65 * wood) + 2.2 * slope
    return unit(albedo * light[..., None])


def _crowns(rng: Rng, height: int, width: int, cell: float) -> Field:
    """Tree crowns `cell` pixels wide, with finer twigs: (H, W) in about 0..1."""
    cell = max(1.0, cell)
    coarse = enlarge(rng.random((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32), height, width)
    return 0.6 * coarse + np.float32(0.4) * rng.random((height, width), dtype=np.float32)


def paint_terrain(sky: Canvas, terrain: Terrain, light: Light, rng: Rng, *, fog: float) -> Canvas:
    """The hills over `sky` (H, W, 3), faded by distance; `fog` (0..1) lies in the valleys between them."""
    height, width = sky.shape[:2]
    canvas = sky.copy()
    shadow = 1 - 0.3 * fractal_noise(rng, height, width, cell=height * 0.6, octaves=2, stretch=2)
    for layer in terrain.layers:
        below = slice(max(0, int(layer.ridge.min()) - 1), height)
        lit = layer.albedo[below] * np.asarray(light.sun, np.float32) * shadow[below, :, None]
        depth = np.arange(height, dtype=np.float32)[below, None] - layer.ridge[None, :]
        # The foot of a hill is seen through more of the valley's air than its top.
        thickness = light.haze * layer.distance * (0.8 + 1.2 * np.clip(depth / (0.25 * height), 0, 1))
        veiled = mix(lit, np.asarray(light.air, np.float32), 1 - np.exp(-thickness))
        canvas[below] = mix(canvas[below], veiled, layer.coverage[below])
        if fog > 0 and layer.distance > 0.15:
            canvas = _fog_bank(canvas, layer, light, rng, fog)
    return canvas


def _fog_bank(canvas: Canvas, layer: Layer, light: Light, rng: Rng, fog: float) -> Canvas:
    """A level, soft-topped bank in the valley before one layer."""
    height, width = canvas.shape[:2]
    noise = fractal_noise(rng, height, width, cell=height * 0.2, octaves=4, stretch=4)
    level = float(np.median(layer.ridge)) + height * rng.uniform(0.04, 0.1)
    depth = np.arange(height, dtype=np.float32)[:, None] - level + height * 0.12 * (noise - 0.5)
    alpha = smoothstep(0.0, 0.05 * height, depth) * fog * smoothstep(0.15, 0.7, noise)
    colour = np.minimum(1.0, np.asarray(light.horizon, np.float32) * 0.9 + 0.1 * light.brightness)
    return mix(canvas, colour.astype(np.float32), alpha * layer.coverage)
