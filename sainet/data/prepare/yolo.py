"""A label file in YOLO's format, as published, and the lists and class names that lie beside such files."""

import re

from sainet.data.check.rows import Row, read_labels
from sainet.data.prepare.boxes import Box, Said
from sainet.data.prepare.notes import Notes

__all__ = ["listed_names", "looks_like_labels", "read_class_names", "read_yolo"]

_UNREADABLE = frozenset({"row-numbers", "row-commas", "row-six", "row-columns", "class-fraction"})
_ROW = re.compile(rb"\s*-?\d+(\.0*)?([ \t]+[-+.\deE]+){4,}[ \t]*\r?(\n|$)")


def read_yolo(data: bytes, names: dict[int, str], where: str, notes: Notes) -> Said | None:
    """The boxes of a label file; `names` has the class names by id. None where the file is no text.

    Rows that are no boxes go into `notes`. `where` is the file, for people.
    """
    labels = read_labels(data, max(names, default=0) + 1)
    bad = [trouble for trouble in labels.troubles if trouble.kind in _UNREADABLE]
    for trouble in bad:
        notes.add("row-unreadable", f"{where}:{trouble.line}: {trouble.message.partition(', so Ultralytics')[0]}")
    for trouble in labels.troubles:
        if trouble.kind == "box-not-finite":
            notes.add("box-degenerate", f"{where}:{trouble.line}: not finite")
        if trouble.kind == "label-encoding":
            notes.add("label-unreadable", f"{where}:{trouble.line}: not UTF-8")
            return None
    lines = {trouble.line for trouble in bad}
    return Said([_box(row, names, where) for row in labels.rows if row.line not in lines], where=where)


def _box(row: Row, names: dict[int, str], where: str) -> Box:
    name = names.get(row.label, f"class {row.label}")
    x, y, width, height = row[2:]
    return Box(name, x - width / 2, y - height / 2, x + width / 2, y + height / 2, f"{where}:{row.line}")


def looks_like_labels(data: bytes) -> bool | None:
    """Whether the beginning of a text file is that of a label file; None where there is nothing in it to go by."""
    return bool(_ROW.match(data)) if data.strip() else None


def listed_names(data: bytes) -> list[str]:
    """The lines of a list of images, without blanks, empty ones left out; they may be paths or names."""
    text = data.decode("utf-8-sig", errors="replace").replace("\\", "/")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_class_names(data: bytes, name: str) -> dict[int, str] | None:
    """The class names by id in a `classes.txt`, one a line, or in a data YAML; None where there are none."""
    if name.lower().endswith((".yaml", ".yml")):
        return _of_yaml(data)
    lines = data.decode("utf-8-sig", errors="replace").strip().splitlines()
    return {index: line.strip() for index, line in enumerate(lines)} or None


def _of_yaml(data: bytes) -> dict[int, str] | None:
    import yaml

    try:
        tree = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    names = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(names, list) and names:
        return {index: str(name) for index, name in enumerate(names)}
    if isinstance(names, dict) and names and all(str(key).isdecimal() for key in names):
        return {int(key): str(name) for key, name in names.items()}
    return None
