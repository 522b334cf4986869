"""Everything a training is made of between two batches, taken out of a trainer and put back into one."""

import hashlib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.utils.torch_utils import unwrap_model

from sainet.errors import DataError, StorageError

State = dict[str, Any]

_STOPPER = ("best_fitness", "best_epoch", "possible_stop")
"""What early stopping remembers; its patience is a setting, which a resume may change."""


@dataclass(frozen=True)
class Place:
    """Where a training stands: batch `batch` of `epoch` comes next, both counted from 0.

    `batch` equal to the number of batches means that the epoch's validation comes next.
    """

    epoch: int
    batch: int


def capture(training: Any, place: Place, last_step: int) -> State:
    """The state before `place`: tensors as they are, in FP32, and everything else that the next batch depends on.

    `last_step` is the number of the batch, over all epochs, that the optimizer's last step came after. Gradients are
    part of the state where some wait for the next step.
    """
    model = unwrap_model(training.model)
    return {
        "place": (place.epoch, place.batch),
        "last_step": last_step,
        "data": fingerprint(training),
        "architecture": model.yaml,
        "model": model.state_dict(),
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "criterion": getattr(getattr(model, "criterion", None), "updates", None),
        "ema": training.ema.ema.state_dict(),
        "ema_updates": training.ema.updates,
        "optimizer": training.optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "stopper": {name: getattr(training.stopper, name) for name in _STOPPER},
        "best_fitness": training.best_fitness,
        "fitness": training.fitness,
        "metrics": training.metrics,
        "loss": training.loss,
        "loss_items": getattr(training, "loss_items", None),
        "loss_names": training.loss_names,
        "mean_losses": training.tloss,
        "nan_recoveries": training.nan_recovery_attempts,
        "results": _text(training.csv),
        "seconds": time.time() - training.train_time_start,
        "random": _random_states(training.device),
    }


def restore(training: Any, state: State) -> tuple[Place, int]:
    """Put `state` into a trainer that was set up for the same training; returns the place and the last step.

    Raises `DataError` when the images are not those that the state was trained and validated on, `StorageError` when
    it belongs to another model.
    """
    _check_data(training, state["data"])
    model, device = unwrap_model(training.model), training.device
    try:
        model.load_state_dict(state["model"])
        training.ema.ema.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise StorageError(
            f"the checkpoint belongs to another model: {str(error).splitlines()[0]}",
            hint="another version of Ultralytics may build it differently; start the stage anew with another --run",
        ) from error
    for name, parameter in model.named_parameters():
        gradient = state["gradients"].get(name)
        parameter.grad = None if gradient is None else gradient.to(device)
    if state["criterion"] is not None:  # the two heads of an end-to-end model, whose weights move with the epochs
        model.criterion = model.init_criterion()
        model.criterion.updates = state["criterion"] - 1
        model.criterion.update()
    training.ema.updates = state["ema_updates"]
    training.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:  # empty where the GPU before could not do mixed precision
        training.scaler.load_state_dict(state["scaler"])
    training.stopper.__dict__.update(state["stopper"])
    training.best_fitness, training.fitness = state["best_fitness"], state["fitness"]
    training.metrics, training.loss_names = state["metrics"], state["loss_names"]
    training.loss, training.loss_items, training.tloss = (
        _on(device, state[name]) for name in ("loss", "loss_items", "mean_losses")
    )
    training.nan_recovery_attempts = state["nan_recoveries"]
    if state["results"] is not None:
        training.csv.write_text(state["results"], encoding="utf-8")
    training.seconds_before = state["seconds"]
    _set_random_states(state["random"], device)
    return Place(*state["place"]), state["last_step"]


def is_finished(state: State, *, epochs: int, patience: int) -> bool:
    """True when all epochs are trained, or patience ran out, so that only the evaluation is left."""
    place = Place(*state["place"])
    ran_out = bool(patience and place.batch == 0 and place.epoch - state["stopper"]["best_epoch"] >= patience)
    return place.epoch >= epochs or (ran_out and place.epoch > 0)


def fingerprint(training: Any) -> State:
    """What the order of the samples depends on, and what best.pt and patience were judged by.

    Folders may move (staging, another mount), names may not.
    """
    order = training.train_loader.order
    return {
        "batch": order.batch,
        "seed": order.seed,
        "training": _images(training.train_loader.dataset.im_files),
        # Of squares they are sorted by shape, in which equal ones come as the machine's own sort leaves them.
        "validation": _images(sorted(training.test_loader.dataset.im_files)),
    }


def _images(files: list[str]) -> tuple[int, str]:
    """How many there are, and the hash of their names in this order."""
    names = "\n".join(Path(file).name for file in files)
    return len(files), hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def _check_data(training: Any, then: State) -> None:
    now = fingerprint(training)
    if now == then:
        return
    split = "validation" if now["training"] == then["training"] else "training"
    (count_then, _), (count_now, _) = then[split], now[split]
    counts = f"{count_then} then, {count_now} now"
    differ = counts if count_then != count_now else "as many, with other names"
    raise DataError(
        f"the {split} images are not those that this training began with ({differ}): it cannot go on exactly",
        where=training.plan.data.yaml,
        hint="put the images back as they were, or start a new training with another --run",
    )


def _on(device: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _on(device, item) for key, item in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _random_states(device: Any) -> State:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        # Of this process's own GPU: asking the others would open a context on each.
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_random_states(states: State, device: Any) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
