"""What was left out or changed while a set was prepared: counted by kind, with the first places of each."""

from collections.abc import Mapping
from typing import Any

__all__ = ["KINDS", "Notes"]

KINDS: dict[str, str] = {
    "image-absent": "annotated images that are not there: left out",
    "no-split": "images that no split names: left out",
    "label-orphan": "annotations without an image: left out",
    "label-unreadable": "images whose annotations cannot be read: left out",
    "two-splits": "images published in two splits: kept in test before val before train",
    "annotated-twice": "images that were annotated twice: the first was taken",
    "label-missing": "images of a split without any annotation: taken for backgrounds",
    "class-unknown": "boxes of other classes: left out",
    "box-degenerate": "boxes without an area inside the image: left out",
    "box-clipped": "boxes over the edge: cut at the edge",
    "row-unreadable": "rows that are no boxes: left out",
    "all-boxes-left-out": "images that lost all of their boxes so: now backgrounds",
    "size-differs": "images of another size than the annotations say",
    "image-unreadable": "images whose size cannot be read: kept; `sainet data check` says more",
    "renamed": "images of one name: the others got a number",
    "shard-absent": "shards that the names of the others speak of, and that are not there",
    "date-unreadable": "dates that are none: left out of the manifest",
}
"""Every kind of note, with its title."""

_KEPT = 3


class Notes:
    """Counts by kind, and the first few places of each: a file and a line where there is one, and what is there."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, place: str, count: int = 1) -> None:
        """`place` is an example; it may be empty where there is none to give."""
        if kind not in KINDS:
            raise KeyError(kind)
        self._counts[kind] = self._counts.get(kind, 0) + count
        examples = self._examples.setdefault(kind, [])
        if place and len(examples) < _KEPT:
            examples.append(place)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Count in what `as_dict` of others said, who came later."""
        for kind, one in other.items():
            self.add(kind, "", one["count"])
            examples = self._examples[kind]
            examples += one["examples"][: _KEPT - len(examples)]

    def as_dict(self) -> dict[str, Any]:
        """{kind: {"count": ..., "examples": [...]}} in the order of `KINDS`."""
        return {
            kind: {"count": self._counts[kind], "examples": self._examples[kind]}
            for kind in KINDS
            if self._counts.get(kind)
        }
