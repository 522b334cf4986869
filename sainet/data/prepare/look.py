"""A first look at the images, before anything is written: which have boxes, and what they look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sainet.data.check.cameras import dated
from sainet.data.check.picture import look_at_bytes
from sainet.data.prepare.entries import Entry
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.read import Image, images_of
from sainet.data.prepare.writing import DATE, Job, rows_of

__all__ = ["LookPart", "look_part"]


@dataclass(frozen=True)
class LookPart:
    """Some images; of a shard, rows near each other. `decode`: whether to see what they look like."""

    job: Job
    entries: Sequence[Entry]
    decode: bool


def look_part(part: LookPart) -> dict[str, Any]:
    """For each image how many boxes it will have, and with `decode` its `Picture.key`, its `Picture.look` and `shots`.

    A shot is a camera and a time in seconds; by the name of the image, by the source's own columns, both or neither.
    Raises `DataError` for what cannot be read.
    """
    told: dict[str, Any] = {"images": len(part.entries), "boxes": [], "keys": [], "looks": [], "shots": []}
    unheard = Notes()  # they come again when the image is written
    for image in images_of(part.entries, part.job.names, unheard):
        rows = rows_of(image.said, image.data, part.job.ids, unheard) if image.said else []
        told["boxes"].append(len(rows))
        if part.decode:
            picture = look_at_bytes(image.data, image.entry.name)
            told["keys"].append(picture.key)
            told["looks"].append(picture.look)
            told["shots"].append(_shots(image))
    return told


def _shots(image: Image) -> list[tuple[str, float]]:
    shots: list[tuple[str, float]] = []
    if by_name := dated(image.entry.name):
        shots.append((f"name {by_name[0]}", by_name[1]))
    if image.camera and image.date:
        try:
            seconds = datetime.strptime(image.date, DATE).timestamp()
        except ValueError:
            return shots
        shots.append((f"columns {image.partner} {image.camera}", seconds))
    return shots
