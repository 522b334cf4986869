"""Writing a part of the new set: what each worker process does. Doing a part twice comes to the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sainet.data.placing import How, place, write
from sainet.data.prepare.boxes import Row, Said, counts, label_rows, label_text
from sainet.data.prepare.entries import Entry
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.read import Image, images_of
from sainet.data.prepare.sizes import size_of
from sainet.data.prepare.tree import Place

__all__ = ["DATE", "Job", "Part", "rows_of", "write_part"]

DATE = "%Y-%m-%dT%H-%M-%S"


@dataclass(frozen=True)
class Job:
    """What all parts share: the new set's folder, its class ids by name, and the names by the ids of label files."""

    folder: str
    ids: Mapping[str, int]
    names: dict[int, str]
    how: How


@dataclass(frozen=True)
class Part:
    """Some images; of a shard, rows near each other."""

    job: Job
    entries: Sequence[Entry]


def write_part(part: Part) -> dict[str, Any]:
    """Put the images of a part and their label files into the new set.

    `rows`: for the manifest, per image that is written. `images`: how many were worked on. Raises `DataError` for
    what cannot be read, `StorageError` when the disk is full.
    """
    notes, rows, linked = Notes(), list[list[Any]](), 0
    for image in images_of(part.entries, part.job.names, notes):
        if image.said is None:
            continue
        boxes = rows_of(image.said, image.data, part.job.ids, notes)
        linked += _put(image, boxes, part.job)
        rows.append(_manifest_row(image, boxes, part.job, notes))
    return {"images": len(part.entries), "rows": rows, "notes": notes.as_dict(), "linked": linked}


def rows_of(said: Said, data: bytes, ids: Mapping[str, int], notes: Notes) -> list[Row]:
    """The rows of an image's label file; its size is read where the boxes are in pixels."""
    size = None
    if said.declared is not None:
        size = size_of(data)
        if size is None:
            notes.add("image-unreadable", said.where)
    return label_rows(said, size, ids, notes)


def _put(image: Image, boxes: Sequence[Row], job: Job) -> bool:
    """Write both files; whether the image was linked."""
    entry, stem = image.entry, image.entry.name.rpartition(".")[0]
    target = f"{job.folder}/images/{entry.split}/{entry.name}"
    write(f"{job.folder}/labels/{entry.split}/{stem}.txt", label_text(boxes).encode(), at_once=True)
    if isinstance(entry.image, Place) and entry.image.member is None:
        return place(entry.image.path, target, job.how, image.data, at_once=True) == "link"
    write(target, image.data, at_once=True)
    return False


def _manifest_row(image: Image, boxes: Sequence[Row], job: Job, notes: Notes) -> list[Any]:
    entry, date = image.entry, image.date
    if date is not None and not _is_date(date):
        notes.add("date-unreadable", f"{entry.source_id}: {date}")
        date = None
    digest = sha256(image.data).hexdigest()
    numbers = list(counts(boxes, len(job.ids)))
    return [
        entry.name, entry.split, entry.source_id, len(image.data), digest, image.camera, image.partner, date, *numbers
    ]  # fmt: skip


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, DATE)
    except ValueError:
        return False
    return True
