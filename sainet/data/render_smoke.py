"""Smoke: a column of puffs that rises, bends with the wind, widens and thins out."""

from dataclasses import dataclass

import numpy as np

from sainet.data.render_noise import Canvas, Field, Rng, Splats, blur, fractal_noise, shifted, smoothstep, unit
from sainet.data.render_sky import Light

PUFFS = 360


@dataclass(frozen=True)
class Plume:
    """A smoke plume; lengths in pixels. It may be longer than the picture is high."""

    x: float
    y: float
    rise: float
    drift: float
    """How far the wind has carried its end, positive to the right."""
    base: float
    """Radius at the fire."""
    spread: float
    """Radius at the end."""
    depth: float
    """Optical depth half-way up: 0.3 is thin, 3 hides what is behind it."""
    grey: tuple[float, float, float]
    """Colour in full light."""


@dataclass(frozen=True)
class Drawn:
    """Something to be laid over a canvas: colour (H, W, 3) and alpha (H, W), both in 0..1."""

    colour: Canvas
    alpha: Field


def draw_smoke(plume: Plume, light: Light, rng: Rng, height: int, width: int) -> Drawn:
    """`plume` as (height, width) colour and alpha, lit from `light.side`."""
    puffs, along = _puffs(plume, rng)
    middle = (along > 0.4) & (along < 0.6)
    scale = plume.depth / float(np.mean(puffs.density_at(puffs.x[middle], puffs.y[middle])))
    cell = max(6.0, plume.spread)
    billows = _billows(rng, height, width, cell)
    thickness = puffs.density(height, width) * scale * (0.1 + 2.2 * billows**1.5)
    # What is subtracted cuts the endless tail of the Gaussians: it gives the smoke an edge, frayed by the noise.
    alpha = 1 - np.exp(-np.maximum(0, thickness - 0.12 - 0.2 * (1 - billows)))
    # A wide foot lies on the ground, it does not reach into it.
    depth = np.arange(height, dtype=np.float32)[:, None] - plume.y
    alpha = (alpha * smoothstep(0.35 * plume.base + 2, -0.5 * plume.base, depth)).astype(np.float32)
    return Drawn(_shaded(plume, light, alpha, billows), alpha)


def _puffs(plume: Plume, rng: Rng) -> tuple[Splats, Field]:
    """The puffs and how far along the plume (0..1) each of them is."""
    along = np.sort(rng.random(PUFFS, dtype=np.float32))
    radius = plume.base + (plume.spread - plume.base) * along**0.85
    x, y = _centre_line(plume, along, rng)
    turbulence = rng.normal(0, 0.55, (2, PUFFS)) * radius
    size = radius * rng.uniform(0.25, 0.75, PUFFS)
    # The same mass spread over a growing disc, fading out at the end.
    weight = (1 - along) ** 0.9 * size**-1.5
    arrays = (x + turbulence[0], y + 0.8 * turbulence[1], size, weight)
    return Splats(*(array.astype(np.float32) for array in arrays)), along.astype(np.float32)


def _centre_line(plume: Plume, along: Field, rng: Rng) -> tuple[Field, Field]:
    """Buoyancy wins at first, the wind later: steep at the fire, flatter with height, meandering on the way."""
    slowing = rng.uniform(0.4, 1.7)
    climb = (1 - np.exp(-slowing * along)) / (1 - np.exp(-slowing))
    sway = np.sin(along * rng.uniform(5, 11) + rng.uniform(0, 6.3)) * 0.5 * plume.spread * along
    x = plume.x + plume.drift * along ** rng.uniform(1.1, 1.8) + sway
    y = plume.y - plume.rise * climb
    return x.astype(np.float32), y.astype(np.float32)


def _billows(rng: Rng, height: int, width: int, cell: float) -> Field:
    """Cauliflower-like noise in 0..1: round on top, sharp in the creases."""
    coarse = fractal_noise(rng, height, width, cell=cell, octaves=5, gain=0.6)
    creased = 1 - np.abs(2 * fractal_noise(rng, height, width, cell=cell * 0.6, octaves=4, gain=0.55) - 1)
    return (0.6 * coarse + 0.4 * creased).astype(np.float32, copy=False)


def _shaded(plume: Plume, light: Light, alpha: Field, billows: Field) -> Canvas:
    """Bright where the sun falls in, dark where the smoke itself stands before it."""
    step = max(1, round(0.5 * plume.spread))
    soft = blur(alpha.astype(np.float32), step)
    before = shifted(soft, step, -round(light.side * step))
    tone = np.clip(0.80 + 0.35 * (soft - before) + 0.7 * (billows - 0.5), 0.4, 1.15)
    daylight = 0.75 * np.asarray(light.sun) + 0.25 * np.asarray(light.horizon)
    colour = np.asarray(plume.grey) * daylight * tone[..., None]
    return unit(colour)
