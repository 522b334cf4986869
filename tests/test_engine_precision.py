"""Switches of precision and speed reach PyTorch as the plan has them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PlanMaker, TinySetMaker


def switches() -> tuple[bool, ...]:
    backends = torch.backends
    return backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    before = switches()
    yield
    backends = torch.backends
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark = before


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (False, True, False)),
        ({"tf32": True}, (True, True, False)),
        ({"tf32": False}, (False, False, False)),
        ({"cudnn_benchmark": True, "deterministic": False}, (False, True, True)),
    ],
)
@pytest.mark.parametrize("kind", ["sainet", "stock"])
def test_switches_are_those_of_the_plan(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, asked: Any, expected: Any, kind: Any
) -> None:
    engine.training(plan_for(tiny_set(), engine=kind, **asked))
    assert switches() == expected
    assert torch.are_deterministic_algorithms_enabled() is asked.get("deterministic", True)
