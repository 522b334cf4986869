"""A Pascal VOC annotation: one XML file for each image."""

import xml.etree.ElementTree as ET
from typing import Any

from sainet.data.prepare.boxes import Box, Said, Sized
from sainet.data.prepare.notes import Notes

__all__ = ["looks_like_voc", "read_voc"]

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(data: bytes, where: str, notes: Notes) -> Said | None:
    """The boxes of an annotation, in pixels, edges as they are written: FASDD counts pixels from 0.

    None where it is no XML. Objects without a class or without four numbers go into `notes`. `where` is the file.
    """
    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        notes.add("label-unreadable", f"{where}:{error.position[0]}: {error}")
        return None
    size = [_number(root.findtext(f"size/{side}")) or 0 for side in ("width", "height")]
    objects = enumerate(root.iter("object"), start=1)
    boxes = [box for number, thing in objects if (box := _read_object(thing, f"{where}: object {number}", notes))]
    return Said(boxes, Sized(*map(int, size)), where)


def looks_like_voc(data: bytes) -> bool:
    """Whether the beginning of an XML file is that of an annotation."""
    return b"<annotation" in data


def _read_object(thing: Any, where: str, notes: Notes) -> Box | None:
    name = (thing.findtext("name") or "").strip()
    edges = [_number(thing.findtext(f"bndbox/{edge}")) for edge in _EDGES]
    left, top, right, bottom = edges
    if not name or left is None or top is None or right is None or bottom is None:
        notes.add("row-unreadable", f"{where}: no class or no box")
        return None
    return Box(name, left, top, right, bottom, where)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
