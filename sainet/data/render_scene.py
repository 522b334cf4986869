"""Where and when a demo image is taken: its random streams, its camera, its light, its landscape."""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np

from sainet.data import render_clutter as clutter
from sainet.data.render_noise import Canvas, Rng, unit
from sainet.data.render_sky import Light, add_clouds, draw_light, paint_sky
from sainet.data.render_terrain import Terrain, build_terrain, paint_terrain

SPLITS = ("train", "val")
STAGE2_CAMERAS = {"train": 8, "val": 4}

STAGE1_LIGHT = {
    "clear": 0.34,
    "hazy": 0.16,
    "overcast": 0.16,
    "morning": 0.14,
    "sunset": 0.08,
    "dusk": 0.06,
    "night": 0.06,
}
STAGE2_LIGHT = {"clear": 0.36, "hazy": 0.22, "overcast": 0.18, "morning": 0.15, "sunset": 0.06, "dusk": 0.03}


class Purpose(IntEnum):
    """What a random stream is for: a stream of its own for each keeps them independent of one another."""

    VIEW = 0
    LIGHT = 1
    CLUTTER = 2
    OBJECTS = 3
    SENSOR = 4


@dataclass(frozen=True)
class Shot:
    """Names one image: everything in it follows from these values."""

    seed: int
    stage: int
    split: str
    index: int
    width: int
    height: int

    @property
    def view(self) -> int:
        """What shares a background: the camera in stage 2, the image itself in stage 1."""
        return self.index % STAGE2_CAMERAS[self.split] if self.stage == 2 else self.index

    @property
    def camera(self) -> int:
        """The number of the stage 2 camera, counted over both splits."""
        return self.view + (0 if self.split == "train" else STAGE2_CAMERAS["train"])

    @property
    def is_negative(self) -> bool:
        """Every seventh image of stage 1; of stage 2 every fourth, and every fourth of each camera."""
        if self.stage == 1:
            return self.index % 7 == 3
        return (self.view + self.index // STAGE2_CAMERAS[self.split]) % 4 == 3

    def stream(self, purpose: Purpose) -> Rng:
        index = self.view if purpose is Purpose.VIEW else self.index
        return np.random.default_rng([self.seed, self.stage, SPLITS.index(self.split), purpose, index])


@dataclass(frozen=True)
class Scene:
    """A landscape without fire or smoke: `canvas` is (H, W, 3)."""

    canvas: Canvas
    terrain: Terrain
    light: Light
    close: bool
    """The camera stands near the ground and the fire, not on a mountain top."""


def paint_scene(shot: Shot) -> Scene:
    """The background of `shot`, with its weather and everything that may be taken for fire or smoke."""
    terrain, close = _view(shot)
    rng = shot.stream(Purpose.LIGHT)
    light = draw_light(rng, STAGE1_LIGHT if shot.stage == 1 else STAGE2_LIGHT)
    sky = paint_sky(light, shot.height, shot.width, terrain.horizon + 0.1 * shot.height)
    if rng.random() < 0.65:
        sky = add_clouds(sky, rng, light, terrain.horizon + 0.1 * shot.height, cover=rng.uniform(0.15, 0.9))
    fog = rng.uniform(0.35, 0.85) if not close and rng.random() < 0.2 else 0.0
    canvas = paint_terrain(sky, terrain, light, rng, fog=fog)
    return Scene(_cluttered(canvas, terrain, light, shot), terrain, light, close)


def _cluttered(canvas: Canvas, terrain: Terrain, light: Light, shot: Shot) -> Canvas:
    # A village and a lake belong to the view; dust and the sun come and go.
    view, moment = shot.stream(Purpose.VIEW).spawn(1)[0], shot.stream(Purpose.CLUTTER)
    if view.random() < 0.35:
        canvas = clutter.add_village(canvas, terrain, light, view)
    if view.random() < 0.25:
        canvas = clutter.add_lake(canvas, terrain, light, view)
    if moment.random() < 0.12:
        canvas = clutter.add_dust(canvas, terrain, light, moment)
    if light.brightness > 0.4 and moment.random() < 0.15:
        canvas = clutter.add_glare(canvas, light, terrain.horizon, moment)
    return unit(canvas)


def _view(shot: Shot) -> tuple[Terrain, bool]:
    split, view = SPLITS.index(shot.split), shot.view
    return _cached_view(shot.seed, shot.stage, split, view, shot.width, shot.height)


@lru_cache(maxsize=max(STAGE2_CAMERAS.values()))
def _cached_view(seed: int, stage: int, split: int, view: int, width: int, height: int) -> tuple[Terrain, bool]:
    rng = np.random.default_rng([seed, stage, split, Purpose.VIEW, view])
    close = stage == 1 and bool(rng.random() < 0.45)
    layers = int(rng.integers(2, 4)) if close else int(rng.integers(4, 7))
    horizon = height * (rng.uniform(0.25, 0.5) if close else rng.uniform(0.3, 0.5))
    autumn = bool(rng.random() < 0.25)
    nearest_far = 0.45 if close else 0.0
    terrain = build_terrain(rng, height, width, layers=layers, horizon=horizon, nearest_far=nearest_far, autumn=autumn)
    return terrain, close
