"""Two rehearsals at different numbers of images make a trace for any number."""

from itertools import groupby
from typing import Any

from torch import Tensor

from sainet.engine.micro_batch import MicroBatches
from sainet.errors import RefusedError
from sainet.memory.trace_record import ModelFacts, Moment, Trace, TraceRequest
from sainet.memory.vram.detector import build
from sainet.memory.vram.ledger import Ledger
from sainet.memory.vram.rehearsal import Rehearsal, rehearse

IMAGES = (2, 3)
"""How many the two rehearsals compute at once: few, but more than one, which is a special case to some operators."""


def trace(request: TraceRequest) -> Trace:
    """Rehearse the request twice. Raises `SainetError` for what cannot be trained, `RuntimeError` if the two differ."""
    model = build(request)
    few, more = (rehearse(model, request, images) for images in IMAGES)
    facts = _facts(few)
    validation = join(few.validating, more.validating, facts, [])
    return join(few.ledger, more.ledger, facts, validation.moments())


def join(few: Ledger, more: Ledger, facts: ModelFacts, validating: list[Moment]) -> Trace:
    """Every storage's size is a constant and a share per image: the same storages must come in the same order."""
    if few.operators != more.operators:
        raise RuntimeError("the training step does other things for another number of images")
    image_bytes = [b - a for a, b in zip(few.sizes, more.sizes, strict=True)]
    fixed_bytes = [size - IMAGES[0] * each for size, each in zip(few.sizes, image_bytes, strict=True)]
    return Trace(
        facts=facts,
        order=_ordered(few.events),
        fixed_bytes=fixed_bytes,
        image_bytes=image_bytes,
        validating=validating,
    )


def _ordered(events: list[int]) -> list[int]:
    """Storages freed one after the other in one order: autocast's cache frees its own by their addresses."""
    ordered: list[int] = []
    for frees, run in groupby(events, key=lambda event: event < 0):
        ordered += sorted(run, reverse=frees)
    return ordered


def _facts(rehearsal: Rehearsal) -> ModelFacts:
    model = rehearsal.model
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    average = rehearsal.average.ema
    state = [value for values in rehearsal.optimizer.state.values() for value in values.values()]
    return ModelFacts(
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in trained),
        weight_bytes=_bytes([*parameters, *model.buffers()]),
        optimizer_bytes=_bytes([value for value in state if isinstance(value, Tensor)]),
        average_bytes=_bytes([*average.parameters(), *average.buffers()]),
        gradient_bytes=_bytes(trained),
        adds_up=_adds_up(model),
    )


def _adds_up(model: Any) -> bool:
    try:
        MicroBatches(model, 2)
    except RefusedError:
        return False
    return True


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
