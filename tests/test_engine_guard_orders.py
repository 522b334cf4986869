"""The orders by which memory is won while a training runs: what they give back, and that no bit of it changes."""

import multiprocessing
import weakref
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PlanMaker, TinySetMaker
from engine_cases import all_of, dataset_of
from exact_cases import LEARNING, differences, end_of

from sainet.files import replace_text
from sainet.protocol import LoaderPlan, Orders, OrdersApplied, Plan, Warned, read_events

IMAGES = 14  # four batches of four, the last one of two
TWO_EPOCHS: dict[str, Any] = {**LEARNING, "epochs": 2}
TOGETHER = Orders(number=2, micro_batch=1)
Place = tuple[int, int]


def ordered(engine: SimpleNamespace, plan: Plan, orders: Mapping[Place, dict[str, Any]]) -> Any:
    """A training that is given each order while the batch before its place is computed, numbered from 1."""
    training = engine.training(plan)
    numbers = {place: number for number, place in enumerate(orders, 1)}

    def write(trained: Any) -> None:
        following = trained.loop.place.epoch, trained.loop.place.batch + 1
        if following in orders:
            order = Orders(number=numbers[following], **orders[following])
            replace_text(plan.orders, order.model_dump_json())

    training.add_callback("on_train_batch_start", write)
    return training


def applied(plan: Plan) -> dict[Place, dict[str, tuple[int | bool, int | bool]]]:
    return {(event.epoch, event.batch): event.changes for event in all_of(OrdersApplied, read_events(plan.events))}


def workers_alive() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


@pytest.mark.train
def test_no_order_for_loaders_or_the_cache_changes_one_bit(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=IMAGES, val_images=12)
    options: dict[str, Any] = {**TWO_EPOCHS, "loader": {"workers": 2}, "val_loader": {"workers": 2}, "cache": "ram"}
    untouched = end_of(engine.training(plan_for(data, root=data.root / "untouched", **options)))

    plan = plan_for(data, root=data.root / "ordered", **options)
    training = ordered(
        engine,
        plan,
        {
            (0, 1): {"restart_workers": True},
            (0, 2): {"val_workers": 1, "val_prefetch_factor": 1},
            (0, 3): {"drop_cache": True, "release_vram": True},
            (1, 1): {"drop_cache": True},
            (1, 2): {"restart_workers": True, "workers": 1},
            (1, 3): {"release_vram": True},
        },
    )
    training_workers: dict[Place, set[int]] = {}
    validating: list[int] = []
    training.add_callback(
        "on_train_batch_end", lambda t: training_workers.update({(t.epoch, t.loop.place.batch): workers_alive()})
    )
    training.add_callback("on_val_batch_start", lambda _: validating.append(len(workers_alive())))
    assert differences(untouched, end_of(training)) == []
    assert applied(plan) == {
        (0, 1): {"restarted_workers": (2, 2)},
        (0, 2): {"val_workers": (2, 1), "val_prefetch_factor": (2, 1)},
        (0, 3): {"cache": (True, False)},
        (1, 1): {},
        (1, 2): {"restarted_workers": (1, 1), "workers": (2, 1)},
        (1, 3): {},
    }
    before, after, same = (training_workers[0, batch] for batch in (0, 1, 2))
    assert len(before) == len(after) == 2
    assert not before & after, "every worker is a new one"
    assert after == same, "validation's settings do not concern training's workers"
    assert len(training_workers[1, 2]) == 1
    assert validating == [2 + 1] * 2 + [1 + 1] * 2, "training's, and one of validation's instead of two"
    for loader in (training.train_loader, training.test_loader):
        assert set(loader.dataset.ims) == {None}


@pytest.mark.train
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_images_come_from_their_files_again_once_the_cache_is_dropped(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
) -> None:
    """A cache on disk takes no RAM and stays."""
    from sainet.engine import samples

    reads: list[str] = []
    imread = samples.imread
    monkeypatch.setattr(samples, "imread", lambda file, **how: reads.append(file) or imread(file, **how))
    data = tiny_set(images=IMAGES)
    plan = plan_for(data, **{**TWO_EPOCHS, "epochs": 1}, cache=cache)
    training = ordered(engine, plan, {(0, 2): {"drop_cache": True}})
    read: dict[int, int] = {}
    training.add_callback("on_train_batch_start", lambda t: read.setdefault(t.loop.place.batch, len(reads)))
    end_of(training)
    assert read[0] == read[1], "one is loaded before it is looked at"
    assert (read[2] > read[1]) == (cache == "ram")
    assert applied(plan) == {(0, 2): {"cache": (True, False)} if cache == "ram" else {}}


def test_a_dropped_cache_goes_back_to_the_system(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """Of this process and of the workers that shared it: 24 images of 640x640 are 29 MB."""
    from sainet.engine.loader import TrainLoader, ValLoader
    from sainet.engine.obeying import obey
    from sainet.engine.order import EpochOrder

    plan = plan_for(tiny_set(images=24), shape=(640, 640), cache="ram", mosaic=0.0)
    dataset, val_dataset = (dataset_of(engine, plan, split) for split in ("train", "val"))
    settings = LoaderPlan(workers=2, prefetch_factor=1, pin_memory=False, persistent_workers=True, timeout_s=60)
    loader = TrainLoader(dataset, EpochOrder(24, 4, 0), settings, 1)
    training = SimpleNamespace(
        train_loader=loader, test_loader=ValLoader(val_dataset, 4, settings), pieces=1, device=torch.device("cpu")
    )
    cached_bytes = dataset.ims.buffer.nbytes
    assert cached_bytes == 24 * 3 * 640 * 640
    with closing(loader):
        first = loader.batch(0, 0)["img"].clone()
        before_bytes = anonymous_bytes()
        assert obey(training, Orders(number=1, drop_cache=True)) == {"cache": (True, False)}
        assert before_bytes - anonymous_bytes() > 0.95 * cached_bytes
        assert workers_alive() == set()
        assert torch.equal(loader.batch(0, 0)["img"], first)


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def test_batches_that_came_out_of_turn_are_given_back_when_the_workers_end(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """PyTorch's iterator holds on to them, and each is a file in /dev/shm; how workers ended is still known."""
    from sainet.engine.loader import TrainLoader
    from sainet.engine.order import EpochOrder

    dataset = dataset_of(engine, plan_for(tiny_set(images=8), mosaic=0.0))
    settings = LoaderPlan(workers=2, prefetch_factor=1, pin_memory=False, persistent_workers=True, timeout_s=60)
    loader = TrainLoader(dataset, EpochOrder(8, 2, 0), settings, 1)
    with closing(loader):
        early = loader.batch(0, 0)
        stream = loader._stream
        assert stream is not None
        stream._batches._task_info[3] = (0, early)  # where PyTorch puts what comes before it is asked for
        image = weakref.ref(early["img"])
        del early
        assert image() is not None
        loader.change(workers=1)
        assert image() is None
        assert [worker.exitcode is not None for worker in stream._workers] == [True, True]


# --- batches in pieces


@pytest.mark.train
def test_a_training_is_cut_from_the_next_batch_on_as_if_it_had_begun_so_and_put_together_again(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn.tasks import BaseModel

    data = tiny_set(images=IMAGES, val_images=5)
    sizes: list[tuple[int, bool, int]] = []
    weights: list[dict[str, torch.Tensor]] = []
    predict = BaseModel.predict

    def watched(model: Any, images: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append((training.epoch, model.training, len(images)))
        return predict(model, images, *arguments, **options)

    def keep(trained: Any) -> None:
        if trained.epoch == 0:
            weights.append({name: value.clone() for name, value in trained.model.state_dict().items()})

    planned = engine.training(plan_for(data, root=data.root / "planned", micro_batch=2, **TWO_EPOCHS))
    planned.add_callback("on_train_epoch_end", keep)
    end_of(planned)
    plan = plan_for(data, root=data.root / "ordered", **TWO_EPOCHS)
    replace_text(plan.orders, Orders(number=1, micro_batch=2).model_dump_json())
    training = engine.training(plan)
    training.add_callback("on_train_start", lambda _: monkeypatch.setattr(BaseModel, "predict", watched))
    training.add_callback("on_train_epoch_end", keep)
    training.add_callback("on_fit_epoch_end", lambda _: replace_text(plan.orders, TOGETHER.model_dump_json()))
    end_of(training)
    assert differences(*weights) == []
    assert applied(plan) == {(0, 0): {"micro_batch": (1, 2)}, (1, 0): {"micro_batch": (2, 1)}}
    seen = {
        (epoch, is_training): [images for e, t, images in sizes if (e, t) == (epoch, is_training)]
        for epoch in (0, 1)
        for is_training in (True, False)
    }
    assert seen == {(0, True): [2] * 6 + [1, 1], (0, False): [2, 3], (1, True): [4, 4, 4, 2], (1, False): [5]}


@pytest.mark.train
def test_an_order_to_cut_what_cannot_be_cut_is_told_and_changes_nothing(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    plan = plan_for(tiny_set(), weights="yolov10n.yaml", **{**TWO_EPOCHS, "epochs": 1})
    replace_text(plan.orders, Orders(number=1, micro_batch=2, val_workers=1).model_dump_json())
    training = engine.training(plan)
    end_of(training)
    assert applied(plan) == {(0, 0): {"val_workers": (0, 1)}}
    assert training.pieces == training.validator.pieces == 1
    warnings = [event.message for event in all_of(Warned, read_events(plan.events))]
    assert any(text.startswith("order 1: this model's batch cannot be computed in pieces") for text in warnings)


# --- VRAM, with PyTorch's answers replaced: there is no GPU


def test_unused_vram_is_released_and_told_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from sainet.engine import obeying

    reserved = {"bytes": 9_000}
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: reserved["bytes"])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: reserved.update(bytes=4_000))
    order = Orders(number=1, release_vram=True)
    assert obeying._release_vram(torch.device("cpu"), order) == {}
    assert obeying._release_vram(torch.device("cuda", 0), Orders(number=1)) == {}
    assert reserved["bytes"] == 9_000
    assert obeying._release_vram(torch.device("cuda", 0), order) == {"reserved_bytes": (9_000, 4_000)}


def test_the_largest_free_block_is_looked_for_every_half_minute_and_nothing_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sainet.engine import vram_figures

    blocks = [(0, "inactive", 10), (0, "active_allocated", 99), (0, "inactive", 30), (1, "inactive", 70)]
    segments = [{"device": device, "blocks": [{"state": state, "size": size}]} for device, state, size in blocks]
    looks: list[float] = []
    clock = {"s": 1000.0}
    monkeypatch.setattr(vram_figures.time, "monotonic", lambda: clock["s"])
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: looks.append(clock["s"]) or segments)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 400)
    watch = vram_figures.VramWatch()
    assert watch.read(torch.device("cpu")) == (None, None, None)
    assert not looks
    assert watch.read(torch.device("cuda", 0)) == (500, 400, 30)
    segments.clear()
    clock["s"] += 29
    assert watch.read(torch.device("cuda", 0)) == (500, 400, 30), "as it was"
    clock["s"] += 1
    assert watch.read(torch.device("cuda", 0)) == (500, 400, 0), "no block is free"
    assert looks == [1000.0, 1030.0]
