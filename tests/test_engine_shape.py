"""True rectangles from training to prediction: what was trained at H x W is validated, predicted and exported so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Plan, PlanMaker, TinySetMaker
from engine_cases import checkpoint

pytestmark = pytest.mark.train

SHAPE = (64, 96)
LEARNING: dict[str, Any] = {"epochs": 2, "batch": 4, "mosaic": 1.0, "mixup": 0.5, "cutmix": 0.5, "close_mosaic": 1}


@pytest.fixture
def trained(engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker) -> SimpleNamespace:
    """A training at 64 x 96 with the shapes of every batch of it, and of every image that was validated."""
    plan: Plan = plan_for(tiny_set(images=10), shape=SHAPE, **LEARNING)
    training = engine.training(plan)
    shapes: dict[str, set[tuple[int, ...]]] = {"train": set(), "val": set()}
    backward, get_validator = training.backward, training.get_validator

    def seen(batch: dict[str, Any]) -> Any:
        shapes["train"].add(tuple(batch["img"].shape[1:]))
        return backward(batch)

    def watched() -> Any:
        validator = get_validator()
        preprocess = validator.preprocess

        def note(batch: dict[str, Any]) -> Any:
            shapes["val"].add(tuple(batch["img"].shape[1:]))
            return preprocess(batch)

        validator.preprocess = note
        return validator

    training.backward, training.get_validator = seen, watched
    training.train()
    return SimpleNamespace(plan=plan, shapes=shapes)


def test_every_batch_of_training_and_validation_has_the_shape(trained: SimpleNamespace) -> None:
    assert trained.shapes == {"train": {(3, *SHAPE)}, "val": {(3, *SHAPE)}}


def test_the_weights_predict_and_export_at_the_shape_that_they_were_trained_at(
    trained: SimpleNamespace, tmp_path: Path
) -> None:
    from ultralytics import YOLO

    best = trained.plan.weights_dir / "best.pt"
    assert checkpoint(best)["train_args"]["imgsz"] == [64, 96]
    model = YOLO(best)
    shapes = []
    hook = model.model.model[0].register_forward_pre_hook(lambda _module, inputs: shapes.append(inputs[0].shape[2:]))
    frame = np.full((216, 384, 3), 127, dtype=np.uint8)  # 16:9, as a camera gives it
    model.predict(frame, verbose=False, device="cpu")
    hook.remove()
    assert set(shapes) == {torch.Size(SHAPE)}
    copied = tmp_path / "exported.pt"
    copied.write_bytes(best.read_bytes())
    exported = torch.jit.load(YOLO(copied).export(format="torchscript", device="cpu"))
    anchors = sum(SHAPE[0] * SHAPE[1] // stride**2 for stride in (8, 16, 32))
    assert exported(torch.zeros(1, 3, *SHAPE)).shape == (1, 6, anchors)


def test_a_square_keeps_a_single_number(engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker) -> None:
    plan = plan_for(tiny_set())
    engine.train(plan)
    assert checkpoint(plan.weights_dir / "best.pt")["train_args"]["imgsz"] == 64
