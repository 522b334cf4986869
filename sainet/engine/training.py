"""One stage's training: Ultralytics' DetectionTrainer with its data, its weights files and its ending in our hands.

Not called `...Trainer`: upstream loads its experiment-tracking integrations into classes that are.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import ultralytics.engine.trainer as upstream
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

from sainet.engine.checkpoint import is_finished, load, whole_files, write_results
from sainet.engine.dataset import StageDataset
from sainet.engine.reporting import Reporter
from sainet.engine.validation import StageValidator, short_metrics
from sainet.files import replace_text
from sainet.protocol import Plan, TrainingDone


class StageTraining(DetectionTrainer):  # type: ignore[misc]  # ultralytics has no types
    """Trains one attempt of one stage as its plan says, and reports to `reporter`.

    Weights go to `plan.weights_dir`, each file replaced as a whole; everything else to `plan.attempt_dir`.
    Raises `DataError` for images that upstream would drop, `StorageError` when a disk is full,
    `WeightsError` for initial weights that are no checkpoint.
    """

    wdir: Path
    last: Path
    best: Path

    def __init__(self, plan: Plan, reporter: Reporter) -> None:
        self.plan = plan
        self.reporter = reporter
        self.transferred: str | None = None
        self.finished = False
        upstream.check_amp = _amp_without_download
        super().__init__(overrides={**plan.arguments, "model": plan.weights, "data": str(_write_data_yaml(plan))})
        self._move_weights()
        self.resume = plan.resume  # upstream would take the arguments from the checkpoint; ours are the plan's
        self.model = str(self.last if plan.resume else plan.weights)
        self.add_callback("on_train_epoch_start", _never_halve_the_batch)
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
        if str(self.model).endswith(".pt"):
            load(Path(self.model))  # says what is wrong with a file that is none
        checkpoint = super().setup_model()
        if self.resume:
            self.finished = is_finished(checkpoint, epochs=self.epochs, patience=self.args.patience)
        self.reporter.phase("scanning labels")
        return checkpoint

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        with _heard(LOGGER) as lines:
            model = super().get_model(cfg, weights, verbose)
        self.transferred = next((m[1] for line in lines if (m := re.match(r"Transferred (\d+/\d+) ", line))), None)
        return model

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> StageDataset:
        """As `ultralytics.data.build.build_yolo_dataset` does for detection, with our dataset."""
        training = mode == "train"
        dataset = StageDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            cache=self.args.cache or None,
            stride=max(int(unwrap_model(self.model).stride.max()), 32),
            pad=0.0 if training else 0.5,
            prefix=colorstr(f"{mode}: "),
            fraction=self.args.fraction if training else 1.0,
            plan=self.plan.data,
            cache_dir=self.plan.cache_dir,
            split=f"stage-{self.plan.stage}-{mode}",
        )
        for note in dataset.scan_notes:
            self.reporter.warn(note)
        return dataset

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
        with whole_files(self.plan.weights_dir) as scratch:
            self.wdir, self.last, self.best = scratch, scratch / "last.pt", scratch / "best.pt"
            try:
                return bool(super().save_model())
            finally:
                self.wdir, self.last, self.best = kept

    def resume_training(self, ckpt: Any) -> None:
        if self.resume and ckpt and ckpt.get("train_results"):
            write_results(self.csv, ckpt["train_results"])
        if not self.finished:
            super().resume_training(ckpt)

    def _do_train(self) -> None:
        if self.resume and is_finished(load(self.last), epochs=self.epochs, patience=self.args.patience):
            self._setup_train()
            self.final_eval()
        else:
            super()._do_train()

    def final_eval(self) -> None:
        """Evaluate best.pt, strip both files of what only a resume needs, and report the stage as trained."""
        self.reporter.phase("final evaluation")
        _strip(self.best)
        self.validator.args.plots = self.args.plots
        self.validator.args.compile = False  # compiling for one pass costs more than it gives
        self.metrics = self.validator(model=self.best)
        last = _strip(self.last)  # stripped last: until here the attempt could be resumed
        results = last.get("train_results") or {}
        trained = len(next(iter(results.values()), []))
        self.reporter.emit(
            TrainingDone(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                metrics=short_metrics(self.metrics),
                best_weights=self.best,
                last_weights=self.last,
                epochs_trained=trained,
                stopped_early=trained < self.epochs,
            )
        )


def _strip(path: Path) -> dict[str, Any]:
    """Halve `path` and take its optimizer state away, replacing the file as a whole."""
    with whole_files(path.parent) as scratch:
        return dict(strip_optimizer(path, s=scratch / path.name))


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


def _never_halve_the_batch(training: Any) -> None:
    """Upstream answers CUDA's out-of-memory in the first epoch with half the batch, which is another training."""
    training._oom_retries = 3


def _amp_without_download(model: Any) -> bool:
    """Stands in for upstream's AMP check, which would download a model to compare. A CPU has no fp16 training."""
    return next(model.parameters()).device.type not in {"cpu", "mps"}

