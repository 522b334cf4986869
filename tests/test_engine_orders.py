"""Orders to a running training: obeyed at a batch boundary, and without any effect on the weights."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PlanMaker, TinySetMaker
from engine_cases import all_of
from exact_cases import LEARNING, differences, end_of

from sainet.engine.orders import OrderBook
from sainet.files import replace_text
from sainet.protocol import CheckpointSaved, Orders, OrdersApplied, Warned, read_events

IMAGES = 26


def write(path: Path, **fields: Any) -> None:
    replace_text(path, Orders(**fields).model_dump_json() + "\n")


def test_an_order_is_handed_over_once_and_not_before_its_batch(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    told: list[str] = []
    book = OrderBook(path, told.append)
    assert book.due(0, 0) is None, "no file"
    write(path)
    assert book.due(0, 0) is None, "number 0 stands for none"
    write(path, number=1, at=(1, 2), workers=1)
    assert book.due(1, 1) is None
    order = book.due(1, 2)
    assert order is not None
    assert order.workers == 1
    assert book.due(1, 3) is None
    assert not told
    write(path, number=1, workers=4)
    assert book.due(1, 4) is None, "a number that was obeyed"
    write(path, workers=4)
    assert book.due(1, 5) is None
    assert [text.endswith("a new order needs a `number` above 1") for text in told] == [True, True]


def test_an_order_for_a_batch_that_has_passed_is_due_at_once(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    book = OrderBook(path, pytest.fail)
    write(path, number=3, at=(0, 5))
    assert book.due(2, 0) is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "Invalid JSON"),
        (b'{"number": 1, "stop": \xff}', "Invalid JSON"),
        (b'{"number": "many"}', "number: "),
        (b'{"number": 1, "worker": 3}', "worker: Extra inputs"),
        (b'{"number": 1, "workers": -1}', "workers: "),
        (b'{"number": 1, "prefetch_factor": 0}', "prefetch_factor: "),
    ],
)
def test_a_file_that_is_no_order_is_told_once_and_passed_over(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "orders.json"
    told: list[str] = []
    book = OrderBook(path, told.append)
    path.write_bytes(text)
    assert book.due(0, 0) is None
    assert book.due(0, 1) is None
    (warning,) = told
    assert f"orders.json is passed over, it is no order: {problem}" in warning
    write(path, number=1, checkpoint=True)
    assert book.due(0, 2) is not None


def test_an_order_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "orders.json"
    path.mkdir()
    assert OrderBook(path, told.append).due(0, 0) is None
    assert told == [f"{path} cannot be read: Is a directory"]


def test_a_file_that_is_just_being_written_is_no_order_yet(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    book = OrderBook(path, pytest.fail)
    path.write_text("")
    assert book.due(0, 0) is None


def test_looking_for_orders_costs_a_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "orders.json"
    write(path, number=1)
    book = OrderBook(path, pytest.fail)
    book.due(0, 0)
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("read again"))
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert book.due(0, 1) is None


@pytest.mark.train
def test_orders_in_mid_epoch_lose_no_sample_and_change_no_bit(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=IMAGES)
    untouched = end_of(engine.training(plan_for(data, root=data.root / "untouched", **LEARNING)))
    plan = plan_for(data, root=data.root / "ordered", loader={"workers": 2}, **LEARNING)
    orders = {
        (0, 2): {"workers": 1, "prefetch_factor": 1},
        (0, 5): {"workers": 0},
        (1, 3): {"workers": 2, "prefetch_factor": 3},
        (2, 1): {"checkpoint": True},
    }
    training = engine.training(plan)
    before_batch = iter(range(1, 5))

    def order_next(place: Any) -> None:
        if (wanted := orders.get((place.epoch, place.batch))) is not None:
            write(plan.orders, number=next(before_batch), **wanted)

    training.add_callback("on_train_batch_start", lambda t: order_next(t.loop.place))
    ordered = end_of(training)
    assert differences(untouched, ordered) == []
    applied = all_of(OrdersApplied, read_events(plan.events))
    assert [(event.number, event.epoch, event.batch) for event in applied] == [
        (1, 0, 3),
        (2, 0, 6),
        (3, 1, 4),
        (4, 2, 2),
    ]
    assert applied[0].changes == {"workers": (2, 1), "prefetch_factor": (2, 1)}
    assert applied[3].changes == {}
    saved = all_of(CheckpointSaved, read_events(plan.events))
    assert [(event.epoch, event.batch) for event in saved if event.reason == "order"] == [(2, 2)]


@pytest.mark.train
def test_the_stock_engine_obeys_an_order_to_stop_and_tells_of_others(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    from sainet.engine.lifeline import StoppedByOrder

    plan = plan_for(tiny_set(images=IMAGES), engine="stock", **LEARNING)
    write(plan.orders, number=1, workers=2, drop_cache=True)
    training = engine.training(plan)
    training.add_callback("on_train_epoch_end", lambda _: write(plan.orders, number=2, at=(1, 1), stop=True))
    with pytest.raises(StoppedByOrder):
        training.train()
    warnings = [event.message for event in all_of(Warned, read_events(plan.events))]
    assert (
        "order 1 is not obeyed: the stock engine can only be ordered to stop, and it asks for workers, drop_cache"
    ) in warnings
    assert (plan.weights_dir / "last.pt").exists(), "the first epoch is kept"
    assert not plan.checkpoint_dir.exists()
