"""What the processes of a training take, whatever the loaders do: themselves, the labels, the model, a cache."""

from sainet.memory.budget import Row
from sainet.memory.loader_rows import Amount, row_of, sides, train_workers, validated_images
from sainet.memory.trace_record import ModelFacts
from sainet.memory.workload import Workload

__all__ = ["cache_rows", "caching_rows", "checkpoint_bytes", "plot_rows", "process_rows", "step_rows"]

# Printed by benchmarks/memory/base_processes.py (Linux 6.18, Python 3.11, torch 2.14.1, ultralytics 8.4.190).
SUPERVISOR_BYTES = 51_000_000
"""`sainet train` while it watches; its Python and its libraries, mapped files included."""
TRAINING_BYTES = 442_000_000
"""A training process that has imported PyTorch and Ultralytics and built its loaders, without its model and without
the libraries that it maps."""
LIBRARY_BYTES = 680_000_000
"""What is mapped of the libraries, at most: 366 to 672 MB of the same build were, more where the kernel keeps their
files in larger pieces. All processes share it."""
LABEL_BYTES = 1_750
"""One image's label and names in the training process."""
LABEL_COPY_BYTES = 1_250
"""The part of it that a forked worker has copied once an epoch has passed through it."""
_DRAWN = 16
"""Images in a picture, at most (`sainet.engine.drawing`)."""
_PICTURES = 6
CUDA_HOST_BYTES = 2 * 1024**3
"""The host side of a CUDA context with cuDNN and cuBLAS: assumed, nobody has measured it yet."""


def process_rows(workload: Workload) -> list[Row]:
    """The supervisor, and the training processes with what they know about the images."""
    rows = [
        Row("supervisor", SUPERVISOR_BYTES, "anonymous", "as measured"),
        row_of(workload, "training process", "anonymous", Amount(TRAINING_BYTES, "as measured, without its model")),
        Row("libraries", LIBRARY_BYTES, "page cache", "as measured at most, mapped once for all processes"),
    ]
    if workload.gpus:
        context = Amount(CUDA_HOST_BYTES, "an assumption: CUDA, cuDNN and cuBLAS on the host's side")
        rows.append(row_of(workload, "CUDA on the host", "anonymous", context))
    return [*rows, row_of(workload, "labels", "anonymous", _labels(workload))]


def _labels(workload: Workload) -> Amount:
    if workload.images is None:
        return Amount(0, "how many images there are is not known")
    known, train, workers = workload.images.total, workload.images.train, train_workers(workload)
    return Amount(
        known * LABEL_BYTES + workers * train * LABEL_COPY_BYTES,
        f"{known} images x {LABEL_BYTES} B + {workers} workers x {train} images x {LABEL_COPY_BYTES} B",
    )


def step_rows(workload: Workload, facts: ModelFacts | None, step_bytes: int | None) -> list[Row]:
    """The model where it is trained on the CPU; what writing its weights takes where it is not."""
    if workload.gpus:
        # torch.save writes into memory, and the file is written from a copy of that (`BaseTrainer.save_model`).
        amount = Amount(0, "the model is not known")
        if facts is not None:
            size = checkpoint_bytes(facts)
            amount = Amount(2 * size, f"2 x {size} B of last.pt with the optimizer's state")
        return [Row("weights being written", amount.bytes, "anonymous", amount.formula)]
    if step_bytes is None:
        return [Row("training step", 0, "anonymous", "not traced")]
    height, width = workload.step_shape or workload.shape
    busiest = f"{workload.piece_images} images of {height} x {width} trained, or {validated_images(workload)} validated"
    formula = f"traced: {busiest}, whichever takes more, on the CPU, model and optimizer included"
    return [Row("training step", step_bytes, "anonymous", formula)]


def plot_rows(workload: Workload) -> list[Row]:
    """Pictures of batches, which are drawn in threads: labels and predictions of three batches at the end."""
    if not workload.plots:
        return []
    images = min(_DRAWN, workload.val_batch)
    size = 4 * images * workload.image_bytes()
    formula = f"{_PICTURES} x {images} images x 3 x {sides(workload.shape)} x 4 B"
    return [Row("pictures being drawn", _PICTURES * size, "anonymous", formula)]


def checkpoint_bytes(facts: ModelFacts) -> int:
    """last.pt: the averaged weights in half precision, and the optimizer's state.

    A momentum, which is one number for each that is trained, is halved too; Adam's averages, which are two, are not
    (`ultralytics.utils.torch_utils.convert_optimizer_state_dict_to_fp16`).
    """
    only_momentum = facts.optimizer_bytes < 1.5 * facts.gradient_bytes
    return facts.average_bytes // 2 + (facts.optimizer_bytes // 2 if only_momentum else facts.optimizer_bytes)


# --- the RAM cache ----------------------------------------------------------------------------------------------------


def cache_rows(workload: Workload) -> list[Row]:
    """Every image of both splits, resized and packed, in each process."""
    if workload.cache != "ram":
        return []
    if workload.images is None:
        return [Row("RAM cache", 0, "anonymous", "how many images there are is not known")]
    return [row_of(workload, "RAM cache", "anonymous", _cached(workload, workload.images.total))]


def caching_rows(workload: Workload) -> list[Row]:
    """While the cache is built, the training's split and then the validation's.

    The images of a split are loaded one by one and then packed into one block, so that they are there twice; the room
    that they lay in is given back after that.
    """
    if workload.cache != "ram" or workload.images is None:
        return []
    train, val = workload.images.train, workload.images.val
    packing = max(2 * train, train + 2 * val) - train - val
    unpacked = row_of(workload, "images being packed", "anonymous", _cached(workload, packing))
    return [*cache_rows(workload), unpacked]


def _cached(workload: Workload, count: int) -> Amount:
    assert workload.images is not None
    size = workload.images.fitted_bytes(workload.shape)
    return Amount(round(count * size), f"{count} images x {size:.0f} B, resized to fit")
