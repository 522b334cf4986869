"""What burns in a demo image: where, how large, how dense; and the tight box around what can be seen of it."""

from dataclasses import dataclass, replace

import numpy as np

from sainet.data.render_clutter import site_on
from sainet.data.render_fire import Fire, draw_fire, glow
from sainet.data.render_noise import Canvas, Field, Rng, mix, soften
from sainet.data.render_scene import Purpose, Scene, Shot
from sainet.data.render_smoke import Drawn, Plume, draw_smoke

FIRE, SMOKE = "fire", "smoke"

# The change of a colour channel (0..1) from which a pixel counts as seen; sensor noise is a third of it or less.
VISIBLE = {FIRE: 0.15, SMOKE: 0.05}
# Half of what is seen of an object must change by this much, or nobody would see it.
PLAIN = {FIRE: 0.25, SMOKE: 0.085}
# Wisps beyond the box may hold this share of all that is seen, on each side.
STRAY = 0.004
# An object must be seen this wide and high, as a share of the image's height, and fill this much of its box.
MIN_SIDE, MIN_FILL = 0.028, 0.12
ATTEMPTS = 16

# Colour in full light, and how often: wood, grass, damp fuel; soil and peat; oil, tyres and buildings.
SMOKES = ((0.95, 0.95, 0.96), (0.76, 0.76, 0.78), (0.58, 0.50, 0.43), (0.24, 0.23, 0.23))
SMOKE_ODDS = (0.42, 0.33, 0.15, 0.10)


@dataclass(frozen=True)
class Box:
    """What is seen of one object, in pixels; right and bottom are exclusive."""

    label: str
    left: int
    top: int
    right: int
    bottom: int


def add_objects(scene: Scene, shot: Shot) -> tuple[Canvas, tuple[Box, ...]]:
    """`scene` with the fires and plumes of `shot`, as (H, W, 3), and a box for each."""
    canvas, boxes = scene.canvas, list[Box]()
    if shot.is_negative:
        return canvas, ()
    rng = shot.stream(Purpose.OBJECTS)
    wanted = 2 if rng.random() < 0.15 else 1
    wind = rng.normal(0, 0.7 if shot.stage == 1 else 1.1)
    for _ in range(ATTEMPTS):
        changed, found = (_stage1_object if shot.stage == 1 else _stage2_object)(canvas, scene, wind, rng)
        if found and not any(_overlap(new, old) for new in found for old in boxes):
            canvas, boxes, wanted = changed, boxes + found, wanted - 1
        if not wanted:
            break
    return canvas, tuple(boxes)


def _overlap(one: Box, other: Box) -> bool:
    """Whether one would hide part of the other, and make its box too large."""
    beside = one.right <= other.left or other.right <= one.left
    return not (beside or one.bottom <= other.top or other.bottom <= one.top)


def _stage1_object(canvas: Canvas, scene: Scene, wind: float, rng: Rng) -> tuple[Canvas, list[Box]]:
    """A fire, a plume, or both at one spot: near ones tower over the picture, far ones are small."""
    nearest = len(scene.terrain.layers) - 1
    site = site_on(scene.terrain, rng, nearest, max(0, nearest - 1) if scene.close else 0)
    if site is None:
        return canvas, []
    x, y, layer = site
    height = canvas.shape[0]
    low, high = ((0.45, 1.0), (0.25, 0.45), (0.1, 0.25))[int(rng.choice(3, p=(0.62, 0.27, 0.11)))]
    size = height * rng.uniform(low, high)
    kind = rng.choice(3, p=(0.5, 0.25, 0.25))
    distance = scene.terrain.layers[layer].distance
    fire = _draw_fire_at(x, y, size * rng.uniform(0.25, 0.55) * (1 - 0.85 * distance), wind, rng)
    plume = _draw_plume(x, y, size, wind, rng, depth=rng.uniform(1.6, 5.0))
    boxes = list[Box]()
    if kind != 2:
        if kind == 0:
            plume = _widened(plume, fire)
        canvas, boxes = _lay_smoke(canvas, scene, plume, layer, rng)
    if kind != 1:
        canvas, flames = _lay_fire(canvas, scene, fire, layer, rng)
        boxes += flames
    return canvas, boxes


def _stage2_object(canvas: Canvas, scene: Scene, wind: float, rng: Rng) -> tuple[Canvas, list[Box]]:
    """A small, far, thin plume, as a mountain-top camera should find it: minutes old."""
    site = site_on(scene.terrain, rng, len(scene.terrain.layers) - 2, 0)
    if site is None:
        return canvas, []
    x, y, layer = site
    size = canvas.shape[0] * float(np.exp(rng.uniform(np.log(0.15), np.log(0.65))))
    plume = _draw_plume(x, y + 0.05 * size, size, wind, rng, depth=rng.uniform(0.9, 3.2))
    return _lay_smoke(canvas, scene, plume, layer, rng)


def _draw_fire_at(x: float, y: float, size: float, wind: float, rng: Rng) -> Fire:
    return Fire(x, y, size * rng.uniform(0.7, 2.4), size, wind * size * rng.uniform(0.2, 0.6))


def _draw_plume(x: float, y: float, size: float, wind: float, rng: Rng, depth: float) -> Plume:
    strength = wind + rng.normal(0, 0.2)
    return Plume(
        x=x,
        y=y,
        rise=size / np.sqrt(1 + 0.25 * strength**2),
        drift=size * strength,
        base=size * rng.uniform(0.015, 0.05),
        spread=size * rng.uniform(0.13, 0.28),
        depth=depth,
        grey=SMOKES[int(rng.choice(len(SMOKES), p=SMOKE_ODDS))],
    )


def _widened(plume: Plume, fire: Fire) -> Plume:
    """The plume that the whole of `fire` sends up."""
    base = max(plume.base, 0.25 * fire.width)
    return replace(plume, base=base, spread=max(plume.spread, 1.5 * base), rise=max(plume.rise, 1.6 * fire.width))


def _lay_smoke(canvas: Canvas, scene: Scene, plume: Plume, layer: int, rng: Rng) -> tuple[Canvas, list[Box]]:
    drawn = draw_smoke(plume, scene.light, rng, *canvas.shape[:2])
    # The air in front of a far plume takes its contrast, as it does with the hill it stands on.
    veil = np.exp(-0.6 * scene.light.haze * scene.terrain.layers[layer].distance)
    colour = drawn.colour * veil + np.asarray(scene.light.air, np.float32) * (1 - veil)
    return _lay(canvas, Drawn(colour, _unhidden(drawn.alpha, scene, layer)), SMOKE)


def _lay_fire(canvas: Canvas, scene: Scene, fire: Fire, layer: int, rng: Rng) -> tuple[Canvas, list[Box]]:
    drawn = draw_fire(fire, rng, *canvas.shape[:2])
    drawn = replace(drawn, alpha=_unhidden(drawn.alpha, scene, layer))
    strength = 0.25 + 0.9 * max(0.0, 0.8 - scene.light.brightness)
    lit = glow(canvas, drawn, max(2.0, 0.35 * fire.height), strength)
    changed, boxes = _lay(lit, drawn, FIRE)
    return (changed, boxes) if boxes else (canvas, [])


def _unhidden(alpha: Field, scene: Scene, layer: int) -> Field:
    """Nearer hills stand before what burns on `layer`."""
    return alpha * (scene.terrain.owner <= layer)


def _lay(canvas: Canvas, drawn: Drawn, label: str) -> tuple[Canvas, list[Box]]:
    """`drawn` over `canvas` with its box; `canvas` as it was when next to nothing of it would be seen."""
    changed = mix(canvas, drawn.colour, drawn.alpha)
    # What changes single pixels only, up here and down there, is lost in the lens: nobody can see it.
    change = np.abs(soften(changed - canvas))
    box = box_of(np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2]), label)
    return (changed, [box]) if box else (canvas, [])


def box_of(difference: Field, label: str) -> Box | None:
    """The tight box of a visible change (H, W) in 0..1; None when too little of it can be seen."""
    seen = np.where(difference > VISIBLE[label], difference, 0)
    if not seen.any():
        return None
    top, bottom = _extent(seen.sum(axis=1))
    left, right = _extent(seen.sum(axis=0))
    side = MIN_SIDE * difference.shape[0]
    fill = np.count_nonzero(seen[top:bottom, left:right]) / ((bottom - top) * (right - left))
    faint = float(np.median(seen[seen > 0])) < PLAIN[label]
    if faint or min(bottom - top, right - left) < side or fill < MIN_FILL:
        return None
    return Box(label, left, top, right, bottom)


def _extent(profile: Field) -> tuple[int, int]:
    """First and last + 1 index of `profile` between which all but the stray share of its sum lies."""
    share = np.cumsum(profile) / profile.sum()
    return int(np.searchsorted(share, STRAY, side="right")), int(np.searchsorted(share, 1 - STRAY)) + 1
