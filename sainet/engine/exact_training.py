"""sainet's own engine: its loader, its rectangles, and a training that can be left and taken up at any batch."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from sainet.engine import exact
from sainet.engine.between import Between
from sainet.engine.exact import Place
from sainet.engine.keeping import Keeper
from sainet.engine.loader import TrainLoader, ValLoader
from sainet.engine.loop import TrainingLoop, forward
from sainet.engine.micro_batch import MicroBatches
from sainet.engine.order import EpochOrder
from sainet.engine.orders import OrderBook
from sainet.engine.randomness import Purpose, seeded
from sainet.engine.reporting import Reporter
from sainet.engine.samples import SampledDataset
from sainet.engine.slots import Found, Slots
from sainet.engine.training import StageTraining
from sainet.engine.validation import StageValidator
from sainet.protocol import Plan, Resumed


class ExactTraining(StageTraining):
    """A `StageTraining` whose every batch depends on the seed and its number alone, and that keeps its exact state.

    Raises, besides: `StorageError` when there are checkpoints and none verifies; `DataError` when the images are not
    those that the checkpoint was trained on; `StorageError` or `SainetError` for what ended a loader's worker.
    """

    model: Any
    """Its name until `setup_model`, then the module."""

    def __init__(self, plan: Plan, reporter: Reporter) -> None:
        self.slots = Slots(plan.checkpoint_dir)
        self.found: Found | None = None
        self.micro: MicroBatches | None = None
        self._last_step = -1
        super().__init__(plan, reporter)

    # --- model and data

    def setup_model(self) -> Any:
        """On a resume the weights come with the checkpoint: the initial ones need not be there any more."""
        if self.found is None:
            return super().setup_model()
        self.reporter.phase("building the model")
        self.model = self.get_model(cfg=self.found.state["architecture"], weights=None)
        self.transferred = None
        self.reporter.phase("scanning labels")
        return None

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> SampledDataset:
        height, width = self.plan.shape
        dataset = SampledDataset(
            **self.dataset_options(img_path, mode, batch, rect=mode != "train" and height == width),
            shape=self.plan.shape,
            seed=self.args.seed,
            close_epoch=self.epochs - self.args.close_mosaic if self.args.close_mosaic else self.epochs,
        )
        self.take_note(dataset)
        return dataset

    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        del rank  # of upstream's own sampler
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        if mode != "train":
            return ValLoader(dataset, min(batch_size, len(dataset)), self.plan.val_loader)
        order = EpochOrder(len(dataset), self.batch_size, self.args.seed)
        return TrainLoader(dataset, order, self.plan.loader, self.epochs)

    def get_validator(self) -> StageValidator:
        """In pieces from the start: where only the final evaluation is left there is no loop that would say so."""
        validator = super().get_validator()
        validator.pieces = self.plan.micro_batch
        return validator

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """To the device, to 0..1 and, with multi_scale, to a size that depends on the batch's number alone."""
        place = self.loop.place
        with seeded(self.args.seed, Purpose.BATCH, place.epoch, place.batch):
            prepared: dict[str, Any] = super().preprocess_batch(batch)
        return prepared

    def backward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if self.micro is None:
            return super().backward(batch)
        return self.micro.backward(batch, forward=partial(forward, self), scale=self.scaler.scale)

    def explain(self, error: RuntimeError) -> Exception:
        """A worker that dies is told of by PyTorch wherever the main thread is at that moment."""
        for loader in (self.train_loader, self.test_loader):
            reason: Exception = loader.explain(error)
            if reason is not error:
                return reason
        return super().explain(error)

    # --- keeping and resuming

    def look_back(self) -> None:
        self.found = self.slots.read()
        if self.found is None:
            super().look_back()
            return
        self.finished = exact.is_finished(self.found.state, epochs=self.epochs, patience=self.args.patience)
        if self.finished:
            self.found = None  # its evaluation goes by last.pt and best.pt

    def resume_training(self, ckpt: Any) -> None:
        if self.found is not None:
            place, self._last_step = exact.restore(self, self.found.state)
            self.start_epoch = place.epoch
            self._tell_resumed(place, _describe(self.found), exact=True)
            return
        super().resume_training(ckpt)
        if self.resume and not self.finished:
            found = "no checkpoint, only last.pt: half-precision weights of the last whole epoch"
            self._tell_resumed(Place(self.start_epoch, 0), found, exact=False)

    def make_loop(self) -> TrainingLoop:
        place = Place(*self.found.state["place"]) if self.found else Place(self.start_epoch, 0)
        keeper = Keeper(self.slots, self.reporter, self.plan.checkpoint_every_s)
        between = Between(self, keeper, OrderBook(self.plan.orders, self.reporter.warn))
        if self.plan.micro_batch > 1:  # which may be refused: before anything is written
            self.cut_batches(self.plan.micro_batch)
        if self.found is None and not self.resume:
            between.begin()
        if self.found is not None:
            # Upstream does not recover from NaN in the first epoch of a process: here, in the training's own first one,
            # or what was stopped while it was NaN would stay NaN.
            self.start_epoch = 0
        self.found = None  # a copy of all tensors
        return TrainingLoop(self, _Source(self.train_loader), between, place, self._last_step)

    @property
    def pieces(self) -> int:
        """In how many a batch is computed."""
        return 1 if self.micro is None else self.micro.pieces

    def cut_batches(self, pieces: int) -> None:
        """From the next batch on compute each in so many pieces, validation's too; 1 is whole.

        Raises `RefusedError` when the model's loss is not known to add up over images; all is as before then.
        """
        self.micro = MicroBatches(self.model, pieces) if pieces > 1 else None
        self.validator.pieces = pieces
        if pieces == 1:
            return
        images = -(-self.train_loader.batch_size // pieces)
        self.reporter.warn(
            f"batches are computed in {pieces} pieces: the gradient is that of the whole batch, but BatchNorm takes "
            f"its statistics from at most {images} images at a time"
        )

    def save_model(self) -> bool:
        """As before, with the true shape in it: `predict` and `export` of the weights take it from there."""
        height, width = self.plan.shape
        side = self.args.imgsz
        self.args.imgsz = side if height == width else [height, width]
        try:
            return super().save_model()
        finally:
            self.args.imgsz = side

    def report_done(self, epochs: int) -> None:
        """The slots go first: a stage that is done is never looked at again, and from here last.pt is enough."""
        self.slots.clear()
        super().report_done(epochs)

    def _tell_resumed(self, place: Place, found: str, *, exact: bool) -> None:
        plan = self.plan
        self.reporter.emit(
            Resumed(
                stage=plan.stage, attempt=plan.attempt, epoch=place.epoch, batch=place.batch, found=found, exact=exact
            )
        )


class _Source:
    """The batches of our own loader, from any place on."""

    def __init__(self, loader: TrainLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, place: Place) -> Iterator[dict[str, Any]]:
        for number in range(place.batch, len(self.loader)):
            yield self.loader.batch(place.epoch, number)


def _describe(found: Found) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.saved_s))
    return "; ".join([f"the checkpoint of {when} (slot {found.slot})", *found.remarks])
