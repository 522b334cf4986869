"""Reading and writing weights files so that a kill never leaves half of one."""

import csv
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sainet.errors import StorageError, WeightsError
from sainet.files import replacing, storage_error

_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")
"""What torch.save says instead of ENOSPC, depending on where in the file it struck."""


def load(path: Path) -> dict[str, Any]:
    """An Ultralytics checkpoint of a detector as a dictionary, on the CPU.

    Raises `WeightsError` when the file is missing, or is not one.
    """
    from ultralytics.nn.tasks import load_checkpoint

    hint = "name another file with --weights, or start from scratch with --weights yolov8s.yaml"
    if not path.is_file():  # upstream would look for it on the network
        raise WeightsError(f"there are no weights {path}", hint=hint)
    try:
        model, checkpoint = load_checkpoint(path)
    except (TypeError, KeyError, AttributeError, ModuleNotFoundError, OSError) as error:
        reason = re.sub(r"^ERROR[^\w/]*", "", str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a YOLO checkpoint: {reason}", hint=hint) from error
    if model.task != "detect":
        raise WeightsError(f"{path} is a YOLO checkpoint for the task {model.task!r}, not 'detect'", hint=hint)
    return dict(checkpoint)


def is_finished(checkpoint: Mapping[str, Any], *, epochs: int, patience: int) -> bool:
    """True when all epochs of the checkpoint's training were trained, so that only its evaluation is left.

    A file without optimizer state was stripped, which is the very last thing that happens to it.
    """
    if checkpoint.get("optimizer") is None or checkpoint["epoch"] + 1 >= epochs:
        return True
    best_epoch = (checkpoint.get("stopper") or {}).get("best_epoch", 0)
    return bool(patience and checkpoint["epoch"] + 1 - best_epoch >= patience)


def epochs_trained(checkpoint: Mapping[str, Any]) -> int:
    """How many epochs lie behind a checkpoint, also when it was stripped, which takes its epoch away."""
    results = checkpoint.get("train_results") or {}
    return max(int(checkpoint["epoch"]) + 1, len(next(iter(results.values()), [])))


@contextmanager
def whole_files(weights_dir: Path) -> Iterator[Path]:
    """A scratch folder; the files written into it move to `weights_dir` when the block ends well.

    last.pt moves last: until then a resume starts from the epoch before, whose best.pt is no better.
    Raises `StorageError` when the disk is full; what stood in `weights_dir` is untouched then.
    """
    scratch = weights_dir / ".writing"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed process may have left half a file here
    try:
        scratch.mkdir(parents=True)
        for leftover in weights_dir.glob(".*.tmp"):  # or have died between the two renames
            leftover.unlink()
        yield scratch
        for path in sorted(scratch.iterdir(), key=lambda p: p.name == "last.pt"):
            with replacing(weights_dir / path.name) as temporary:
                path.replace(temporary)
    except OSError as error:
        raise storage_error(error, weights_dir) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _TORCH_CANNOT_WRITE):
            raise
        raise StorageError(
            f"cannot write weights to {weights_dir}: the disk is full or failing",
            hint="everything saved before is intact: free some space, then run the same command with --resume",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_results(path: Path, results: Mapping[str, list[Any]]) -> None:
    """The rows of results.csv that belong to a checkpoint, so that a resumed run continues them."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(results)
        writer.writerows(zip(*results.values(), strict=True))
