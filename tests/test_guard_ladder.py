"""Which rung comes next: mildest first, one at a time, and nothing again that did not help."""

from typing import Any

import pytest

from sainet.guard.advice import advice
from sainet.guard.ladder import Footing, Ladder, Rung
from sainet.guard.orders import order_for
from sainet.protocol import Orders, Resource

EIGHT = Footing("sainet", workers=8, prefetch_factor=4, val_workers=4, val_prefetch_factor=2, batch=32)


def ladder(**settings: Any) -> Ladder:
    return Ladder(EIGHT.changed(settings))


def down(steps: Ladder, resource: Resource, level: Any, count: int = 20) -> list[str]:
    """The actions of one alarm after the other, until nothing comes any more."""
    actions: list[str] = []
    for _ in range(count):
        rung = steps.next(resource, level)
        if rung is None:
            break
        actions.append(rung.action)
        if rung.ends_attempt:
            break
        steps.took(rung)
        steps.measured(rung, helped=rung.kind != "restart workers")
    return actions


def test_ram_that_is_short_softly_costs_prefetch_then_workers_then_the_cache_and_never_the_run() -> None:
    assert down(ladder(cache="ram"), "ram", "soft") == [
        "prefetch: prefetch_factor 4 -> 1, val_prefetch_factor 2 -> 1",
        "workers: workers 8 -> 4",
        "workers: workers 4 -> 2, val_workers 4 -> 2",
        "workers: workers 2 -> 1, val_workers 2 -> 1",
        "restart workers",
        "drop cache: cache ram -> off",
        "workers: workers 1 -> 0, val_workers 1 -> 0",
    ]


def test_ram_that_is_short_at_once_costs_all_but_one_worker_at_once_and_at_last_the_attempt() -> None:
    actions = down(ladder(cache="ram"), "ram", "hard")
    shed = "workers: workers 8 -> 1, prefetch_factor 4 -> 1, val_workers 4 -> 1, val_prefetch_factor 2 -> 1"
    assert actions == [
        shed,
        "restart workers",
        "drop cache: cache ram -> off",
        "workers: workers 1 -> 0, val_workers 1 -> 0",
        "stop",
    ]


def test_the_cache_in_ram_is_no_remedy_for_a_full_shm() -> None:
    assert not any("cache" in action for action in down(ladder(cache="ram"), "shm", "hard"))


def test_new_workers_are_started_again_and_again_as_long_as_that_helps() -> None:
    """What leaks in them comes back, and is given back each time."""
    leaking = ladder(workers=1, prefetch_factor=1, val_workers=1, val_prefetch_factor=1)
    for _ in range(5):
        rung = leaking.next("ram", "soft")
        assert rung is not None
        assert rung.kind == "restart workers"
        leaking.took(rung)
        leaking.measured(rung, helped=True)


def test_a_step_that_did_not_help_is_not_repeated() -> None:
    steps = ladder()
    steps.took(first := steps.next("ram", "soft") or pytest.fail("no rung"))
    steps.took(second := steps.next("ram", "soft") or pytest.fail("no rung"))
    assert (first.kind, second.kind, second.after) == ("prefetch", "workers", {"workers": 4})
    steps.measured(second, helped=False)
    third = steps.next("ram", "soft")
    assert third is not None
    assert third.kind == "restart workers"
    assert steps.next("shm", "soft") != third, "what did not help RAM may help /dev/shm"


def test_an_attempt_that_the_kernel_ended_comes_back_with_a_quarter_of_the_workers_and_nothing_ahead() -> None:
    steps = ladder(cache="ram")
    found: list[dict[str, object]] = []
    while (rung := steps.after_failure("ram")) is not None:
        found.append(dict(rung.after))
        steps.took(rung)
    assert found == [
        {"workers": 2, "prefetch_factor": 1, "val_workers": 2, "val_prefetch_factor": 1},
        {"workers": 1, "val_workers": 1},
        {"cache": False},
        {"workers": 0, "val_workers": 0},
    ]


def test_vram_gives_back_its_cached_blocks_first_and_only_then_cuts_batches() -> None:
    assert down(ladder(pieces_at_most=4), "vram", "soft") == ["release vram"] * 20
    steps = ladder(pieces_at_most=4)
    steps.measured(Rung("release vram", "vram"), helped=False)
    assert steps.next("vram", "soft") is None
    assert down(ladder(pieces_at_most=6), "vram", "hard") == [
        "micro-batch: micro_batch 1 -> 2",
        "micro-batch: micro_batch 2 -> 4",
        "micro-batch: micro_batch 4 -> 6",
        "stop",
    ]


def test_a_model_that_cannot_be_cut_stops_where_vram_is_short_at_once() -> None:
    assert down(ladder(), "vram", "hard") == ["stop"]
    assert ladder().after_failure("vram") is None


def test_a_smaller_batch_is_taken_only_where_the_user_allows_it() -> None:
    smaller = {"pieces_at_most": 32, "smaller_batches": (24, 16)}
    assert down(ladder(**smaller, on_vram="restart"), "vram", "hard") == ["smaller batch: batch 32 -> 24"]
    steps = ladder(**smaller, on_vram="restart")
    for batch in (24, 16):
        rung = steps.after_failure("vram")
        assert rung is not None
        assert rung.after == {"batch": batch}
        steps.took(rung)
    assert steps.after_failure("vram") is None
    assert down(ladder(**smaller, on_vram="stop"), "vram", "hard") == ["stop"]
    assert down(ladder(**smaller), "vram", "hard")[0] == "micro-batch: micro_batch 1 -> 2"


def test_a_disk_that_fills_up_stops_the_run_before_a_checkpoint_cannot_be_written() -> None:
    assert ladder().next("disk", "soft") is None
    assert down(ladder(), "disk", "hard") == ["stop"]


def test_the_stock_engine_can_only_be_stopped_and_started_with_fewer_workers() -> None:
    stock = ladder(engine="stock")
    assert stock.next("ram", "soft") is None
    assert stock.next("vram", "soft") is None
    assert down(stock, "ram", "hard") == ["stop"]
    rung = stock.after_failure("ram")
    assert rung is not None
    assert rung.after == {"workers": 4}


def test_an_order_asks_again_for_what_the_one_before_it_was_not_obeyed_in() -> None:
    waiting = Orders(number=3, drop_cache=True, workers=2)
    rung = Rung("release vram", "vram")
    order = order_for(rung, EIGHT.changed({"workers": 2, "prefetch_factor": 1}), 4, (1, 7), waiting)
    assert (order.number, order.at, order.drop_cache, order.release_vram) == (4, (1, 7), True, True)
    assert (order.workers, order.prefetch_factor, order.stop) == (2, 1, False)
    assert not order_for(rung, EIGHT, 5, None, None).drop_cache
    assert order_for(Rung("stop", "ram"), EIGHT, 6, None, None).stop


@pytest.mark.parametrize("kind", ["prefetch", "restart workers", "drop cache", "release vram", "micro-batch", "stop"])
def test_every_rung_says_what_to_set_next_time(kind: Any) -> None:
    assert len(advice(Rung(kind, "ram"), EIGHT)) > 20
