"""Ultralytics' augmentation for a canvas of any (height, width): upstream's mosaic and load size are square."""

import random
from typing import Any

import numpy as np
from ultralytics.data.augment import Albumentations, BaseMixTransform, Compose, LetterBox, Mosaic, RandomPerspective

from sainet.geometry import Shape

_PADDING = 114
"""Upstream's grey, for what no image covers."""


def make_rectangular(transforms: Compose, shape: Shape) -> None:
    """Change what `YOLODataset.build_transforms` returned, in place, so that every image leaves it at `shape`.

    For a square nothing changes but that Albumentations is left out: its randomness is not under the run's seed,
    and upstream uses it only where it happens to be installed.
    """
    height, width = shape
    steps = [step for step in transforms.tolist() if not isinstance(step, Albumentations)]
    for place, step in enumerate(steps):
        if isinstance(step, Mosaic):
            steps[place] = RectangleMosaic(step.dataset, shape, step.p)
        elif isinstance(step, RandomPerspective):
            step.size = width, height
        elif isinstance(step, LetterBox):
            step.new_shape = shape
        # MixUp, CutMix and CopyPaste bring the images that they mix in through steps of their own, often shared.
        for inner in (step, getattr(step, "pre_transform", None)):
            if isinstance(inner, Compose):
                make_rectangular(inner, shape)
    transforms.transforms = steps


class RectangleMosaic(Mosaic):  # type: ignore[misc]  # ultralytics has no types
    """Four images around a random centre, on a canvas of twice `shape`.

    For a square it is upstream's mosaic of the same four images, bit for bit, from the same random numbers.
    """

    def __init__(self, dataset: Any, shape: Shape, p: float) -> None:
        super().__init__(dataset, imgsz=max(shape), p=p, n=4)
        self.shape = shape

    def get_indexes(self) -> list[int]:
        """Three different partners out of `dataset.buffer`, where it has as many.

        Upstream draws them with replacement, from a buffer that is longer than a sample's group is here; and from all
        images when they are cached in RAM, so that a cache would change the training.
        """
        partners = list(self.dataset.buffer)
        return random.sample(partners, 3) if len(partners) >= 3 else random.choices(partners, k=3)

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Upstream's parameters with a `layout`: where each image, `labels` first, lies on the canvas."""
        params: dict[str, Any] = BaseMixTransform.get_params(self, labels)
        y, x = (int(random.uniform(side / 2, side * 3 / 2)) for side in self.shape)
        params["layout"] = [
            self._placed(patch, y, x, above=number < 2, left=number % 2 == 0)
            for number, patch in enumerate([labels, *params["mix_labels"]])
        ]
        return params

    def _placed(self, patch: dict[str, Any], y: int, x: int, *, above: bool, left: bool) -> dict[str, Any]:
        """One image with a corner at the centre (y, x), in upstream's words: `a` on the canvas, `b` in the image."""
        h, w = patch["resized_shape"]
        top, start = y - h if above else y, x - w if left else x
        y1, y2 = max(top, 0), min(top + h, 2 * self.shape[0])
        x1, x2 = max(start, 0), min(start + w, 2 * self.shape[1])
        on_canvas = {"y1a": y1, "y2a": y2, "x1a": x1, "x2a": x2}
        in_image = {"y1b": y1 - top, "y2b": y2 - top, "x1b": x1 - start, "x2b": x2 - start}
        return {"labels_patch": patch, "padh": top, "padw": start, "img_shape": (h, w), **on_canvas, **in_image}

    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Paste the four images onto a canvas of (2 x height, 2 x width, channels)."""
        assert params is not None
        height, width = self.shape
        canvas = np.full((2 * height, 2 * width, labels["img"].shape[2]), _PADDING, dtype=np.uint8)
        for at in params["layout"]:
            piece = at["labels_patch"]["img"][at["y1b"] : at["y2b"], at["x1b"] : at["x2b"]]
            canvas[at["y1a"] : at["y2a"], at["x1a"] : at["x2a"]] = piece
        labels["img"] = canvas
        return labels

    def _cat_labels(self, mosaic_labels: list[dict[str, Any]]) -> dict[str, Any]:
        """Upstream's list of all boxes, which it clipped to the square around the canvas, clipped to the canvas."""
        labels: dict[str, Any] = super()._cat_labels(mosaic_labels)
        height, width = 2 * self.shape[0], 2 * self.shape[1]
        labels["resized_shape"] = height, width
        labels["instances"].clip(width, height)
        labels["cls"] = labels["cls"][labels["instances"].remove_zero_area_boxes()]
        return labels
