"""The images of sainet's own engine: every sample a pure function of the seed and of its `Sample`, at any shape."""

from copy import copy
from typing import Any

import cv2
import numpy as np
from ultralytics.utils.patches import imread

from sainet.engine.dataset import StageDataset, undecodable
from sainet.engine.order import Sample
from sainet.engine.randomness import Purpose, seeded
from sainet.engine.rectangle import make_rectangular
from sainet.geometry import Shape, fit_inside

Loaded = tuple[np.ndarray, tuple[int, int], tuple[int, int]]
"""An image (H, W, 3) uint8 BGR resized to fit, its height and width in the file, and those it has now."""


class SampledDataset(StageDataset):
    """A split at a fixed `shape` (height, width). Training asks with a `Sample`, validation with an index.

    From `close_epoch` on there is no mosaic, mixup or cutmix. Nothing depends on what was asked before: Ultralytics'
    buffer of recent images, from which mosaics take their partners, is the sample's own group instead, whose decoded
    images are kept until a sample of another group comes.
    """

    transforms: Any

    def __init__(
        self, *args: Any, shape: tuple[int, int], seed: int, close_epoch: int, hyp: Any, **kwargs: Any
    ) -> None:
        self.shape, self.seed, self.close_epoch = shape, seed, close_epoch
        self._group: tuple[int, ...] = ()
        self._kept: dict[int, Loaded] = {}
        super().__init__(*args, hyp=hyp, **kwargs)
        self._open = self._closed = self.transforms
        if self.augment:
            plain = copy(hyp)
            plain.mosaic = plain.copy_paste = plain.mixup = plain.cutmix = 0.0
            self._closed = self.build_transforms(plain)

    @property
    def canvas(self) -> Shape:
        return self.shape

    def __getitem__(self, index: Sample | int) -> dict[str, Any]:
        if isinstance(index, int):
            image, streams = index, seeded(self.seed, Purpose.VALIDATION, index)  # it draws too, and makes no use of it
        else:
            self._enter(index)
            self.transforms = self._closed if index.epoch >= self.close_epoch else self._open
            image, streams = index.image, seeded(self.seed, Purpose.SAMPLE, index.epoch, index.image)
        with streams:
            sample: dict[str, Any] = super().__getitem__(image)
        return sample

    def _enter(self, sample: Sample) -> None:
        if sample.group != self._group:
            self._group, self._kept = sample.group, {}
        # Mosaic draws its partners from here; a set of one image has none but itself.
        self.buffer = [image for image in sample.group if image != sample.image] or [sample.image]

    def build_transforms(self, hyp: Any) -> Any:
        """Ultralytics' augmentation, or its letterbox, for the canvas of `shape`."""
        transforms = super().build_transforms(hyp)
        if not self.rect:
            make_rectangular(transforms, self.shape)
        return transforms

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> Loaded:
        """Image number `i`, resized to fit into `shape` with its aspect kept."""
        del rect_mode, resize_short  # upstream's other ways to resize are those of other tasks
        if self.ims[i] is not None:  # cache: ram
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        if i in self._kept:
            return self._kept[i]
        image = self._decoded(i)
        before = image.shape[0], image.shape[1]
        height, width = fit_inside(*before, self.shape)
        if (height, width) != before:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        loaded = image, before, (height, width)
        if i in self._group:
            self._kept[i] = loaded
        return loaded

    def _decoded(self, i: int) -> np.ndarray:
        """The image as it is in the file, (H, W, 3) uint8 BGR. Raises `DataError` when it does not decode."""
        if self.cache == "disk":
            try:
                cached: np.ndarray = np.load(self.npy_files[i])
                return cached
            except (OSError, ValueError, EOFError):  # a kill or a full disk in the middle of writing it
                self.npy_files[i].unlink(missing_ok=True)
        image: np.ndarray | None = imread(self.im_files[i], flags=self.cv2_flag)
        if image is None:
            raise undecodable(self.im_files[i])
        return image
