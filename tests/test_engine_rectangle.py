"""True rectangles: shapes of known colours go through every augmentation, and each box that comes out lies on its own.

Three plain colours on black are the three classes, so that a pixel says which class it belongs to, also where mixup
blends two images: a colour is what stands out of the smallest of the three channels.
"""

import inspect
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT, PlanMaker, TinySet
from engine_cases import dataset_of
from PIL import Image
from test_upstream_contract import require

from sainet.protocol import Plan

pytestmark = pytest.mark.usefixtures("sealed_ultralytics")

LANDSCAPE, PORTRAIT = (416, 736), (736, 416)
SHAPES = pytest.mark.parametrize("shape", [LANDSCAPE, PORTRAIT], ids=["landscape", "portrait"])

SIZES = [(540, 960), (600, 800), (800, 450), (300, 340), (200, 900), (500, 500), (719, 405), (331, 587)]
"""Height and width of the images: 16:9, 4:3, portrait, smaller than the canvas, a panorama, a square, odd numbers."""

TOLERANCE = 2.0
"""Pixels by which a box and its colour may differ: resizing and warping blur an edge."""

STILL = {
    "close_mosaic": 0,
    "mosaic": 0.0,
    "scale": 0.0,
    "translate": 0.0,
    "fliplr": 0.0,
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
}
MOVED = {**STILL, "scale": 0.5, "translate": 0.1, "fliplr": 0.5, "flipud": 0.5}

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "nothing": STILL,
    "scale-translate-flip": MOVED,
    "mosaic": {**STILL, "mosaic": 1.0},
    "mosaic-moved": {**MOVED, "mosaic": 1.0},
    "mixup": {**MOVED, "mosaic": 0.5, "mixup": 1.0},
    "cutmix": {**MOVED, "mosaic": 0.5, "cutmix": 1.0},
    "all": {**MOVED, "mosaic": 1.0, "mixup": 0.5, "cutmix": 0.5},
}


# --- a set of known shapes


Rectangle = tuple[int, float, float, float, float]
"""Class, left, top, right and bottom as shares of the image."""


def rectangles(number: int, height: int, width: int) -> list[Rectangle]:
    """Three side by side along the longer side, in places that differ from image to image, none at an edge."""
    noise = random.Random(number)
    found = []
    for cell, kind in enumerate(noise.sample(range(3), 3)):
        low, high = noise.uniform(0.1, 0.3), noise.uniform(0.6, 0.9)
        along, across = ((cell + low) / 3, (cell + high) / 3), (noise.uniform(0.1, 0.4), noise.uniform(0.6, 0.9))
        (left, right), (top, bottom) = (along, across) if width > height else (across, along)
        # Whole pixels, so that the label is exact.
        left, right = round(left * width) / width, round(right * width) / width
        top, bottom = round(top * height) / height, round(bottom * height) / height
        found.append((kind, left, top, right, bottom))
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["boxes", "polygons"])
def painted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    return painted_set(tmp_path_factory.mktemp("painted"), polygons=request.param)


@pytest.fixture(scope="module")
def painted_boxes(tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    return painted_set(tmp_path_factory.mktemp("painted"), polygons=False)


def painted_set(root: Path, *, polygons: bool) -> TinySet:
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number, (height, width) in enumerate(SIZES):
            shapes = rectangles(number, height, width)
            name = root / "images" / split / f"{number:04d}.png"
            Image.fromarray(drawing(height, width, shapes)).save(name, compress_level=1)
            rows = [polygon_row(*shape) if polygons else box_row(*shape) for shape in shapes]
            (root / "labels" / split / f"{number:04d}.txt").write_text("".join(rows), encoding="utf-8")
    yaml = root / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\nnames: [red, green, blue]\n", encoding="utf-8")
    return TinySet(root, yaml, ("red", "green", "blue"))


def drawing(height: int, width: int, shapes: list[Rectangle]) -> np.ndarray:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for kind, left, top, right, bottom in shapes:
        rows, columns = (round(top * height), round(bottom * height)), (round(left * width), round(right * width))
        pixels[slice(*rows), slice(*columns), kind] = 255
    return pixels


def box_row(kind: int, left: float, top: float, right: float, bottom: float) -> str:
    return f"{kind} {(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}\n"


def polygon_row(kind: int, left: float, top: float, right: float, bottom: float) -> str:
    return f"{kind} {left} {top} {right} {top} {right} {bottom} {left} {bottom}\n"


# --- is every box on its colour, and every colour in a box?


@dataclass(frozen=True)
class Found:
    """One image as the model sees it, and the boxes on it in pixels."""

    pixels: np.ndarray
    """(3, H, W), red, green and blue from 0 to 255."""
    kinds: np.ndarray
    """(N,) classes."""
    boxes: np.ndarray
    """(N, 4) left, top, right, bottom in pixels."""


def found_in(sample: dict[str, Any]) -> Found:
    return found(sample["img"].float(), sample["cls"], sample["bboxes"])


def found(image: torch.Tensor, kinds: torch.Tensor, boxes: torch.Tensor) -> Found:
    """`boxes` are centre x, centre y, width and height as shares of `image`."""
    height, width = image.shape[1:]
    x, y, w, h = boxes.double().numpy().reshape(-1, 4).T
    corners = np.stack([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height], axis=1)
    return Found(image.numpy(), kinds.numpy().reshape(-1).astype(int), corners)


def misfits(seen: Found, *, may_be_dropped_px: float = 0.0) -> list[str]:
    """What is wrong: a box that goes beyond the image or its colour, and colour that no box of its class covers.

    Only regions of fewer than `may_be_dropped_px` pixels may lack a box.
    """
    height, width = seen.pixels.shape[1:]
    beyond = np.concatenate([-seen.boxes, seen.boxes - [width, height] * 2]).max(initial=0.0)
    wrong = [f"a box goes {beyond:.2f} px beyond the image"] if beyond > 0.01 else []
    for kind in range(3):
        colour = coloured(seen.pixels, kind)
        uncovered = colour.copy()
        for left, top, right, bottom in seen.boxes[seen.kinds == kind]:
            inside = colour[pixels_from(top, bottom, -TOLERANCE), pixels_from(left, right, -TOLERANCE)]
            if not inside.all():
                wrong.append(f"box of class {kind} at {left:.0f},{top:.0f},{right:.0f},{bottom:.0f} is too large")
            uncovered[pixels_from(top, bottom, TOLERANCE), pixels_from(left, right, TOLERANCE)] = False
        for left, top, area in regions(uncovered):
            if area >= may_be_dropped_px:
                wrong.append(f"{area} px of class {kind} at {left},{top} have no box")
    return wrong


def coloured(pixels: np.ndarray, kind: int) -> np.ndarray:
    """(H, W) True where the colour of `kind` is; mixup leaves a third of it at the least, grey and black nothing."""
    return np.asarray(pixels[kind] - pixels.min(axis=0) > 60)


def pixels_from(low: float, high: float, margin: float) -> slice:
    return slice(max(0, int(np.ceil(low - margin))), max(0, int(np.floor(high + margin))))


def regions(mask: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Left, top and pixels of each connected region."""
    import cv2

    _, _, rows, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for left, top, _, _, area in rows[1:].tolist():
        yield left, top, area


def largest_px(shape: tuple[int, int]) -> float:
    """Pixels of the largest rectangle of the set at the size that its image is loaded at."""
    from sainet.geometry import fit_inside

    return max(
        (right - left) * (bottom - top) * float(np.prod(fit_inside(height, width, shape)))
        for number, (height, width) in enumerate(SIZES)
        for _, left, top, right, bottom in rectangles(number, height, width)
    )


# --- through every augmentation


@pytest.fixture
def nothing_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream drops the boxes of what scaling and the canvas' edge leave little of. Here it keeps them all.

    So a shape without a box is always a fault.
    """
    from ultralytics.data.augment import RandomPerspective

    def all_that_are_seen(box1: np.ndarray, box2: np.ndarray, area_thr: float) -> np.ndarray:  # noqa: ARG001
        return np.asarray((box2[2] > box2[0]) & (box2[3] > box2[1]))

    monkeypatch.setattr(RandomPerspective, "box_candidates", staticmethod(all_that_are_seen))


def samples_of(dataset: Any, *, epochs: int = 3) -> list[dict[str, Any]]:
    """Every image in each of a few epochs; each may have any other as a partner."""
    from sainet.engine.order import Sample

    group = tuple(range(len(dataset)))
    return [dataset[Sample(epoch, index, group)] for epoch in range(epochs) for index in group]


@SHAPES
@pytest.mark.usefixtures("nothing_is_too_small")
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_box_lies_on_its_shape_and_every_shape_in_its_box(
    engine: SimpleNamespace, plan_for: PlanMaker, painted: TinySet, shape: tuple[int, int], name: str
) -> None:
    augmentation = AUGMENTATIONS[name]
    dataset = dataset_of(engine, plan_for(painted, shape=shape, **augmentation))
    # Cutmix brings in no box for less than a tenth of one.
    dropped_px = 0.1 * largest_px(shape) * (1 + augmentation["scale"]) ** 2 if "cutmix" in augmentation else 0.0
    boxes = 0
    for sample in samples_of(dataset):
        assert sample["img"].shape == (3, *shape)
        seen = found_in(sample)
        assert misfits(seen, may_be_dropped_px=dropped_px) == []
        boxes += len(seen.boxes)
    assert boxes > 2 * len(SIZES), "there was something to look at"


@SHAPES
def test_an_image_without_augmentation_is_whole_in_the_middle(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, shape: tuple[int, int]
) -> None:
    """No aspect is cropped, neither in training once the mosaic is closed nor in validation."""
    plan = plan_for(painted_boxes, shape=shape, **STILL)
    for sample in samples_of(dataset_of(engine, plan), epochs=1) + validated(engine, plan):
        assert sample["img"].shape == (3, *shape)
        assert len(sample["cls"]) == 3
        assert misfits(found_in(sample)) == []
        covered = (sample["img"] < 40).all(dim=0) | (sample["img"] > 200).any(dim=0)
        rows, columns = covered.any(dim=1).nonzero(), covered.any(dim=0).nonzero()
        middle = (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2
        assert torch.tensor(middle) == pytest.approx(torch.tensor(shape) / 2, abs=1)
        assert rows.max() - rows.min() + 1 == shape[0] or columns.max() - columns.min() + 1 == shape[1]


def validated(engine: SimpleNamespace, plan: Plan) -> list[dict[str, Any]]:
    dataset = dataset_of(engine, plan, "val")
    return [dataset[index] for index in range(len(dataset))]


@SHAPES
def test_boxes_of_validation_go_back_to_the_pixels_of_the_file(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, shape: tuple[int, int]
) -> None:
    from ultralytics.utils.ops import scale_boxes

    for number, sample in enumerate(validated(engine, plan_for(painted_boxes, shape=shape))):
        height, width = SIZES[number]
        boxes = torch.tensor(found_in(sample).boxes)
        back = scale_boxes(sample["img"].shape[1:], boxes, sample["ori_shape"], ratio_pad=sample["ratio_pad"])
        labelled = np.array([shape[1:] for shape in rectangles(number, height, width)])
        assert back.numpy() == pytest.approx(labelled * [width, height, width, height], abs=0.05)


@SHAPES
def test_the_mosaic_ends_where_close_mosaic_says(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, shape: tuple[int, int]
) -> None:
    from sainet.engine.order import Sample

    everything = {**AUGMENTATIONS["mosaic"], "mixup": 1.0, "cutmix": 1.0, "epochs": 3, "close_mosaic": 1}
    dataset = dataset_of(engine, plan_for(painted_boxes, shape=shape, **everything))
    group = tuple(range(len(dataset)))
    for index in group:
        seen = found_in(dataset[Sample(2, index, group)])
        assert misfits(seen) == []
        assert len(seen.boxes) == 3
    assert any(len(dataset[Sample(1, index, group)]["cls"]) != 3 for index in group)


@SHAPES
@pytest.mark.usefixtures("nothing_is_too_small")
def test_multi_scale_keeps_the_boxes_on_their_shapes(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, shape: tuple[int, int]
) -> None:
    from sainet.engine.exact import Place

    plan = plan_for(painted_boxes, shape=shape, multi_scale=0.5, **AUGMENTATIONS["mosaic"])
    dataset = dataset_of(engine, plan)
    training = engine.training(plan)
    training.stride = 32
    sizes = set()
    for number in range(8):
        training.loop = SimpleNamespace(place=Place(0, number))
        batch = training.preprocess_batch(dataset.collate_fn(samples_of(dataset, epochs=1)[:2]))
        height, width = batch["img"].shape[2:]
        sizes.add((height, width))
        assert height % 32 == width % 32 == 0
        for image in range(2):
            own = batch["batch_idx"] == image
            seen = found(batch["img"][image] * 255, batch["cls"][own], batch["bboxes"][own])
            assert misfits(seen) == []
    assert len(sizes) > 3
    assert all((height > width) == (shape[0] > shape[1]) for height, width in sizes), "the rectangle stays one"


# --- can these checks fail?


def transposed(seen: Found) -> Found:
    return Found(seen.pixels, seen.kinds, seen.boxes[:, [1, 0, 3, 2]])


def shifted(seen: Found) -> Found:
    return Found(seen.pixels, seen.kinds, seen.boxes + np.array([4, 0, 4, 0]))


def one_too_few(seen: Found) -> Found:
    return Found(seen.pixels, seen.kinds[1:], seen.boxes[1:])


def other_class(seen: Found) -> Found:
    return Found(seen.pixels, (seen.kinds + 1) % 3, seen.boxes)


@SHAPES
@pytest.mark.parametrize("spoil", [transposed, shifted, one_too_few, other_class])
def test_a_box_in_the_wrong_place_is_found(
    engine: SimpleNamespace,
    plan_for: PlanMaker,
    painted_boxes: TinySet,
    shape: tuple[int, int],
    spoil: Callable[[Found], Found],
) -> None:
    dataset = dataset_of(engine, plan_for(painted_boxes, shape=shape, **AUGMENTATIONS["nothing"]))
    for sample in samples_of(dataset, epochs=1):
        seen = found_in(sample)
        assert misfits(seen) == []
        assert misfits(spoil(seen)) != []


# --- the mosaic's own canvas, and who is told of it


@pytest.fixture
def stock_transforms(engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet) -> Callable[..., Any]:
    """Upstream's own transforms of a split, for a square of 352."""
    from ultralytics.data.dataset import YOLODataset

    def build(split: str, copy_paste_mode: str = "flip") -> Any:
        plan = plan_for(painted_boxes, shape=(352, 352), mosaic=0.7, copy_paste_mode=copy_paste_mode)
        return YOLODataset.build_transforms(dataset_of(engine, plan, split), engine.training(plan).args)

    return build


def names(steps: Any) -> list[str]:
    return [type(step).__name__ for step in steps.tolist()]


@SHAPES
def test_a_mosaic_is_twice_the_shape_around_a_centre_in_its_middle(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, shape: tuple[int, int]
) -> None:
    from sainet.engine.rectangle import RectangleMosaic

    dataset = dataset_of(engine, plan_for(painted_boxes, shape=shape))
    dataset.buffer = list(range(len(dataset)))
    mosaic = RectangleMosaic(dataset, shape, p=1.0)
    random.seed(0)
    centres = []
    for _ in range(200):
        layout = mosaic.get_params(dataset.get_image_and_label(0))["layout"]
        centres.append((layout[0]["y2a"], layout[0]["x2a"]))
    for side, values in zip(shape, np.array(centres).T, strict=True):
        assert side / 2 <= values.min() < 0.55 * side
        assert 1.45 * side < values.max() <= 1.5 * side
    for index in range(len(dataset)):
        labels = mosaic(dataset.get_image_and_label(index))
        assert labels["img"].shape == (2 * shape[0], 2 * shape[1], 3)
        assert labels["resized_shape"] == (2 * shape[0], 2 * shape[1])
        assert (labels["instances"].bbox_areas > 0).all()
        assert len(labels["instances"]) == len(labels["cls"])
        image = torch.tensor(labels["img"][..., ::-1].transpose(2, 0, 1).astype(np.float32))
        assert misfits(Found(image.numpy(), labels["cls"].ravel().astype(int), labels["instances"].bboxes)) == []


@SHAPES
@pytest.mark.parametrize("mode", ["flip", "mixup"])
def test_every_step_that_knows_the_size_is_told_the_shape(
    stock_transforms: Callable[..., Any], shape: tuple[int, int], mode: str
) -> None:
    """Also those through which CopyPaste takes its images, and however often it is told."""
    from ultralytics.data.augment import Compose, Mosaic, RandomPerspective

    from sainet.engine.rectangle import RectangleMosaic, make_rectangular

    steps = stock_transforms("train", mode)
    for wanted in (shape[::-1], shape):
        make_rectangular(steps, wanted)
    first, mixup, cutmix = steps.tolist()[:3]
    assert mixup.pre_transform is first
    assert cutmix.pre_transform is first
    pasted = [
        step.pre_transform for step in first.tolist() if isinstance(getattr(step, "pre_transform", None), Compose)
    ]
    assert len(pasted) == (mode == "mixup")
    for chain in [first, *pasted]:
        (mosaic,) = (step for step in chain.tolist() if isinstance(step, Mosaic))
        assert isinstance(mosaic, RectangleMosaic)
        assert (mosaic.shape, mosaic.p) == (shape, 0.7)
        (warp,) = (step for step in chain.tolist() if isinstance(step, RandomPerspective))
        assert warp.size == shape[::-1]
    assert "Albumentations" not in names(steps)


def test_a_mosaics_partners_are_three_others_of_its_group(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet
) -> None:
    from sainet.engine.order import Sample
    from sainet.engine.rectangle import RectangleMosaic

    dataset = dataset_of(engine, plan_for(painted_boxes, shape=(96, 160), close_mosaic=0))
    mosaic = RectangleMosaic(dataset, (96, 160), p=1.0)
    for group, expected in [((5, 0, 3, 2, 7), {0, 2, 3, 7}), ((5, 4), {4}), ((5,), {5})]:
        dataset[Sample(0, 5, group)]
        drawn_sets = [mosaic.get_indexes() for _ in range(50)]
        assert {image for partners in drawn_sets for image in partners} == expected
        assert {len(partners) for partners in drawn_sets} == {3}
        assert {len(set(partners)) for partners in drawn_sets} == {min(3, len(expected))}


# --- a square is upstream's


def test_for_a_square_all_is_upstreams_bit_for_bit_where_it_has_the_same_partners(
    engine: SimpleNamespace, plan_for: PlanMaker, painted: TinySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels and boxes from the same random numbers, and as many of them."""
    from ultralytics.data.augment import Albumentations, Mosaic
    from ultralytics.data.dataset import YOLODataset

    from sainet.engine.rectangle import RectangleMosaic, make_rectangular

    monkeypatch.setattr(RectangleMosaic, "get_indexes", Mosaic.get_indexes)

    shape = (320, 320)
    learning = {"mosaic": 0.8, "mixup": 0.5, "cutmix": 0.5, "copy_paste": 0.5, "flipud": 0.5, "degrees": 5.0}
    plan = plan_for(painted, shape=shape, **learning)
    dataset, hyp = dataset_of(engine, plan), engine.training(plan).args
    dataset.buffer = list(range(len(dataset)))
    for hyp.copy_paste_mode in ("flip", "mixup"):
        stock, mine = YOLODataset.build_transforms(dataset, hyp), YOLODataset.build_transforms(dataset, hyp)
        stock.transforms = [step for step in stock.transforms if not isinstance(step, Albumentations)]
        make_rectangular(mine, shape)
        for seed in range(3 * len(dataset)):
            theirs, then = drawn(stock, dataset, seed)
            ours, now = drawn(mine, dataset, seed)
            assert then == now
            assert theirs.keys() == ours.keys()
            assert all(torch.equal(theirs[key], ours[key]) for key in ("img", "bboxes", "cls"))


def drawn(transforms: Any, dataset: Any, seed: int) -> tuple[dict[str, Any], tuple[float, float]]:
    """A sample, and the random numbers that come after those that it took."""
    random.seed(seed)
    np.random.seed(seed)
    sample: dict[str, Any] = transforms(dataset.get_image_and_label(seed % len(dataset)))
    return sample, (random.random(), np.random.rand())


def test_images_are_loaded_at_upstreams_size_for_a_square(
    engine: SimpleNamespace, plan_for: PlanMaker, painted_boxes: TinySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.data import base

    from sainet.geometry import fit_inside

    dataset = dataset_of(engine, plan_for(painted_boxes), "val")
    noise = random.Random(0)
    for _ in range(300):
        height, width, dataset.imgsz = noise.randint(1, 400), noise.randint(1, 400), 32 * noise.randint(1, 5)
        blank = np.zeros((height, width, 3), dtype=np.uint8)
        monkeypatch.setattr(base, "imread", lambda *_path, blank=blank, **_flags: blank)
        _, before, loaded = base.BaseDataset.load_image(dataset, 0)
        assert before == (height, width)
        assert fit_inside(height, width, (dataset.imgsz, dataset.imgsz)) == loaded


def test_an_image_fills_one_side_of_the_canvas_and_keeps_its_aspect() -> None:
    from sainet.geometry import fit_inside

    assert fit_inside(1080, 1920, (832, 1440)) == (810, 1440)
    assert fit_inside(1200, 1600, (832, 1440)) == (832, 1110)
    assert fit_inside(1920, 1080, (832, 1440)) == (832, 468)
    assert fit_inside(416, 720, (832, 1440)) == (832, 1440)
    assert fit_inside(1, 3000, (832, 1440)) == (1, 1440)
    noise = random.Random(0)
    for _ in range(2000):
        height, width = noise.randint(1, 4000), noise.randint(1, 4000)
        shape = 32 * noise.randint(1, 50), 32 * noise.randint(1, 50)
        rows, columns = fit_inside(height, width, shape)
        assert (rows == shape[0] and columns <= shape[1]) or (columns == shape[1] and rows <= shape[0])
        ratio = min(shape[0] / height, shape[1] / width)
        assert 0 <= rows - height * ratio < 1 + 1e-6 or rows == shape[0]
        assert 0 <= columns - width * ratio < 1 + 1e-6 or columns == shape[1]


# --- what it saves


@pytest.mark.train
def test_a_step_keeps_as_much_less_as_the_rectangle_is_smaller() -> None:
    """The benchmark at a small size; its times mean nothing here."""
    words = [sys.executable, str(PROJECT / "benchmarks" / "rectangle_cost.py")]
    done = subprocess.run(
        [*words, "--side", "320", "--batch", "1", "--rounds", "1"], check=True, stdout=subprocess.PIPE, text=True
    )
    lines = done.stdout.splitlines()
    assert "192x320 against 320x320, batch 1, yolov8n.yaml" in lines
    shares = {line[:18].strip(): float(line[18:].split()[0]) for line in lines[-5:]}
    assert shares["pixels"] == shares["input bytes"] == 0.6
    assert shares["saved activations"] == pytest.approx(0.6, abs=0.01)
    assert shares["time of a step"] > 0
    assert shares["its CPU time"] > 0


# --- what is relied on


PLACE = "engine/rectangle.py"


@pytest.mark.parametrize("mode", ["flip", "mixup"])
def test_upstreams_augmentation_has_the_steps_that_we_change(stock_transforms: Callable[..., Any], mode: str) -> None:
    from ultralytics.data.augment import Compose

    steps = stock_transforms("train", mode)
    mixed = ["Compose", "MixUp", "CutMix", "Albumentations", "RandomHSV", "RandomFlip", "RandomFlip", "Format"]
    require(names(steps) == mixed, "the steps of v8_transforms", PLACE)
    first, mixup, cutmix = steps.tolist()[:3]
    require(mixup.pre_transform is first and cutmix.pre_transform is first, "what mixup and cutmix mix in", PLACE)
    order = (
        ["Mosaic", "CopyPaste", "RandomPerspective"] if mode == "flip" else ["Mosaic", "RandomPerspective", "CopyPaste"]
    )
    require(names(first) == order, "the steps before mixup", PLACE)
    if mode == "mixup":
        pasted = first.tolist()[2].pre_transform
        require(isinstance(pasted, Compose) and names(pasted) == order[:2], "what CopyPaste mixes in", PLACE)


@pytest.mark.parametrize(("split", "mode"), [("train", "flip"), ("train", "mixup"), ("val", "flip")])
def test_no_other_step_knows_the_size(stock_transforms: Callable[..., Any], split: str, mode: str) -> None:
    steps = stock_transforms(split, mode)
    known = {"Mosaic.imgsz", "Mosaic.border", "RandomPerspective.size"} if split == "train" else {"LetterBox.new_shape"}
    require(sized(steps) == known, f"which steps know the image size ({sized(steps)})", PLACE)


def sized(step: Any) -> set[str]:
    """The attributes, here and in the steps inside, that hold 352 or half of it."""
    inner = step.tolist() if hasattr(step, "tolist") else [getattr(step, "pre_transform", None)]
    found = set().union(*(sized(part) for part in inner if part is not None))
    for name, value in getattr(step, "__dict__", {}).items():
        numbers = value if isinstance(value, tuple | list) else [value]
        if any(isinstance(number, int | float) and abs(number) in (352, 176, 704) for number in numbers):
            found.add(f"{type(step).__name__}.{name}")
    return found


def test_the_mosaic_uses_its_size_only_where_ours_replaces_it() -> None:
    from ultralytics.data.augment import Mosaic

    from sainet.engine.rectangle import RectangleMosaic

    using = {
        name
        for name, value in vars(Mosaic).items()
        if inspect.isfunction(value) and ("self.imgsz" in (code := inspect.getsource(value)) or "self.border" in code)
    }
    of_nine_or_of_masks = {"__init__", "apply_instances", "apply_semantic"}
    require(using - of_nine_or_of_masks <= set(vars(RectangleMosaic)), f"Mosaic's use of its size ({using})", PLACE)
    require('item["padw"] + self.border' in inspect.getsource(Mosaic.apply_instances), "Mosaic.apply_instances", PLACE)
    for name in ("get_params", "apply_image", "_cat_labels"):
        ours, theirs = (inspect.signature(vars(kind)[name]).parameters for kind in (RectangleMosaic, Mosaic))
        require(list(ours) == list(theirs), f"the parameters of Mosaic.{name}", PLACE)
