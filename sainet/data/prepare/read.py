"""Reading images and what is said of them: what each worker process does first, a part at a time."""

import os
from collections.abc import Iterator, Sequence
from multiprocessing import parent_process
from typing import NamedTuple

from sainet.data.prepare.boxes import Said
from sainet.data.prepare.entries import Cell, Entry
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.tree import read_place
from sainet.data.prepare.voc import read_voc
from sainet.data.prepare.yolo import read_yolo
from sainet.errors import DataError

__all__ = ["Image", "images_of", "said_of"]


class Image(NamedTuple):
    """An entry, the bytes of its image, and what is said of it; `said` is None where that cannot be read."""

    entry: Entry
    data: bytes
    said: Said | None
    camera: str | None = None
    partner: str | None = None
    date: str | None = None


def images_of(entries: Sequence[Entry], names: dict[int, str], notes: Notes) -> Iterator[Image]:
    """Read the images of a part, one after the other. Raises `DataError` for what cannot be read."""
    if isinstance(entries[0].image, Cell):
        yield from _of_a_shard(entries, names, notes)
        return
    for entry in entries:
        if not isinstance(entry.image, Cell):
            yield Image(entry, read_place(entry.image), said_of(entry, names, notes))


def said_of(entry: Entry, names: dict[int, str], notes: Notes) -> Said | None:
    """What is said of an image that is no `Cell`; nothing is the same as no boxes."""
    if entry.says is None or isinstance(entry.says, Said):
        return entry.says or Said(())
    data, shown = read_place(entry.says.place), entry.says.shown
    return read_yolo(data, names, shown, notes) if entry.says.form == "yolo" else read_voc(data, shown, notes)


def _of_a_shard(entries: Sequence[Entry], names: dict[int, str], notes: Notes) -> Iterator[Image]:
    """Rows that lie near each other in one shard: they are read in one go."""
    if parent_process() is not None:
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # every core has a process already
    import polars as pl

    cells = [entry.image for entry in entries if isinstance(entry.image, Cell)]
    first, last = cells[0].row, cells[-1].row
    table = pl.scan_parquet(cells[0].path, glob=False).slice(first, last - first + 1).collect()
    for cell, entry in zip(cells, entries, strict=True):
        row = table.row(cell.row - first, named=True)
        where = f"{cell.shown}: row {cell.row}"
        data = (row["image"] or {}).get("bytes")
        if not data:
            raise DataError("no image bytes", where=where, hint="download the shard again")
        said = read_yolo((row["annotations"] or "").encode(), names, where, notes)
        yield Image(entry, data, said, row["camera"] or None, row["partner"] or None, row["date"] or None)
