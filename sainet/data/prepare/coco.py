"""A COCO file: which images it speaks of, and their boxes, in a few dozen bytes for each."""

import math
import re
from array import array
from typing import IO, Any

from sainet.data.check.paths import PathList
from sainet.data.prepare.boxes import Box, Said, Sized
from sainet.data.prepare.jsons import Piece, pieces
from sainet.data.prepare.notes import Notes
from sainet.errors import DataError

__all__ = ["Coco", "looks_like_coco", "read_coco"]

_IMAGES = re.compile(rb'"images"\s*:')
_BOXES = re.compile(rb'"annotations"\s*:.*"bbox"\s*:', re.DOTALL)
_HINT = "does the file come from the publisher?"


class Coco:
    """What a COCO file says: the images in its order, and for each its boxes.

    `files`: the paths of the images; may be emptied when they are no longer needed.
    `licences`: what its `licenses` and its `info` say of the licence.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.files = PathList()
        self.licences: list[str] = []
        self.categories: dict[int, str] = {}
        self._ids = array("q")
        self._sizes = array("i")
        self._owners = array("q")
        self._classes = array("i")
        self._boxes = array("d")
        self._firsts: array[int] = array("I")

    def __len__(self) -> int:
        return len(self._ids)

    def said(self, number: int) -> Said:
        """Of the image with this number, from 0 in the order of the file."""
        where = f"{self.where}: image id {self._ids[number]}"
        width, height = self._sizes[2 * number : 2 * number + 2]
        boxes = [self._box(one, where) for one in range(*self._firsts[number : number + 2])]
        return Said(boxes, Sized(width, height), where)

    def _box(self, one: int, where: str) -> Box:
        left, top, width, height = self._boxes[4 * one : 4 * one + 4]
        name = self.categories.get(self._classes[one], f"category {self._classes[one]}")
        return Box(name, left, top, left + width, top + height, where)

    def add(self, piece: Piece) -> None:
        """Take in one element of the file. Raises `DataError` with its line where it is not as it should be."""
        try:
            if piece.key == "images":
                self._add_image(piece.value)
            elif piece.key == "annotations":
                self._add_box(piece.value)
            elif piece.key == "categories":
                self.categories[int(piece.value["id"])] = str(piece.value["name"])
            elif piece.key in {"licenses", "info"}:
                self._add_licence(piece.key, piece.value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            message = f"an element of `{piece.key}` is not as in COCO files: {what}"
            raise DataError(message, where=f"{self.where}:{piece.line}", hint=_HINT) from error

    def _add_image(self, value: Any) -> None:
        folder, _, name = str(value["file_name"]).replace("\\", "/").rpartition("/")
        if not name:
            raise ValueError("an empty `file_name`")
        self._ids.append(int(value["id"]))
        self._sizes.extend((int(value.get("width") or 0), int(value.get("height") or 0)))
        self.files.add(folder, name)

    def _add_box(self, value: Any) -> None:
        # Without a box: of the whole image, or a mask alone.
        box = value.get("bbox") or [math.nan] * 4
        if len(box) != 4:
            raise ValueError(f"`bbox` has {len(box)} numbers")
        self._owners.append(int(value["image_id"]))
        self._classes.append(int(value["category_id"]))
        self._boxes.extend(box)

    def _add_licence(self, of: str, value: Any) -> None:
        keys = ("license", "licence") if of == "info" else ("name", "url")
        said = [value.get(key) for key in keys] if isinstance(value, dict) else []
        if texts := [text for text in said if text and isinstance(text, str)]:
            self.licences.append(", ".join(texts))

    def close(self, notes: Notes) -> None:
        """Put the boxes in the order of the images; those without one go into `notes`.

        Raises `DataError` for an id used twice.
        """
        import numpy as np

        ids, owners = np.asarray(self._ids, dtype=np.int64), np.asarray(self._owners, dtype=np.int64)
        by_id = np.argsort(ids, kind="stable")
        if (twice := np.flatnonzero(np.diff(ids[by_id]) == 0)).size:
            message = f"two images have the id {ids[by_id[twice[0]]]}"
            raise DataError(message, where=self.where, hint=_HINT)
        places = np.searchsorted(ids[by_id], owners)
        inside = places < len(ids)
        inside[inside] = ids[by_id[places[inside]]] == owners[inside]
        if lost := int((~inside).sum()):
            notes.add("label-orphan", f"{self.where}: image id {owners[~inside][0]}", lost)
        images = np.full(len(owners), len(ids))
        images[inside] = by_id[places[inside]]
        order = np.argsort(images, kind="stable")
        firsts = np.searchsorted(images[order], np.arange(len(ids) + 1))
        self._firsts = array("I", firsts.astype(np.uint32).tobytes())
        self._boxes = array("d", np.asarray(self._boxes).reshape(-1, 4)[order].tobytes())
        self._classes = array("i", np.asarray(self._classes)[order].tobytes())
        self._owners = array("q")


def read_coco(stream: IO[bytes], where: str, notes: Notes) -> Coco:
    """Read a COCO file. Raises `DataError` with `where` and the line for what is none."""
    coco = Coco(where)
    for piece in pieces(stream, where):
        coco.add(piece)
    if not len(coco):
        raise DataError("a COCO file without images", where=where, hint=_HINT)
    coco.close(notes)
    return coco


def looks_like_coco(head: bytes) -> bool:
    """Whether the beginning of a JSON file is that of a COCO file."""
    return bool(_IMAGES.search(head) or _BOXES.search(head))
