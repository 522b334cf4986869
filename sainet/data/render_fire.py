"""Flames: tongues of hot gas over a burning line, and the glow they throw on everything around."""

from dataclasses import dataclass

import numpy as np

from sainet.data.render_noise import Canvas, Field, Rng, Splats, blur, fractal_noise, smoothstep, unit
from sainet.data.render_smoke import Drawn

PUFFS_PER_TONGUE = 14

# Heat against colour, as a camera that is exposed for daylight sees it.
HEAT = (0.0, 0.3, 0.55, 0.85, 1.25)
RED = (0.45, 0.80, 0.98, 1.00, 1.00)
GREEN = (0.05, 0.16, 0.45, 0.80, 0.96)
BLUE = (0.02, 0.03, 0.06, 0.25, 0.75)


@dataclass(frozen=True)
class Fire:
    """A burning line; lengths in pixels, (x, y) the middle of its foot."""

    x: float
    y: float
    width: float
    height: float
    lean: float
    """How far the wind pushes the tips, positive to the right."""


def draw_fire(fire: Fire, rng: Rng, height: int, width: int) -> Drawn:
    """`fire` as (height, width) colour and alpha; the glow is not part of it (see `glow`)."""
    tongues = _tongues(fire, rng)
    field = tongues.density(height, width)
    cell = max(3.0, 0.35 * fire.height)
    flicker = fractal_noise(rng, height, width, cell=cell, octaves=4, gain=0.6, stretch=0.5)
    core = float(np.percentile(tongues.density_at(tongues.x, tongues.y), 80))
    heat = field / core * (0.25 + 1.3 * flicker)
    # Flames stand on uneven ground: nothing of them hangs below their foot.
    ground = fire.y + 0.16 * fire.height * (flicker - 0.4) - np.arange(height, dtype=np.float32)[:, None]
    alpha = smoothstep(0.16, 0.42, heat) * smoothstep(-1.0, 1.5, ground)
    colour = np.stack([np.interp(heat, HEAT, channel) for channel in (RED, GREEN, BLUE)], axis=-1)
    return Drawn(colour.astype(np.float32), alpha * 0.96)


def _tongues(fire: Fire, rng: Rng) -> Splats:
    count = int(np.clip(3 + 4 * fire.width / fire.height, 3, 24))
    foot = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count - 0.5
    tall = fire.height * (1 - 1.6 * foot**2) * rng.uniform(0.3, 1.0, count)
    tall[rng.integers(count)] = fire.height
    along = np.linspace(0, 1, PUFFS_PER_TONGUE)[None, :]
    sway = np.sin(along * rng.uniform(3, 7, (count, 1)) + rng.uniform(0, 6.3, (count, 1)))
    x = fire.x + foot[:, None] * fire.width + fire.lean * along**1.4 * tall[:, None] / fire.height
    x = x + sway * 0.12 * tall[:, None] * along
    y = fire.y - tall[:, None] * along
    thick = np.maximum(0.8, 0.16 * tall + 0.25 * fire.width / count)[:, None]
    radius = thick * (1 - along) ** 0.6 + 0.12 * thick
    weight = 1 - 0.5 * along + 0 * tall[:, None]
    return Splats(*(array.astype(np.float32).ravel() for array in (x, y, radius, weight)))


def glow(canvas: Canvas, fire: Drawn, spread: float, strength: float) -> Canvas:
    """Firelight added to `canvas` (H, W, 3): near and bright, far and faint. `spread` is in pixels."""
    near, far = blur(fire.alpha, spread), _twice(fire.alpha, 2.5 * spread)
    light = strength * (0.7 * near + 0.9 * far)
    return unit(canvas + light[..., None] * np.asarray((1.0, 0.42, 0.10)))


def _twice(field: Field, radius: float) -> Field:
    """Blurred twice, so that the box of the blur does not show."""
    return blur(blur(field, radius), radius)
