"""Everything about a stage that its need of memory depends on, and nothing else: plain values, so that the budget is a
pure function of them and the nearest settings that fit can be searched for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from sainet.config.steps import accumulation
from sainet.geometry import Shape, fit_inside
from sainet.protocol import Engine, LoaderPlan

__all__ = ["Cache", "Images", "Workload"]

Cache = Literal[False, "ram", "disk"]


@dataclass(frozen=True)
class Images:
    """The images of one stage.

    - `train`, `val`: how many.
    - `sizes`: height and width in the files, of all of them or of an even sample.
    - `file_bytes`: of all images as they lie on the disk; None where nobody knows.
    - `source`: where these figures come from, for people.
    """

    train: int
    val: int
    sizes: Sequence[Shape]
    source: str
    file_bytes: int | None = None

    @property
    def total(self) -> int:
        return self.train + self.val

    @property
    def decoded_bytes(self) -> float:
        """Mean of one decoded image at full size: 3 channels of uint8."""
        return fmean(3 * height * width for height, width in self.sizes)

    def fitted_bytes(self, shape: Shape) -> float:
        """Mean of one image decoded and resized to fit into `shape`."""
        fitted = (fit_inside(height, width, shape) for height, width in self.sizes)
        return fmean(3 * height * width for height, width in fitted)


@dataclass(frozen=True)
class Workload:
    """One stage as it would run. `gpus` is 0 for a CPU; `batch` counts the images of all GPUs together."""

    engine: Engine
    gpus: int
    shape: Shape
    batch: int
    micro_batch: int
    nbs: int
    """Images that a step of the optimizer should have: a smaller batch waits for others."""
    loader: LoaderPlan
    """Of each process."""
    val_loader: LoaderPlan
    """Of each process; ours live only while validating."""
    cache: Cache
    staged: bool
    """The images are copied into /dev/shm before the training."""
    mosaic: bool
    plots: bool
    epochs: int
    save_period: int
    images: Images | None = None
    """None while no data are named and no document says how many."""
    staged_bytes: int | None = None
    """What the staged set takes there, as counted; None where only the images' own sizes are known."""
    step_shape: Shape | None = None
    """Height and width of the largest images that are computed, where `multi_scale` makes them larger than `shape`."""

    @property
    def ranks(self) -> int:
        """Training processes: one per GPU, or one on the CPU."""
        return max(1, self.gpus)

    @property
    def rank_batch(self) -> int:
        """Images of one batch of one process."""
        return self.batch // self.ranks

    @property
    def piece_images(self) -> int:
        """Images that one process computes at once."""
        return -(-self.rank_batch // self.micro_batch)

    @property
    def gradients(self) -> int:
        """As `TraceRequest.gradients`."""
        return 1 + int(accumulation(self.batch, self.nbs) > 1) + int(self.micro_batch > 1)

    @property
    def val_batch(self) -> int:
        """Images of one batch of validation: Ultralytics takes twice the training's."""
        return 2 * self.rank_batch

    def image_bytes(self) -> int:
        """One image in a batch: uint8, 3 x H x W."""
        return 3 * self.shape[0] * self.shape[1]

    def with_loader(self, **settings: int | bool) -> "Workload":
        """The same with another `workers` or `prefetch_factor` for training; validation's stays as it is."""
        return replace(self, loader=self.loader.model_copy(update=settings))
