"""What is taken for fire or smoke and is neither: glare, red roofs, glittering water, dust."""

import numpy as np
from numpy.typing import NDArray

from sainet.data.render_noise import Canvas, Rng, mix, smoothstep
from sainet.data.render_sky import Light
from sainet.data.render_smoke import Plume, draw_smoke
from sainet.data.render_terrain import Terrain

ROOFS = ((0.62, 0.22, 0.14), (0.72, 0.34, 0.20), (0.55, 0.16, 0.12))
DUST = (0.80, 0.68, 0.50)


def site_on(terrain: Terrain, rng: Rng, nearest: int, farthest: int) -> tuple[int, int, int] | None:
    """A visible point (x, y, layer) on one of the layers `farthest`..`nearest`, away from the sides."""
    owner = terrain.owner.copy()
    margin = owner.shape[1] // 10
    owner[:, :margin] = owner[:, -margin:] = -1
    layers = [index for index in range(farthest, nearest + 1) if np.any(owner == index)]
    if not layers:
        return None
    layer = int(rng.choice(layers))
    y, x = divmod(int(rng.choice(np.flatnonzero(owner == layer))), owner.shape[1])
    return x, y, layer


def add_village(canvas: Canvas, terrain: Terrain, light: Light, rng: Rng) -> Canvas:
    """A few houses with red roofs on a hill of the middle distance."""
    site = site_on(terrain, rng, len(terrain.layers) - 1, 1)
    if site is None:
        return canvas
    x, y, layer = site
    canvas = canvas.copy()
    size = canvas.shape[0] * (0.045 - 0.025 * terrain.layers[layer].distance)
    for _ in range(int(rng.integers(3, 12))):
        wide, high = size * rng.uniform(0.7, 1.6), size * rng.uniform(0.4, 0.7)
        left, top = x + rng.normal(0, 4 * size), y + rng.normal(0, 1.2 * size)
        tone = light.brightness * rng.uniform(0.85, 1.1)
        _fill(canvas, left, top, wide, high, np.asarray((0.86, 0.83, 0.76)) * tone)
        _fill(canvas, left, top - 0.6 * high, wide, 0.8 * high, np.asarray(ROOFS[rng.integers(3)]) * tone)
    return canvas


def _fill(canvas: Canvas, left: float, top: float, wide: float, high: float, colour: NDArray[np.float64]) -> None:
    rows = slice(max(0, round(top)), max(0, round(top + high)))
    columns = slice(max(0, round(left)), max(0, round(left + wide)))
    canvas[rows, columns] = colour


def add_lake(canvas: Canvas, terrain: Terrain, light: Light, rng: Rng) -> Canvas:
    """A lake between the hills: it mirrors the sky, and glitters where the sun stands."""
    site = site_on(terrain, rng, len(terrain.layers) - 1, 1)
    if site is None:
        return canvas
    x, y, layer = site
    height, width = canvas.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    long, short = width * rng.uniform(0.06, 0.2), height * rng.uniform(0.012, 0.035)
    # Water lies at the foot of its hill, just above the next ridge.
    foot = np.flatnonzero(terrain.owner[:, x] == layer).max(initial=y)
    y = max(y, foot - int(1.5 * short))
    shore = ((columns - x) / long) ** 2 + ((rows - y) / short) ** 2
    water = smoothstep(1.0, 0.7, shore) * (terrain.owner == layer)
    canvas = mix(canvas, 0.8 * np.asarray(light.horizon, np.float32), water)
    glitter = (rng.random((height, width)) > 0.8) * water * smoothstep(0.35, 0.0, np.abs(columns - x) / long)
    return mix(canvas, np.minimum(1, 1.2 * np.asarray(light.sun, np.float32)), glitter.astype(np.float32))


def add_dust(canvas: Canvas, terrain: Terrain, light: Light, rng: Rng) -> Canvas:
    """The low, flat trail of a vehicle on a dirt road."""
    site = site_on(terrain, rng, len(terrain.layers) - 1, 1)
    if site is None:
        return canvas
    x, y, layer = site
    height, width = canvas.shape[:2]
    tall = height * rng.uniform(0.02, 0.05)
    drift = float(rng.choice([-1, 1])) * tall * rng.uniform(3, 7)
    trail = Plume(x, y, 0.7 * tall, drift, 0.15 * tall, 0.5 * tall, rng.uniform(0.3, 0.8), DUST)
    drawn = draw_smoke(trail, light, rng, height, width)
    return mix(canvas, drawn.colour, drawn.alpha * (terrain.owner <= layer))


def add_glare(canvas: Canvas, light: Light, horizon: float, rng: Rng) -> Canvas:
    """The sun in the picture: a burnt-out disc, a halo, and ghosts on the line through the centre."""
    height, width = canvas.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = width * rng.uniform(0.1, 0.9), horizon * rng.uniform(0.15, 0.85)
    away = np.hypot(columns - x, rows - y) / height
    halo = 0.9 * np.exp(-((away / 0.03) ** 2)) + 0.35 * np.exp(-away / 0.16) + 0.12 * np.exp(-away / 0.6)
    warm = np.asarray(light.horizon, np.float32) * 0.5 + np.asarray((0.5, 0.46, 0.38), np.float32)
    canvas = canvas + halo[..., None] * warm
    for step in rng.uniform(0.5, 2.0, int(rng.integers(0, 4))):
        centre = x + (width / 2 - x) * step, y + (height / 2 - y) * step
        disc = np.hypot(columns - centre[0], rows - centre[1]) / (height * rng.uniform(0.02, 0.06))
        tint = rng.uniform(0.3, 1.0, 3).astype(np.float32)
        canvas = canvas + 0.13 * smoothstep(1.1, 0.9, disc)[..., None] * tint
    return canvas
