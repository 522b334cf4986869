"""Every seam of Ultralytics that the training process leans on, so that an upgrade that moves one says which.

A failure here is no bug in itself: it names the place in `sainet/engine` to look at before the version is allowed.
"""

import hashlib
import inspect
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from config_cases import settle
from conftest import PlanMaker, TinySet, TinySetMaker
from PIL import Image

from sainet.data.source import IMAGE_FORMATS
from sainet.run.arguments import trainer_arguments

pytestmark = pytest.mark.usefixtures("sealed_ultralytics")


def require(holds: bool, seam: str, needed_by: str) -> None:
    assert holds, f"Ultralytics moved {seam}. Look at {needed_by}."


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


OVERRIDDEN = [
    ("StageTraining", "setup_model", "which checkpoint is loaded, and when 'scanning labels' begins"),
    ("StageTraining", "get_model", "how much of the weights fitted"),
    ("StageTraining", "build_dataset", "our dataset"),
    ("StageTraining", "get_validator", "select_by"),
    ("StageTraining", "save_model", "whole weights files"),
    ("StageTraining", "resume_training", "results.csv of a resumed run"),
    ("StageTraining", "_do_train", "a resume after the last epoch"),
    ("StageTraining", "final_eval", "the order of stripping, and the last event"),
    ("ExactTraining", "setup_model", "a resume builds the model of its checkpoint"),
    ("ExactTraining", "build_dataset", "samples at a fixed shape"),
    ("ExactTraining", "get_dataloader", "our loaders"),
    ("ExactTraining", "get_validator", "a validation in pieces from the start"),
    ("ExactTraining", "preprocess_batch", "multi_scale by the batch's number"),
    ("ExactTraining", "save_model", "the true shape among the arguments"),
    ("ExactTraining", "resume_training", "the exact state"),
    ("SampledDataset", "__getitem__", "a sample from its key alone"),
    ("SampledDataset", "build_transforms", "augmentation at a fixed shape"),
    ("SampledDataset", "load_image", "images that fit into the shape"),
    ("StageDataset", "verify_args", "no JPEG is rewritten"),
    ("StageDataset", "cache_labels", "a split without labels is bad data"),
    ("StageDataset", "_load_or_scan_cache", "the label cache lies in the run, and nothing is dropped in silence"),
    ("StageDataset", "verify_labels", "polygons that are dropped are told"),
    ("StageDataset", "update_labels", "classes by name"),
    ("StageDataset", "cache_images_to_disk", "a disk that fills up is told"),
    ("StageDataset", "check_cache_disk", "decoded images lie in the run"),
    ("StageDataset", "check_cache_ram", "a cache that does not fit is refused"),
    ("StageDataset", "cache_images", "what packing leaves over is given back"),
    ("StageTraining", "plot_training_samples", "pictures of the images that they show"),
    ("StageValidator", "__call__", "a validation in pieces"),
    ("StageValidator", "plot_val_samples", "pictures of the images that they show"),
    ("StageValidator", "plot_predictions", "pictures of the images that they show"),
    ("StageValidator", "get_stats", "select_by"),
]


def ours(name: str) -> type:
    from sainet.engine import dataset, exact_training, samples, training, validation

    modules = (training, exact_training, dataset, samples, validation)
    return next(vars(module)[name] for module in modules if name in vars(module))


@pytest.mark.parametrize(("name", "method", "purpose"), OVERRIDDEN, ids=lambda value: str(value).replace(" ", "-"))
def test_what_we_override_is_there_with_the_same_parameters(name: str, method: str, purpose: str) -> None:
    kind = ours(name)
    above = next((b for b in kind.__mro__[1:] if method in vars(b) and b.__module__.startswith("ultralytics")), None)
    where = f"{name}.{method} ({purpose})"
    require(above is not None, f"{name}'s base method {method}", where)
    require(
        parameters(getattr(above, method)) == parameters(getattr(kind, method)), f"the parameters of {method}", where
    )


def test_every_method_that_we_override_is_listed_here() -> None:
    for name in ("StageTraining", "ExactTraining", "StageDataset", "SampledDataset", "StageValidator"):
        kind = ours(name)
        above = [base for base in kind.__mro__[1:] if base.__module__.startswith("ultralytics")]
        inherited = {method for base in above for method, value in vars(base).items() if callable(value)}
        found = {method for method, value in vars(kind).items() if callable(value) and method in inherited}
        assert found - {"__init__"} == {method for listed, method, _ in OVERRIDDEN if listed == name}


# --- the training loop


def source_of(function: Callable[..., Any]) -> str:
    return inspect.getsource(function)


def in_order(source: str, *pieces: str) -> bool:
    """True when the pieces come one after the other, whatever lies between them."""
    for piece in pieces:
        _, found, source = source.partition(piece)
        if not found:
            return False
    return True


def test_the_amp_check_is_looked_up_in_the_trainers_module() -> None:
    import ultralytics.engine.trainer as upstream
    from ultralytics.utils.checks import check_amp

    from sainet.engine.training import _BROKEN_FP16

    found = hasattr(upstream, "check_amp") and "check_amp(self.model)" in source_of(upstream.BaseTrainer._setup_train)
    require(found, "ultralytics.engine.trainer.check_amp", "training._amp_without_download (no download at the start)")
    require(_BROKEN_FP16.pattern in source_of(check_amp), "the GPUs without usable fp16", "training._BROKEN_FP16")


LOOP = "87a635e3"
"""Of the source of the upstream loop that engine/loop.py was written after."""


def test_upstreams_loop_is_the_one_that_ours_was_written_after() -> None:
    """Ours takes its place; what upstream changes in it has to be looked at, and followed where it matters."""
    from ultralytics.engine.trainer import BaseTrainer

    digest = hashlib.sha256(source_of(BaseTrainer._do_train).encode()).hexdigest()[:8]
    require(digest == LOOP, f"BaseTrainer._do_train (now {digest})", "loop.TrainingLoop, and at the bit-for-bit test")


def test_weights_are_written_through_the_three_paths_that_we_redirect() -> None:
    from ultralytics.engine.trainer import BaseTrainer

    source = source_of(BaseTrainer.save_model)
    written = ("self.last.write_bytes(", "self.best.write_bytes(", '(self.wdir / f"epoch{self.epoch}.pt").write_bytes(')
    kept = in_order(source, *written) and source.count("write_bytes(") == 3
    require(kept, "the places that save_model writes to", "training.StageTraining.save_model (whole weights files)")


@pytest.mark.train
def test_a_checkpoint_has_what_a_resume_asks_for(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(tiny_set())
    training = engine.training(plan)
    monkeypatch.setattr(training, "final_eval", lambda: None)
    training.train()
    checkpoint = torch.load(plan.weights_dir / "last.pt", weights_only=False)
    place = "checkpoint.is_finished and checkpoint.epochs_trained"
    require(checkpoint.get("epoch") == 0, "a checkpoint's epoch, counted from 0", place)
    require(checkpoint.get("optimizer") is not None, "a checkpoint's optimizer state", place)
    require({"best_epoch", "best_fitness"} <= set(checkpoint.get("stopper") or {}), "a checkpoint's stopper", place)
    require((checkpoint.get("train_results") or {}).get("epoch") == [1], "a checkpoint's train_results", place)

    from ultralytics.utils.torch_utils import strip_optimizer

    stripped = strip_optimizer(plan.weights_dir / "last.pt", s=plan.weights_dir / "new.pt", updates={"extra": 1})
    require((plan.weights_dir / "new.pt").is_file(), "strip_optimizer(s=...)", "training._strip")
    require(stripped.get("extra") == 1, "strip_optimizer(updates=...)", "training._strip")
    require(stripped["optimizer"] is None and stripped["epoch"] == -1, "what a stripped checkpoint lacks", place)


def test_early_stopping_and_our_reading_of_it_agree() -> None:
    from ultralytics.utils.torch_utils import EarlyStopping

    from sainet.engine.checkpoint import is_finished

    noise = random.Random(0)
    for patience in (0, 1, 3):
        stopper = EarlyStopping(patience=patience)
        for epoch in range(20):
            stopped = stopper(epoch + 1, noise.choice([0.0, 0.1, 0.2, 0.3]))
            saved = {"best_fitness": stopper.best_fitness, "best_epoch": stopper.best_epoch}
            checkpoint = {"epoch": epoch, "optimizer": {}, "stopper": saved}
            finished = is_finished(checkpoint, epochs=100, patience=patience)
            require(stopped == finished, "EarlyStopping", "checkpoint.is_finished")


def test_the_experiment_trackers_are_chosen_by_the_class_name() -> None:
    from ultralytics.utils.callbacks.base import add_integration_callbacks

    from sainet.engine.training import StageTraining

    known = '"Trainer" in instance.__class__.__name__' in source_of(add_integration_callbacks)
    require(known, "how integrations are chosen", "the name of training.StageTraining")
    assert "Trainer" not in StageTraining.__name__


# --- weights


@pytest.mark.train
def test_weights_log_how_much_of_them_fitted(stage_1_weights: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel, load_checkpoint
    from ultralytics.utils import LOGGER

    from sainet.engine.training import _heard

    weights, checkpoint = load_checkpoint(stage_1_weights)
    require(isinstance(checkpoint, dict), "what load_checkpoint returns", "checkpoint.load")
    require(getattr(weights, "task", None) == "detect", "the task of a loaded model", "checkpoint.load")
    with _heard(LOGGER) as lines:
        DetectionModel("yolov8n.yaml", nc=2, verbose=False).load(weights)
    require(any(line.startswith("Transferred 355/355 ") for line in lines), "the log line", "training.get_model")


def test_rows_of_the_head_are_carried_over_by_name_unless_told_otherwise() -> None:
    from ultralytics.utils import DEFAULT_CFG

    require(getattr(DEFAULT_CFG, "cls_remap", None) is True, "cls_remap", "stage 2's weights in training.setup_model")


@pytest.mark.train
@pytest.mark.parametrize("damage", [b"", b"no zip at all", None])
def test_a_damaged_checkpoint_is_a_type_error(tmp_path: Path, stage_1_weights: Path, damage: bytes | None) -> None:
    from ultralytics.nn.tasks import load_checkpoint

    path = tmp_path / "damaged.pt"
    path.write_bytes(stage_1_weights.read_bytes()[:100_000] if damage is None else damage)
    try:
        load_checkpoint(path)
    except TypeError:
        return
    except Exception as error:
        require(False, f"what a damaged checkpoint raises ({error!r})", "checkpoint.load")
    require(False, "that a damaged checkpoint is refused", "checkpoint.load")


# --- metrics


def test_the_validator_takes_its_fitness_from_get_stats() -> None:
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.models.yolo.detect import DetectionValidator
    from ultralytics.utils.metrics import DetMetrics

    from sainet.engine.validation import _METRICS

    results = DetMetrics(names={0: "smoke"}).results_dict
    require({"fitness", *_METRICS.values()} <= set(results), "the names of the metrics", "validation.StageValidator")
    require("results_dict" in source_of(DetectionValidator.get_stats), "get_stats", "validation.StageValidator")
    popped = 'metrics.pop("fitness"' in source_of(BaseTrainer.validate)
    require(popped, "where the trainer takes the fitness from", "validation.StageValidator")


def test_a_validation_takes_each_batch_for_itself_and_the_mean_of_the_models_losses() -> None:
    from ultralytics.engine.validator import BaseValidator

    once = in_order(
        source_of(BaseValidator.__call__),
        "model = self.get_model(model, trainer",
        "TQDM(self.dataloader,",
        "in enumerate(bar)",
        "batch = self.preprocess(batch)",
        'model(batch["img"], augment=augment)',
        "in model.loss(batch, preds)[1].items()",
        "self.loss[k] += v",
        "self.update_metrics(preds, batch)",
        "/ len(self.dataloader)",
    )
    require(once, "the validator's loop", "validation_pieces.Parts and losses_of_whole_batches")
    of_trainer = "return trainer.ema.ema if" in source_of(BaseValidator.get_model)
    require(of_trainer, "which model a training validates", "validation.StageValidator")


def test_fitness_is_map50_95_where_nothing_is_chosen() -> None:
    from ultralytics.utils.metrics import Metric

    metric = Metric()
    metric.p, metric.r, metric.f1 = np.array([0.1]), np.array([0.2]), np.array([0.3])
    metric.all_ap = np.linspace(0.9, 0.0, 10)[None]
    require(metric.fitness() == pytest.approx(metric.map), "the fitness", "validation.StageValidator (select_by)")


# --- images and labels


def scanned(image: Path, classes: int = 2) -> Any:
    from ultralytics.data.utils import verify_image_label

    label = image.with_suffix(".txt")
    return verify_image_label((str(image), str(label), "train: ", False, classes, 0, 0, False))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32)).save(path)
    return path


def test_one_scanned_image_has_ten_parts(image: Path) -> None:
    missing = scanned(image)
    image.with_suffix(".txt").write_text("")
    empty = scanned(image)
    image.with_suffix(".txt").write_text("1 .5 .5 .5 .5\n")
    found = scanned(image)
    image.with_suffix(".txt").write_text("2 .5 .5 .5 .5\n")
    corrupt = scanned(image)
    counts = [list(result[5:9]) for result in (missing, found, empty, corrupt)]
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    require({len(r) for r in (missing, empty, found, corrupt)} == {10}, "a scan's result", "dataset.scan_one")
    require(counts == expected, "a scan's counts (missing, found, empty, corrupt)", "dataset.scan_one and _judge")


def test_messages_of_a_scan_read_as_we_know_them(image: Path) -> None:
    from sainet.engine import dataset

    image.with_suffix(".txt").write_text("2 .5 .5 .5 .5\n")
    require(dataset._LEFT_OUT in scanned(image)[-1], "the message of a dropped image", "dataset._LEFT_OUT")
    image.with_suffix(".txt").write_text("0 .5 .5 .5 .5\n0 .5 .5 .5 .5\n")
    require(scanned(image)[-1].endswith(dataset._DUPLICATES), "the message of duplicates", "dataset._DUPLICATES")


def test_jpegs_are_rewritten_by_the_one_function_that_we_replace(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ultralytics.data.utils as upstream

    from sainet.engine import dataset

    called: list[str] = []
    monkeypatch.setattr(upstream, "_replace_image", lambda path, _save: called.append(path), raising=False)
    before = image.read_bytes() + b"\0\0"
    image.write_bytes(before)
    message = scanned(image)[-1]
    require(called == [str(image)] and image.read_bytes() == before, "data.utils._replace_image", "dataset.scan_one")
    require(message.endswith(dataset._REWRITTEN), "the message of a rewritten JPEG", "dataset._REWRITTEN")


def test_the_same_files_are_images() -> None:
    from ultralytics.data.utils import IMG_FORMATS

    require(set(IMG_FORMATS) == IMAGE_FORMATS, "the image formats", "data/source.py IMAGE_FORMATS")


def test_npy_files_are_chosen_before_anything_asks_for_a_cache() -> None:
    from ultralytics.data.base import BaseDataset

    kept = in_order(
        source_of(BaseDataset.__init__),
        "self.update_labels(",
        "self.set_rectangle()",
        "self.npy_files =",
        "self.check_cache_ram()",
        "self.check_cache_disk()",
        "self.build_transforms(",
    )
    require(kept, "the order in which a dataset is built", "dataset.StageDataset._use_own_npy_files")


@pytest.mark.parametrize("mode", ["train", "val"])
def test_our_dataset_is_the_stock_dataset_where_every_class_keeps_its_id(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, mode: str
) -> None:
    """The same labels, and from the same seeds the same first samples, with mosaic and mixup on."""
    from ultralytics.data.build import build_yolo_dataset

    data = tiny_set(images=8, val_images=4, boxes=lambda i: [("fire", 0.3, 0.5, 0.2, 0.2 + i % 3 / 10)] * (i % 4 > 0))
    plan = plan_for(data, engine="stock", batch=2, mixup=0.5)
    training = engine.training(plan)
    training.setup_model()
    folder = training.data[mode]
    mine = training.build_dataset(folder, mode, 2)
    stock = build_yolo_dataset(
        training.args, folder, 2, {"names": plan.data.source_names, "channels": 3}, mode=mode, rect=mode == "val"
    )
    assert mine.im_files == stock.im_files
    ours = {
        "plan",
        "cache_dir",
        "cache_name",
        "split",
        "scan_notes",
        "decoded_bytes",
        "fitted_bytes",
        "ram_cache_bytes",
    }
    assert vars(mine).keys() - vars(stock).keys() == ours
    for mine_label, stock_label in zip(mine.labels, stock.labels, strict=True):
        assert repr(mine_label) == repr(stock_label)
    first, second = sampled(mine), sampled(stock)
    assert len(first) == len(second)
    for sample, expected in zip(first, second, strict=True):
        assert sample.keys() == expected.keys()
        assert torch.equal(sample["img"], expected["img"])
        assert torch.equal(sample["bboxes"], expected["bboxes"])
        assert torch.equal(sample["cls"], expected["cls"])


def sampled(dataset: Any) -> list[dict[str, Any]]:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.train
@pytest.mark.parametrize("start", ["yolov8n.yaml", "weights"])
def test_a_training_of_ours_is_bit_identical_to_a_plain_one(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    tmp_path: Path,
    stage_1_weights: Path,
    start: str,
) -> None:
    """With `engine: stock`, where every class keeps its id, sainet adds nothing but its reports and its care.

    It is our loop that trains here: three epochs of a warm-up, an accumulation and a learning-rate schedule.
    """
    from ultralytics import YOLO

    weights = str(stage_1_weights) if start == "weights" else start

    data = tiny_set(images=10, val_images=4)
    learning = {"epochs": 3, "close_mosaic": 1, "mixup": 0.5, "optimizer": "SGD", "lr0": 0.02, "seed": 3, "nbs": 8}
    plan = plan_for(data, engine="stock", weights=weights, warmup_epochs=1.0, **learning)
    engine.train(plan)
    arguments = {**plan.arguments, "save_dir": str(tmp_path / "plain"), "data": str(without_labels_cache(data).yaml)}
    YOLO(weights).train(**arguments)
    for name in ("best.pt", "last.pt"):
        mine = torch.load(plan.weights_dir / name, weights_only=False)
        plain = torch.load(tmp_path / "plain" / "weights" / name, weights_only=False)
        assert mine.keys() == plain.keys()
        ours, theirs = mine["model"].state_dict(), plain["model"].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        del mine["train_results"]["time"], plain["train_results"]["time"]
        assert mine["train_results"] == plain["train_results"]
        assert mine["train_metrics"] == plain["train_metrics"]
    assert without_times(plan.attempt_dir / "results.csv") == without_times(tmp_path / "plain" / "results.csv")


def without_labels_cache(data: TinySet) -> TinySet:
    assert not list(data.root.rglob("*.cache")), "ours leaves no cache; the plain run may write its own"
    return data


def without_times(results: Path) -> list[list[str]]:
    rows = [line.split(",") for line in results.read_text(encoding="utf-8").splitlines()]
    return [row[:1] + row[2:] for row in rows]


# --- surroundings and arguments


def test_the_settings_that_we_write_are_complete() -> None:
    """Else Ultralytics completes them with its own defaults, which switch integrations on."""
    from ultralytics.utils import SETTINGS

    from sainet.engine.environment import _SETTINGS

    require(SETTINGS.version == _SETTINGS["settings_version"], "the settings' version", "environment._SETTINGS")
    require(set(SETTINGS.defaults) == set(_SETTINGS), "the settings' keys", "environment._SETTINGS")
    written = json.loads(Path(SETTINGS.file).read_text(encoding="utf-8"))
    require(not any(value is True for value in written.values()), "the settings after import", "environment.seal")


def test_the_configuration_folder_and_the_font_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics import utils
    from ultralytics.utils import checks

    def no_network(*_arguments: object, **_options: object) -> None:
        raise AssertionError("asked the network for a font")

    monkeypatch.setattr(checks.downloads, "safe_download", no_network)
    monkeypatch.setattr(checks.downloads, "is_url", no_network)
    for font in ("Arial.ttf", "Arial.Unicode.ttf"):
        found = Path(str(checks.check_font(font)))
        require(found == utils.USER_CONFIG_DIR / font, "where fonts are looked for", "environment._stand_in_font")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    require(utils.get_user_config_dir() == tmp_path / "Ultralytics", "YOLO_CONFIG_DIR", "environment.seal")


def test_offline_means_no_probe_and_no_install() -> None:
    from ultralytics import utils

    require(utils.ONLINE is False, "YOLO_OFFLINE", "environment.seal")
    require(utils.AUTOINSTALL is False, "YOLO_AUTOINSTALL", "environment.seal")


@pytest.mark.parametrize("stage", [1, 2])
def test_ultralytics_knows_every_argument_and_keeps_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    from ultralytics.cfg import get_cfg

    monkeypatch.chdir(tmp_path)
    config = settle(stage=stage).config
    arguments = trainer_arguments(config, tmp_path, workers=0)
    kept = vars(get_cfg(overrides=dict(arguments)))
    changed = {key: (value, kept.get(key)) for key, value in arguments.items() if kept.get(key) != value}
    require(not changed, f"the arguments {changed}", "run/arguments.py")


def test_these_seams_were_looked_at_in_the_installed_version() -> None:
    """The facts were read in 8.4.190; the tests above say whether a later 8.4 still holds to them."""
    import ultralytics

    numbers = tuple(itertools.islice((int(part) for part in ultralytics.__version__.split(".")), 3))
    require((8, 4, 190) <= numbers < (8, 5, 0), f"its version to {ultralytics.__version__}", "pyproject.toml")
