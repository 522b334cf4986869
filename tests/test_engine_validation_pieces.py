"""A validation in pieces has fewer images at once than the whole one, and finds what that finds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PlanMaker, TinySet, TinySetMaker
from engine_cases import first
from exact_cases import LEARNING
from PIL import Image

from sainet.protocol import TrainingDone

pytestmark = [
    pytest.mark.train,
    # said by the switch that turns oneDNN off: its convolutions round otherwise for another number of images
    pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN"),
]

IMAGES = 21
SHARE = 4
"""Of training; validation has batches of eight, the last one of five images."""


def mixed(tiny_set: TinySetMaker, images: int = IMAGES) -> TinySet:
    """Images of three aspects, so that squares are validated in batches of different rectangles."""
    data = tiny_set(images=SHARE, val_images=images)
    for number, path in enumerate(data.images("val")):
        with Image.open(path) as image:
            resized = image.resize([(64, 64), (64, 40), (40, 64)][number % 3])
        resized.save(path)
    return data


@pytest.fixture
def trained(engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker) -> Callable[..., Any]:
    """A training after its only epoch. Its average finds boxes, some of them right: it begins with scores of 0.1."""

    def train(shape: tuple[int, int]) -> Any:
        plan = plan_for(mixed(tiny_set), shape=shape, **{**LEARNING, "epochs": 1, "batch": SHARE})
        training = engine.training(plan)
        training.final_eval = lambda: None
        training.train()
        head = training.ema.ema.model[-1]
        with torch.no_grad():
            for box, score in zip(head.cv2, head.cv3, strict=True):
                box[-1].bias.view(4, 16).copy_(-((torch.arange(16) - 2) ** 2) / 4)
                score[-1].bias.fill_(-2)
        return training

    return train


@contextmanager
def recorded(training: Any) -> Iterator[tuple[list[torch.Size], dict[str, Any]]]:
    """While the block lasts: the shapes that the model is given, and by image what is found in it."""
    validator = training.validator
    shapes: list[torch.Size] = []
    found: dict[str, Any] = {}
    update = validator.update_metrics

    def remember(preds: list[dict[str, torch.Tensor]], batch: dict[str, Any]) -> None:
        found.update(zip(batch["im_file"], preds, strict=True))
        update(preds, batch)

    validator.update_metrics = remember
    hook = training.ema.ema.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    try:
        yield shapes, found
    finally:
        hook.remove()
        del validator.update_metrics


def validated(training: Any, pieces: int) -> SimpleNamespace:
    """The figures of one validation, the losses unrounded, and how it came to them."""
    validator = training.validator
    validator.pieces = pieces
    with recorded(training) as (shapes, found), torch.backends.mkldnn.flags(enabled=False):
        told = validator(training)
    metrics = {name: value for name, value in told.items() if not name.startswith("val/")}
    losses = {name: float(value) / len(shapes) for name, value in validator.loss.items()}
    return SimpleNamespace(
        shapes=shapes, found=found, metrics=metrics, losses=losses, precision=validator.metrics.box.all_ap.tolist()
    )


@pytest.mark.parametrize(("shape", "sides"), [((64, 64), 2), ((64, 96), 1)])
def test_a_validation_in_pieces_finds_what_the_whole_one_finds(
    trained: Callable[..., Any], shape: tuple[int, int], sides: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine import validation

    training = trained(shape)
    whole = validated(training, 1)
    assert [images for images, *_ in whole.shapes] == [8, 8, 5]
    assert len({shape[2:] for shape in whole.shapes}) == sides
    assert 0 < whole.metrics["metrics/mAP50(B)"] < 1, "where nothing is found nothing is compared"
    for pieces, sizes in ((2, [4, 4, 4, 4, 2, 3]), (3, [2, 3, 3, 2, 3, 3, 1, 2, 2]), (100, [1] * IMAGES)):
        cut = validated(training, pieces)
        assert [images for images, *_ in cut.shapes] == sizes
        assert_same(cut, whole)
    monkeypatch.setattr(validation, "losses_of_whole_batches", lambda _model, _parts: nullcontext())
    naive = validated(training, 3)
    assert naive.losses != pytest.approx(whole.losses, rel=1e-3), "the mean of the pieces' own losses is another"
    assert "loss" not in vars(training.ema.ema), "the model is as it was"
    assert training.validator.dataloader is training.test_loader


def assert_same(cut: SimpleNamespace, whole: SimpleNamespace) -> None:
    """Bit for bit, but for a score's last bit (a vectorised sigmoid) and the losses' rounding (2e-7 was seen)."""
    assert cut.metrics == whole.metrics
    assert cut.precision == whole.precision
    assert cut.losses == pytest.approx(whole.losses, rel=1e-6)
    assert cut.found.keys() == whole.found.keys()
    for image, expected in whole.found.items():
        assert torch.equal(cut.found[image]["bboxes"], expected["bboxes"])
        assert torch.equal(cut.found[image]["cls"], expected["cls"])
        assert torch.allclose(cut.found[image]["conf"], expected["conf"], rtol=0, atol=6e-8)


def test_a_validation_that_fails_leaves_the_model_and_the_loader_as_they_were(trained: Callable[..., Any]) -> None:
    training = trained((64, 96))
    training.validator.pieces = 2

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = training.ema.ema.model[-1].register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        training.validator(training)
    hook.remove()
    assert "loss" not in vars(training.ema.ema)
    assert training.validator.dataloader is training.test_loader


def test_a_training_in_pieces_has_no_more_images_at_once_in_any_of_its_validations(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in the final evaluation of best.pt, whose model upstream loads by itself."""
    from ultralytics.nn.tasks import BaseModel

    sizes: dict[bool, list[int]] = {True: [], False: []}
    predict = BaseModel.predict

    def watched(model: Any, images: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if len(images) > 1:  # with one of zeros upstream measures the strides, and warms up what it has loaded
            sizes[model.training].append(len(images))
        return predict(model, images, *arguments, **options)

    monkeypatch.setattr(BaseModel, "predict", watched)
    events = engine.train(
        plan_for(mixed(tiny_set, images=13), micro_batch=2, **{**LEARNING, "epochs": 2, "batch": SHARE})
    )
    assert sizes == {True: [2, 2] * 2, False: [4, 4, 2, 3] * 3}
    assert first(TrainingDone, events).metrics.keys() == {"precision", "recall", "map50", "map50-95"}


def test_the_parts_of_a_loader_are_counted_as_they_come() -> None:
    from sainet.engine.validation_pieces import Parts

    def batch(images: int) -> dict[str, Any]:
        none = torch.zeros(0)
        return {"img": torch.zeros(images, 3, 2, 2), "batch_idx": none, "cls": none, "bboxes": torch.zeros(0, 4)}

    class Loader:
        dataset, sampler, batch_size = range(21), range(21), 8

        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter([batch(8), batch(8), batch(5)])

    for pieces in (2, 3, 6, 8, 100):
        parts = Parts(Loader(), pieces)
        lasts = [parts.last for _ in parts]
        assert len(lasts) == len(parts)
        assert lasts.count(True) == 3
        assert lasts[-1]


def test_where_only_the_final_evaluation_is_left_it_is_in_pieces_too(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """An attempt that ran out of VRAM there comes back with more pieces, and has no loop that would say so."""
    training = engine.training(plan_for(mixed(tiny_set), **{**LEARNING, "batch": SHARE}, micro_batch=2))
    training.test_loader = None
    assert training.get_validator().pieces == 2
