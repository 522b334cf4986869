"""The light of a time of day, and the sky that comes with it."""

from dataclasses import dataclass, replace

import numpy as np

from sainet.data.render_noise import Canvas, Rng, fractal_noise, mix, shifted, smoothstep, unit

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A time of day and its weather. Colours are in 0..1, as displayed."""

    zenith: Colour
    horizon: Colour
    sun: Colour
    """Multiplies what the sun falls on."""
    haze: float
    """Extinction per unit of distance; the farthest hills are at distance 1."""
    side: float = 1.0
    """Where the light comes from: -1 from the left, +1 from the right."""

    @property
    def air(self) -> Colour:
        """What distance turns everything into."""
        red, green, blue = (0.68 * low + 0.32 * high for low, high in zip(self.horizon, self.zenith, strict=True))
        return red, green, blue

    @property
    def brightness(self) -> float:
        return float(np.mean(self.sun))


LIGHTS: dict[str, Light] = {
    "clear": Light((0.27, 0.47, 0.76), (0.74, 0.83, 0.91), (1.0, 0.98, 0.92), 1.0),
    "hazy": Light((0.50, 0.62, 0.76), (0.82, 0.85, 0.87), (0.92, 0.91, 0.88), 1.9),
    "overcast": Light((0.60, 0.63, 0.67), (0.76, 0.78, 0.80), (0.70, 0.72, 0.75), 1.4),
    "morning": Light((0.38, 0.54, 0.76), (0.93, 0.84, 0.72), (0.95, 0.86, 0.72), 1.6),
    "sunset": Light((0.33, 0.30, 0.46), (0.95, 0.50, 0.25), (0.72, 0.47, 0.36), 1.1),
    "dusk": Light((0.13, 0.17, 0.30), (0.45, 0.40, 0.45), (0.33, 0.33, 0.42), 1.1),
    "night": Light((0.03, 0.04, 0.08), (0.09, 0.10, 0.15), (0.12, 0.13, 0.18), 0.8),
}


def draw_light(rng: Rng, odds: dict[str, float]) -> Light:
    """One of `LIGHTS`, drawn with the given odds and changed a little."""
    light = LIGHTS[str(rng.choice(list(odds), p=list(odds.values())))]
    gain = rng.uniform(0.88, 1.08)
    return replace(
        light,
        zenith=_scaled(light.zenith, gain),
        horizon=_scaled(light.horizon, gain),
        sun=_scaled(light.sun, gain),
        haze=light.haze * rng.uniform(0.6, 1.4),
        side=float(rng.choice([-1.0, 1.0])),
    )


def _scaled(colour: Colour, gain: float) -> Colour:
    red, green, blue = (min(1.0, channel * gain) for channel in colour)
    return red, green, blue


def paint_sky(light: Light, height: int, width: int, horizon: float) -> Canvas:
    """The gradient from zenith to horizon (a row), shape (H, W, 3)."""
    rise = np.clip(1 - np.arange(height, dtype=np.float32) / max(1.0, horizon), 0, 1) ** 0.75
    column = np.outer(rise, light.zenith) + np.outer(1 - rise, light.horizon)
    return np.broadcast_to(column[:, None, :], (height, width, 3)).astype(np.float32)


def add_clouds(sky: Canvas, rng: Rng, light: Light, horizon: float, cover: float) -> Canvas:
    """Clouds over `sky` (H, W, 3): flatter and smaller towards the horizon. `cover` is 0..1."""
    height, width = sky.shape[:2]
    noise = fractal_noise(rng, height, width, cell=height * rng.uniform(0.25, 0.5), octaves=5, stretch=2.2)
    nearing = np.clip(np.arange(height) / max(1.0, horizon), 0, 1)
    noise = noise[((0.7 * nearing + 0.3 * nearing**3) * (height - 1)).astype(np.int64)]
    edge = 0.85 - 0.6 * cover
    alpha = smoothstep(edge, edge + rng.uniform(0.15, 0.4), noise) * rng.uniform(0.6, 0.95)
    lit = np.clip(0.9 + 2.0 * (noise - shifted(noise, height // 36, 0)), 0.6, 1.1)
    colour = (0.35 * np.asarray(light.horizon) + 0.65 * np.asarray(light.sun)) * lit[..., None]
    return mix(sky, unit(colour), alpha)
