"""One stage's training: Ultralytics' DetectionTrainer with its data, its weights files and its ending in our hands.

Not called `...Trainer`: upstream loads its experiment-tracking integrations into classes that are.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import ultralytics.engine.trainer as upstream
from ultralytics.data.utils import get_split_fraction
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

from sainet.engine.checkpoint import epochs_trained, is_finished, load, whole_files, write_results
from sainet.engine.dataset import StageDataset
from sainet.engine.drawing import drawn_part
from sainet.engine.exact import Place
from sainet.engine.loop import TrainingLoop, whole_batch
from sainet.engine.orders import OrderBook
from sainet.engine.precision import set_switches
from sainet.engine.reporting import Reporter
from sainet.engine.saving import saving_once
from sainet.engine.stock import StockBetween, StockSource
from sainet.engine.validation import StageValidator, short_metrics
from sainet.errors import StorageError, WeightsError
from sainet.files import replace_text
from sainet.protocol import Plan, TrainingDone

_BROKEN_FP16 = re.compile(
    r"(nvidia|geforce|quadro|tesla).*?(1660|1650|1630|t400|t550|t600|t1000|t1200|t2000|k40m)", re.IGNORECASE
)
"""GPUs that upstream's AMP check turns down by name."""


class StageTraining(DetectionTrainer):  # type: ignore[misc]  # ultralytics has no types
    """Trains one attempt of one stage as its plan says, with Ultralytics' own data path, and reports to `reporter`.

    Weights go to `plan.weights_dir`, each file replaced as a whole; everything else to `plan.attempt_dir`.
    Raises `DataError` for images that upstream would drop, `StorageError` when a disk is full,
    `WeightsError` for initial weights that are no checkpoint; a last.pt that is none is a `StorageError`.
    """

    wdir: Path
    last: Path
    best: Path
    loop: TrainingLoop
    train_time_start: float
    seconds_before: float = 0.0
    """What earlier attempts have trained; results.csv counts on."""

    def __init__(self, plan: Plan, reporter: Reporter) -> None:
        self.plan = plan
        self.reporter = reporter
        self.transferred: str | None = None
        self.finished = False
        self.ram_cache_left_bytes = plan.ram_cache_bytes
        upstream.check_amp = partial(_amp_without_download, reporter)
        super().__init__(overrides={**plan.arguments, "model": plan.weights, "data": str(_write_data_yaml(plan))})
        self._move_weights()
        self.resume = plan.resume  # upstream would take the arguments from the checkpoint; ours are the plan's
        self.model = str(self.last if plan.resume else plan.weights)
        set_switches(plan)
        reporter.attach(self)

    def _move_weights(self) -> None:
        self.wdir.rmdir()
        self.wdir = self.plan.weights_dir
        self.wdir.mkdir(parents=True, exist_ok=True)
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"

    # --- model and data

    def setup_model(self) -> Any:
        """Build the model; classes that the initial weights know by name keep their rows of the head."""
        self.reporter.phase("building the model")
        if not self.resume and str(self.model).endswith(".pt"):
            load(Path(self.model))  # says what is wrong with a file that is none
        checkpoint = super().setup_model()
        self.reporter.phase("scanning labels")
        return checkpoint

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        with _heard(LOGGER) as lines:
            model = super().get_model(cfg, weights, verbose)
        self.transferred = next((m[1] for line in lines if (m := re.match(r"Transferred (\d+/\d+) ", line))), None)
        return model

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> StageDataset:
        dataset = StageDataset(**self.dataset_options(img_path, mode, batch, rect=mode != "train"))
        self.take_note(dataset)
        return dataset

    def dataset_options(self, img_path: Any, mode: str, batch: int | None, *, rect: bool) -> dict[str, Any]:
        """As `ultralytics.data.build.build_yolo_dataset` has them for detection, and ours."""
        training = mode == "train"
        return {
            "img_path": img_path,
            "imgsz": self.args.imgsz,
            "batch_size": batch,
            "augment": training,
            "hyp": self.args,
            "rect": rect,
            "cache": self.args.cache or None,
            "stride": max(int(unwrap_model(self.model).stride.max()), 32),
            "pad": 0.0 if training else 0.5,
            "prefix": colorstr(f"{mode}: "),
            "fraction": get_split_fraction(self.args.fraction, "train" if training else self.args.split),
            "plan": self.plan.data,
            "cache_dir": self.plan.cache_dir,
            "split": mode,
            "cache_name": f"stage-{self.plan.stage}-{mode}",
            "ram_cache_bytes": self.ram_cache_left_bytes,
        }

    def take_note(self, dataset: StageDataset) -> None:
        """Of what the label scan found that the user should know, and of the memory that its cache has taken."""
        for note in dataset.scan_notes:
            self.reporter.warn(note)
        if self.ram_cache_left_bytes is not None and dataset.cache == "ram":
            self.ram_cache_left_bytes -= dataset.fitted_bytes

    def plot_training_samples(self, batch: dict[str, Any], ni: int) -> None:
        super().plot_training_samples(drawn_part(batch), ni)

    def get_validator(self) -> StageValidator:
        validator = StageValidator(
            self.test_loader, save_dir=self.save_dir, args=copy(self.args), _callbacks=self.callbacks
        )
        validator.select_by = self.plan.select_by
        return validator

    # --- the ends of an epoch and of the training

    def save_model(self) -> bool:
        """Write last.pt (and best.pt, and each `save_period`th) so that a kill leaves the old or the new."""
        kept = self.wdir, self.last, self.best
        with whole_files(self.plan.weights_dir) as scratch, saving_once():
            self.wdir, self.last, self.best = scratch, scratch / "last.pt", scratch / "best.pt"
            try:
                return bool(super().save_model())
            finally:
                self.wdir, self.last, self.best = kept

    def look_back(self) -> None:
        """Before anything is built: what an attempt before has left may be damaged, or be all trained."""
        last = _load_own(self.last)
        self.finished = is_finished(last, epochs=self.epochs, patience=self.args.patience)

    def resume_training(self, ckpt: Any) -> None:
        if self.resume and ckpt and ckpt.get("train_results"):
            write_results(self.csv, ckpt["train_results"])
        if not self.finished:
            super().resume_training(ckpt)

    def make_loop(self) -> TrainingLoop:
        """The loop over what is left to train."""
        between = StockBetween(OrderBook(self.plan.orders, self.reporter.warn))
        return TrainingLoop(self, StockSource(self), between, Place(self.start_epoch, 0))

    def backward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Add a batch's gradient to what is there; returns its loss and the loss's parts."""
        return whole_batch(self, batch)

    def explain(self, error: RuntimeError) -> Exception:
        """What `error` means to the user; the error itself where it says so."""
        return error

    def _do_train(self) -> None:
        if self.resume:
            self.look_back()
        self._setup_train()
        try:
            if not self.finished:
                self._train()
            self.final_eval()
            if self.args.plots:
                self.plot_metrics()
        except RuntimeError as error:
            if (reason := self.explain(error)) is error:
                raise
            raise reason from error
        finally:
            self.train_loader.close()
            self.test_loader.close()

    def _train(self) -> None:
        self.train_time_start = time.time() - self.seconds_before
        self.loop = self.make_loop()
        if self.args.close_mosaic:
            first = (self.epochs - self.args.close_mosaic) * len(self.train_loader)
            self.plot_idx.extend([first, first + 1, first + 2])
        self.run_callbacks("on_train_start")
        self.loop.run()

    def final_eval(self) -> None:
        """Evaluate best.pt, strip both files of what only a resume needs, and report the stage as trained."""
        self.reporter.phase("final evaluation")
        trained = _load_own(self.last)
        _strip(self.best, train_results=trained.get("train_results"))
        self.validator.args.plots = self.args.plots
        self.validator.args.compile = False  # compiling for one pass costs more than it gives
        self.metrics = self.validator(model=self.best)
        _strip(self.last)  # stripped last: until here the attempt could be resumed
        self.report_done(epochs_trained(trained))

    def report_done(self, epochs: int) -> None:
        """The stage is trained, over `epochs` epochs: nothing that is needed comes after this."""
        self.reporter.emit(
            TrainingDone(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                metrics=short_metrics(self.metrics),
                best_weights=self.best,
                last_weights=self.last,
                epochs_trained=epochs,
                stopped_early=epochs < self.epochs,
            )
        )


def _load_own(path: Path) -> dict[str, Any]:
    """A checkpoint that this stage wrote itself. Raises `StorageError` when it is gone or does not load."""
    try:
        return load(path)
    except WeightsError as error:
        raise StorageError(
            error.message, hint="put the file back, or train the stage anew with another --run"
        ) from error


def _strip(path: Path, **updates: Any) -> None:
    """Halve `path` and take its optimizer state away, replacing the file as a whole; `updates` go over its keys."""
    _load_own(path)  # upstream would only log that it cannot be read
    with whole_files(path.parent) as scratch, saving_once():
        strip_optimizer(path, s=scratch / path.name, updates=updates)


def _write_data_yaml(plan: Plan) -> Path:
    """The data as the detector sees them: absolute paths, its own classes, nothing to download."""
    import yaml

    path = plan.attempt_dir / "data.yaml"
    data = plan.data
    tree = {"path": str(plan.attempt_dir), "train": data.train, "val": data.val, "names": data.target_names}
    replace_text(path, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    return path


@contextmanager
def _heard(logger: logging.Logger) -> Iterator[list[str]]:
    """What is logged while the block lasts: upstream only says there how many tensors of the weights fitted."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def _amp_without_download(reporter: Reporter, model: Any) -> bool:
    """Stands in for upstream's AMP check, which would download a model to compare.

    Like upstream's it says no to a CPU and to the GPUs that are known to train NaN in fp16.
    """
    device = next(model.parameters()).device
    if device.type in {"cpu", "mps"}:
        return False
    if device.type != "cuda":
        return True
    name = torch.cuda.get_device_name(device)
    if _BROKEN_FP16.search(name):
        reporter.warn(f"{name} trains NaN in fp16: mixed precision is off")
        return False
    return True
