"""Writing some images and their label files into the clean copy: what each worker process does, a part at a time."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sainet.data.check.picture import upright_size
from sainet.data.clean.picture import AS_PNG, SUFFIXES, as_png, ended, format_of
from sainet.data.clean.plan import Change, Item
from sainet.data.clean.rows import About, Mended, mend_labels
from sainet.data.placing import How, place, write
from sainet.data.source import IMAGE_FORMATS
from sainet.files import storage_error

__all__ = ["Part", "write_part"]

_OUT = "left the image out"


@dataclass(frozen=True)
class Part:
    """Images of one split, the folder of the copy, the number of classes, what is left out on request, and whether
    files are linked."""

    items: Sequence[Item]
    out: str
    classes: int
    also: frozenset[str]
    how: How


def write_part(part: Part) -> dict[str, Any]:
    """Write the images and label files of a part; twice comes to the same as once.

    Returns the split, how many `images` were written, how many of them without a box (`backgrounds`), `boxes` by class
    and `changes`, in what JSON can hold.
    Raises `StorageError` when the disk is full, `OSError` for a file that is gone.
    """
    changes: list[Change] = []
    images = backgrounds = 0
    boxes: Counter[int] = Counter()
    folders: set[str] = set()
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of large images and odd EXIF blocks
        for item in part.items:
            mended = _write_one(item, part, changes, folders)
            images += mended is not None
            backgrounds += mended is not None and not mended.boxes
            boxes.update(mended.boxes if mended is not None else ())
    return {
        "split": part.items[0].split,
        "images": images,
        "backgrounds": backgrounds,
        "boxes": [boxes[label] for label in range(part.classes)],
        "changes": changes,
    }


def _write_one(item: Item, part: Part, changes: list[Change], folders: set[str]) -> Mended | None:
    """What became of the labels; None where the image is left out."""
    about = About(part.classes, part.also, partial(upright_size, item.image))
    mended = mend_labels(_read(item.label), about) if item.label is not None else Mended()
    changes += [Change(change.kind, str(item.label), change.line, change.did) for change in mended.changes]
    if mended.emptied:
        lost = mended.changes[-1]
        changes.append(Change(lost.kind, str(item.label), lost.line, f"{_OUT}: no row is left"))
        return None
    if not _write_image(item, _target(part.out, "images", item, folders), part.how, changes):
        return None
    write(f"{_target(part.out, 'labels', item, folders)}.txt", mended.data)
    return mended


def _write_image(item: Item, target: str, how: How, changes: list[Change]) -> bool:
    """Place the file, or a mended one; False where it cannot be."""
    suffix = item.image.rpartition(".")[2]
    anew = [kind for kind in AS_PNG if kind in item.kinds]
    if anew == ["image-ignored"] and suffix.lower() in IMAGE_FORMATS:  # for the dot before its name
        changes.append(Change("image-ignored", item.image, None, f"called it {item.stem}.{suffix}"))
    elif anew:
        return _write_png(item, target, anew, changes)
    if "image-suffix" in item.kinds:
        suffix = SUFFIXES[format_of(_read(item.image))]
        changes.append(Change("image-suffix", item.image, None, f"called it .{suffix}"))
    if "image-no-end" in item.kinds:
        write(f"{target}.{suffix}", ended(_read(item.image)))
        changes.append(Change("image-no-end", item.image, None, "ended it in its end marker"))
    else:
        place(item.image, f"{target}.{suffix}", how)
    return True


def _write_png(item: Item, target: str, anew: list[str], changes: list[Change]) -> bool:
    data = _read(item.image)
    try:
        png = as_png(data)
    except Exception:  # Pillow's decoders raise all kinds
        changes.append(Change(anew[0], item.image, None, f"{_OUT}: it does not decode"))
        return False
    write(f"{target}.png", png)
    changes += [Change(kind, item.image, None, AS_PNG[kind]) for kind in anew]
    return True


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path for each costs more than the call
        return stream.readall() or b""


def _target(out: str, kind: str, item: Item, folders: set[str]) -> str:
    """The path in the copy, without suffix, in a folder that is there."""
    path = f"{out}/{kind}/{item.split}/{item.stem}"
    folder = os.path.dirname(path)  # noqa: PTH120
    if folder not in folders:
        try:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise storage_error(error, Path(folder)) from error
        folders.add(folder)
    return path
