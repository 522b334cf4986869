"""A batch in pieces has the gradient of the whole batch, and upstream's loss adds up as that needs it to."""

import pickle
import weakref
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIDE, Box, TinySetMaker
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from sainet.errors import RefusedError

pytestmark = pytest.mark.usefixtures("sealed_ultralytics")

EXACT = 1e-10
"""Relative error of a gradient in float64 that is the full batch's but for rounding; 4e-15 was seen."""

SINGLE = 1e-5
"""The same in float32; 2e-6 was seen."""


@pytest.fixture
def doubles() -> Iterator[None]:
    """New tensors and models are of float64, where nothing but an exact gradient comes near the full batch's."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def singles() -> Iterator[None]:
    """float32, without oneDNN: its convolutions of a single image round 100 times as coarsely as those of two."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


# --- real images, real models, upstream's own step


def batch_of(images: Sequence[Path], side: int = SIDE) -> dict[str, Any]:
    """The images as upstream's loader collates them: uint8, and each with the boxes of its label file."""
    from ultralytics.data.dataset import YOLODataset

    return YOLODataset.collate_fn([sample(image, side) for image in images])  # type: ignore[no-any-return]


def sample(image: Path, side: int) -> dict[str, Any]:
    label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
    boxes = torch.tensor([[float(word) for word in line.split()] for line in label.read_text().splitlines()])
    boxes = boxes.reshape(-1, 5)
    with Image.open(image) as opened:
        pixels = torch.from_numpy(np.array(opened.convert("RGB").resize((side, side)))).permute(2, 0, 1)
    return {
        "img": pixels.contiguous(),
        "cls": boxes[:, :1],
        "bboxes": boxes[:, 1:],
        "batch_idx": torch.zeros(len(boxes)),
        "im_file": str(image),
    }


def spread(folder: Path, count: int) -> list[Path]:
    images = sorted(folder.iterdir())
    return images[:: len(images) // count][:count]


@pytest.fixture
def batch(tiny_set: TinySetMaker) -> dict[str, Any]:
    """Seven images with 0, 1, 3, 0, 1, 3 and 0 boxes of different sizes."""

    def boxes(number: int) -> list[Box]:
        sizes = [(0.3, 0.1), (0.6, 0.3), (0.5, 0.5)][: (0, 1, 3)[number % 3]]
        return [("fire" if size > 0.2 else "smoke", x, 0.5, size, size + number / 20) for x, size in sizes]

    return batch_of(tiny_set(images=7, boxes=boxes).images())


def detector(name: str, batch: dict[str, Any]) -> Any:
    """An untrained detector that finds boxes all the same, and in which every layer of it has a part.

    BatchNorm has the statistics of `batch`, and keeps them; the head begins with boxes of some cells and with scores
    of 0.1, so that target scores are as large as in a training.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(name, nc=2, verbose=False)
    model.args = get_cfg()
    head = model.model[-1]
    head.dfl.requires_grad_(False)  # frozen by upstream's trainer too
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for box, score in zip(head.cv2, head.cv3, strict=True):
            box[-1].bias.view(4, 16).copy_(-((torch.arange(16) - 2) ** 2) / 4)
            score[-1].bias.fill_(-2)
        for norm in norms:
            norm.momentum = 1.0
        forward_of(model)(dict(batch))
    for norm in norms:
        norm.eval()
    model.criterion = None
    return model


def forward_of(model: Any, autocast: torch.dtype | None = None) -> Callable[[dict[str, Any]], Any]:
    """What a training loop does before the backward pass; like upstream it changes the batch that it is given."""

    def forward(batch: dict[str, Any]) -> Any:
        batch["img"] = batch["img"].to(torch.get_default_dtype()) / 255
        with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            return model(batch)

    return forward


def unscaled(loss: torch.Tensor) -> torch.Tensor:
    return loss


def whole(model: Any, batch: dict[str, Any], autocast: torch.dtype | None = None) -> tuple[torch.Tensor, Any]:
    loss, items = forward_of(model, autocast)(dict(batch))
    loss.sum().backward()
    return loss.sum().detach(), items


def in_pieces(
    model: Any,
    batch: dict[str, Any],
    pieces: int,
    *,
    forward: Callable[[dict[str, Any]], Any] | None = None,
    scale: Callable[[torch.Tensor], torch.Tensor] = unscaled,
) -> tuple[torch.Tensor, Any]:
    from sainet.engine.micro_batch import MicroBatches

    return MicroBatches(model, pieces).backward(batch, forward=forward or forward_of(model), scale=scale)


def naively(model: Any, batch: dict[str, Any], pieces: int) -> None:
    """The sum of the pieces' own losses: what gradient accumulation computes."""
    from sainet.engine.micro_batch import split

    for part in split(batch, pieces):
        whole(model, part)


def taken(model: Any) -> dict[str, torch.Tensor]:
    """The gradients by name, which are gone from the model afterwards."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def distance(mine: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm, of all parameters together."""
    assert mine.keys() == expected.keys()
    difference = torch.stack([(mine[name] - expected[name]).norm() for name in expected]).norm()
    return float(difference / torch.stack([gradient.norm() for gradient in expected.values()]).norm())


def score_sum(model: Any, batch: dict[str, Any]) -> float:
    """The sum of target scores that upstream divides the batch's loss by, where it is above 1."""
    sums: list[float] = []
    model.criterion = model.init_criterion()
    model.criterion.assigner.register_forward_hook(lambda _m, _a, assigned: sums.append(assigned[2].sum().item()))
    with torch.no_grad():
        forward_of(model)(dict(batch))
    model.criterion = None
    return sums.pop()


def assert_same(model: Any, batch: dict[str, Any], pieces: int, bound: float = EXACT) -> None:
    """Gradient, loss and items in pieces are the full batch's; naive pieces would not pass for it."""
    loss, items = whole(model, batch)
    expected = taken(model)
    mine, my_items = in_pieces(model, batch, pieces)
    assert distance(taken(model), expected) < bound
    assert mine.item() == pytest.approx(loss.item(), rel=bound)
    assert not mine.requires_grad
    assert my_items.keys() == items.keys()
    assert [v.item() for v in my_items.values()] == pytest.approx([v.item() for v in items.values()], rel=bound)
    naively(model, batch, pieces)
    assert distance(taken(model), expected) > 1e-3


# --- the same gradient


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml"])
@pytest.mark.usefixtures("doubles")
def test_pieces_have_the_gradient_and_the_loss_of_the_full_batch(name: str, batch: dict[str, Any]) -> None:
    model = detector(name, batch)
    assert score_sum(model, batch) > 1
    for pieces in (2, 3, 4, 20):
        assert_same(model, batch, pieces)


@pytest.mark.parametrize(
    ("name", "data"), [("yolov8n.yaml", "fire-smoke"), ("yolo11n.yaml", "fire-smoke"), ("yolov8n.yaml", "smoke-cctv")]
)
@pytest.mark.usefixtures("singles")
@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # said by the switch that turns oneDNN off
def test_real_images_in_pieces_have_the_gradient_of_the_full_batch(name: str, data: str, shared_data: Path) -> None:
    batch = batch_of(spread(shared_data / data / "images" / "train", 6), side=160)
    model = detector(name, batch)
    assert score_sum(model, batch) > 1
    for pieces in (2, 3, 4, 7):
        assert_same(model, batch, pieces, SINGLE)


@pytest.mark.parametrize(("images", "low", "high"), [(2, 0.1, 0.9), (6, 1.1, 3)])
@pytest.mark.usefixtures("doubles")
def test_the_batch_is_divided_by_one_at_least_and_no_piece_is(
    tiny_set: TinySetMaker, images: int, low: float, high: float
) -> None:
    """Boxes so small that the target scores of one image sum to less than 1."""
    data = tiny_set(images=images, boxes=lambda number: [("smoke", 0.3 + number % 7 / 20, 0.4, 0.2, 0.2)])
    batch = batch_of(data.images())
    model = detector("yolov8n.yaml", batch)
    assert low < score_sum(model, batch) < high
    assert all(score_sum(model, batch_of([image])) < 1 for image in data.images())
    assert_same(model, batch, images)


@pytest.mark.usefixtures("doubles")
def test_a_batch_without_any_box_is_no_exception(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    batch.update(cls=torch.zeros(0, 1), bboxes=torch.zeros(0, 4), batch_idx=torch.zeros(0))
    for pieces in (2, 5):
        assert_same(model, batch, pieces)


@pytest.mark.usefixtures("doubles")
def test_class_weights_are_kept(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    model.class_weights = torch.tensor([0.2, 1.8])
    assert_same(model, batch, 3)


@pytest.mark.usefixtures("doubles")
def test_a_loss_computed_apart_from_the_model_is_exact_too(batch: dict[str, Any]) -> None:
    """The way of a compiled model, whose loss is not compiled."""
    model = detector("yolov8n.yaml", batch)
    whole(model, batch)
    expected = taken(model)
    in_pieces(model, batch, 3, forward=lambda part: model.loss(part, model(part["img"].double() / 255)))
    assert distance(taken(model), expected) < EXACT


# --- accumulation, and parameters that take no part


@pytest.mark.usefixtures("doubles")
def test_gradients_held_from_an_earlier_batch_are_added(batch: dict[str, Any], tiny_set: TinySetMaker) -> None:
    earlier = batch_of(tiny_set(images=4, folder="earlier").images())
    model = detector("yolov8n.yaml", batch)
    whole(model, earlier)
    whole(model, batch)
    expected = taken(model)
    in_pieces(model, earlier, 2)
    in_pieces(model, batch, 3)
    assert distance(taken(model), expected) < EXACT


@pytest.mark.usefixtures("doubles")
def test_frozen_and_unused_parameters_keep_what_they_had(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    model.model[:5].requires_grad_(False)
    model.unused, model.holding = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    model.holding.grad = torch.tensor([1.0, 2.0, 3.0])
    whole(model, batch)
    expected = taken(model)
    model.holding.grad = torch.tensor([1.0, 2.0, 3.0])
    in_pieces(model, batch, 3)
    assert model.unused.grad is None
    assert model.holding.grad.tolist() == [1.0, 2.0, 3.0]
    assert all(parameter.grad is None for parameter in model.model[:5].parameters())
    assert distance(taken(model), expected) < EXACT


@pytest.mark.usefixtures("doubles")
def test_a_failure_leaves_the_gradients_as_they_were(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    whole(model, batch)
    held = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None}
    calls = iter([forward_of(model)])

    def once(part: dict[str, Any]) -> Any:
        forward = next(calls, None)
        if forward is None:
            raise RuntimeError("CUDA out of memory")
        return forward(part)

    with pytest.raises(RuntimeError, match="out of memory"):
        in_pieces(model, batch, 3, forward=once)
    for name, parameter in model.named_parameters():
        before = held.get(name)
        assert parameter.grad is (before and before[0])
        assert before is None or torch.equal(before[0], before[1])
    assert not model.criterion.assigner._forward_hooks


# --- mixed precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pieces_under_autocast_add_little_to_its_own_rounding(batch: dict[str, Any], dtype: torch.dtype) -> None:
    """Halves round each piece for itself: 3% of what they do to the full batch was seen."""
    model = detector("yolov8n.yaml", batch)
    whole(model, batch)
    single = taken(model)
    loss, _ = whole(model, batch, dtype)
    expected = taken(model)
    rounding = distance(expected, single)
    mine, _ = in_pieces(model, batch, 3, forward=forward_of(model, dtype))
    gradients = taken(model)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert distance(gradients, expected) < rounding / 10
    assert mine.item() == pytest.approx(loss.item(), rel=1e-3)
    naively(model, batch, 3)
    assert distance(taken(model), expected) > rounding / 10


@pytest.mark.parametrize("pieces", [2, 3, 6])
@pytest.mark.usefixtures("doubles")
def test_what_is_backpropagated_is_no_larger_than_upstreams_loss(tiny_set: TinySetMaker, pieces: int) -> None:
    """So that fp16 overflows no earlier, though half the images have no box; and not so small that it vanishes."""

    def boxes(number: int) -> list[Box]:
        return [("smoke", x, 0.5, 0.4, 0.8) for x in (0.3, 0.6) if number % 6 > 2]

    batch = batch_of(tiny_set(images=6, boxes=boxes).images(), side=128)
    model = detector("yolov8n.yaml", batch)
    assert score_sum(model, batch) > len(batch["img"])
    loss, _ = whole(model, batch)
    seen: list[float] = []

    def scale(piece: torch.Tensor) -> torch.Tensor:
        seen.append(piece.item())
        return piece

    in_pieces(model, batch, pieces, scale=scale)
    assert len(seen) == pieces
    assert 1 / (4 * pieces) < sum(seen) / loss.item() <= 1


def test_the_scaler_sees_the_overflow_of_one_piece(batch: dict[str, Any]) -> None:
    """It skips the step and lowers its scale; from there the same batch trains."""
    model = detector("yolov8n.yaml", batch)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    before = deepcopy(model.state_dict())

    def step(factors: Iterator[float]) -> None:
        in_pieces(model, batch, 3, scale=lambda loss: scaler.scale(loss) * next(factors))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    step(iter([1, float("inf"), 1]))
    assert scaler.get_scale() == 2.0**15
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    step(iter([1, 1, 1]))
    assert scaler.get_scale() == 2.0**15
    assert not all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# --- memory, the device, and what stays behind


def test_one_piece_at_a_time_is_in_memory_as_floats(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    forward, floats = forward_of(model), []

    def watched(part: dict[str, Any]) -> Any:
        assert all(reference() is None for reference in floats)
        result = forward(part)
        floats.append(weakref.ref(part["img"]))
        return result

    in_pieces(model, batch, 3, forward=watched)
    assert len(floats) == 3
    assert batch["img"].dtype == torch.uint8


class _Reads(TorchDispatchMode):
    """Counts values that the host reads back from a tensor: on a GPU each would wait for it."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*args, **(kwargs or {}))


def test_the_host_reads_nothing_back_between_the_pieces(batch: dict[str, Any]) -> None:
    model = detector("yolov8n.yaml", batch)
    whole(model, batch)
    forward, upstreams = forward_of(model), 0

    def counted(part: dict[str, Any]) -> Any:
        nonlocal upstreams
        before = reads.count
        result = forward(part)
        upstreams += reads.count - before
        return result

    with _Reads() as reads:
        in_pieces(model, batch, 3, forward=counted)
        assert reads.count == upstreams
        float(batch["img"].sum())
        assert reads.count == upstreams + 1, "this test counts nothing"


def test_nothing_stays_on_the_model(batch: dict[str, Any]) -> None:
    plain, model = (detector("yolov8n.yaml", batch) for _ in range(2))
    whole(plain, batch)
    in_pieces(model, batch, 3)
    assert vars(model).keys() == vars(plain).keys()
    assert vars(model.criterion).keys() == vars(plain.criterion).keys()
    assert model.state_dict().keys() == plain.state_dict().keys()
    for module in [*model.modules(), model.criterion.assigner]:
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    pickle.dumps(deepcopy(model))


def test_batch_norm_updates_its_averages_once_a_piece(batch: dict[str, Any]) -> None:
    """The one thing that is not as in the full batch; `MicroBatches` says so."""
    model = detector("yolov8n.yaml", batch)
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    model.train()
    before = int(norm.num_batches_tracked)
    in_pieces(model, batch, 3)
    assert int(norm.num_batches_tracked) == before + 3


# --- refusals


@pytest.mark.parametrize("name", ["yolov10n.yaml", "yolo26n.yaml"])
def test_an_end_to_end_head_is_refused_with_the_reason(name: str) -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    from sainet.engine.micro_batch import MicroBatches

    model = DetectionModel(name, nc=2, verbose=False)
    model.args = get_cfg()
    with pytest.raises(RefusedError, match="end-to-end head adds two losses") as caught:
        MicroBatches(model, 2)
    assert caught.value.problems[0].where == "train.micro_batch"


@pytest.mark.parametrize(
    ("kind", "name", "named"),
    [
        ("SegmentationModel", "yolov8n-seg.yaml", "v8SegmentationLoss"),
        ("WorldModel", "yolov8s-world.yaml", "WorldModel"),  # the right criterion, but a loss of its own
    ],
)
def test_another_loss_is_refused_by_its_name(kind: str, name: str, named: str) -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn import tasks

    from sainet.engine.micro_batch import MicroBatches

    model = vars(tasks)[kind](name, nc=2, verbose=False)
    model.args = get_cfg()
    with pytest.raises(RefusedError, match=named):
        MicroBatches(model, 2)


def test_no_piece_at_all_is_an_error(batch: dict[str, Any]) -> None:
    from sainet.engine.micro_batch import MicroBatches

    with pytest.raises(ValueError, match="1 piece or more"):
        MicroBatches(detector("yolov8n.yaml", batch), 0)


# --- split


@pytest.mark.parametrize(("pieces", "sizes"), [(1, [7]), (2, [3, 4]), (3, [2, 2, 3]), (4, [1, 2, 2, 2]), (9, [1] * 7)])
def test_parts_are_near_equal_and_never_empty(batch: dict[str, Any], pieces: int, sizes: list[int]) -> None:
    from sainet.engine.micro_batch import split

    assert [len(part["img"]) for part in split(batch, pieces)] == sizes


@pytest.mark.parametrize("pieces", [1, 2, 3, 9])
def test_every_image_keeps_its_boxes_and_its_name(batch: dict[str, Any], pieces: int) -> None:
    from sainet.engine.micro_batch import split

    # the boxes of an image need not lie side by side
    shuffled = torch.tensor(np.random.default_rng(0).permutation(len(batch["cls"])))
    batch.update({key: batch[key][shuffled] for key in ("cls", "bboxes", "batch_idx")})
    parts = split(batch, pieces)
    first = 0
    for part in parts:
        assert part.keys() == batch.keys()
        for number in range(len(part["img"])):
            mine, expected = part["batch_idx"] == number, batch["batch_idx"] == first + number
            assert torch.equal(part["img"][number], batch["img"][first + number])
            assert part["im_file"][number] == batch["im_file"][first + number]
            assert torch.equal(part["cls"][mine], batch["cls"][expected])
            assert torch.equal(part["bboxes"][mine], batch["bboxes"][expected])
        first += len(part["img"])
    assert sum(len(part["batch_idx"]) for part in parts) == len(batch["batch_idx"])


def test_images_are_cut_without_a_copy(batch: dict[str, Any]) -> None:
    from sainet.engine.micro_batch import split

    starts = [part["img"].data_ptr() for part in split(batch, 7)]
    assert {second - first for first, second in pairwise(starts)} == {3 * SIDE * SIDE}


def test_a_key_that_cannot_be_cut_is_named(batch: dict[str, Any]) -> None:
    from sainet.engine.micro_batch import split

    batch["texts"] = ["fire", "smoke"]
    with pytest.raises(ValueError, match="'texts': 2 entries for 7 images"):
        split(batch, 2)


# --- what all of this leans on


@pytest.mark.usefixtures("doubles")
def test_upstreams_loss_is_images_times_numerators_over_scores(batch: dict[str, Any]) -> None:
    """Checked on the criterion alone: predictions of the full batch, cut after the forward pass."""
    from ultralytics.utils.loss import v8DetectionLoss

    from sainet.engine.micro_batch import split

    look = "Ultralytics moved {}. Look at sainet/engine/micro_batch.py: pieces would no longer give the same gradient."
    model = detector("yolov8n.yaml", batch)
    preds = model(batch["img"].double() / 255)
    criterion = v8DetectionLoss(model)
    outputs: list[Any] = []
    criterion.assigner.register_forward_hook(lambda _module, _arguments, out: outputs.append(out))
    loss, items = criterion(preds, batch)
    assert len(outputs) == 1, look.format("the one call of v8DetectionLoss.assigner")
    shape = (7, preds["scores"].shape[2], 2)
    assert tuple(outputs[0][2].shape) == shape, look.format("the target scores, the assigner's third output")
    assert torch.allclose(loss, 7 * torch.stack(list(items.values()))), look.format("v8DetectionLoss's items")

    outputs.clear()
    numerators, total = torch.zeros(len(items)), torch.zeros(())
    for image, part in enumerate(split(batch, 7)):
        own = {key: preds[key][image : image + 1] for key in ("boxes", "scores")}
        own["feats"] = [level[image : image + 1] for level in preds["feats"]]
        _, own_items = criterion(own, part)
        score_sum = outputs.pop()[2].sum()
        numerators += torch.stack(list(own_items.values())) * score_sum.clamp(min=1)
        total += score_sum
    expected = 7 * numerators / total.clamp(min=1)
    assert torch.allclose(loss, expected), look.format("the form of v8DetectionLoss: B * numerators / max(scores, 1)")
