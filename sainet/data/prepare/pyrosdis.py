"""PyroSDIS as published: parquet shards with the bytes of the images and a column for all that is said of each."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sainet.data.check.paths import PathList
from sainet.data.prepare.entries import Cell, Entry, Facts, Release
from sainet.data.prepare.licence import licence_of
from sainet.data.prepare.match import base_of
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.shards import Shard, open_shard
from sainet.data.prepare.tree import Tree, is_image
from sainet.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PYROSDIS", "Pyrosdis", "read_pyrosdis"]

PYROSDIS = Release("pyrosdis", ("smoke",), {"train": 0.88, "val": 0.12})
_PUBLISHED_ID = 1
_TOGETHER = 100
"""Rows: as many as a row group of the published shards has."""
_OF_MANY = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


class Pyrosdis:
    """The rows of all shards, one behind the other. Only their names stay in memory."""

    def __init__(self, shards: Sequence[Shard], names: PathList, facts: Facts, notes: Notes) -> None:
        self.facts, self.notes = facts, notes
        self._shards, self._names = shards, names
        self._starts = array("q", [0])
        for shard in shards:
            self._starts.append(self._starts[-1] + shard.rows)

    def __len__(self) -> int:
        return len(self._names)

    def split(self, index: int) -> str:
        return self._shards[self._shard(index)].split

    def name(self, index: int) -> str:
        return self._names[index]

    def part(self, index: int) -> int:
        number = self._shard(index)
        return (number << 32) + (index - self._starts[number]) // _TOGETHER

    def entry(self, index: int, split: str, name: str) -> Entry:
        number = self._shard(index)
        shard, row = self._shards[number], index - self._starts[number]
        return Entry(split, name, f"{shard.name}#{row}", Cell(shard.path, shard.shown, row), None)

    def _shard(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1


def read_pyrosdis(tree: Tree, *, splits_needed: bool) -> Pyrosdis:
    """Read the names of all images in the shards of a tree.

    Raises `DataError` for no shards, other columns, images without a usable name, more than one class id, and, with
    `splits_needed`, shards whose names do not tell the split.
    """
    notes, names, ids = Notes(), PathList(), dict[int, str]()
    shards = [open_shard(tree, index) for index in range(len(tree)) if tree.name(index).lower().endswith(".parquet")]
    if not shards:
        raise DataError(
            "no parquet shards", where=str(tree.root), hint="name the folder with data/train-00000-of-00006.parquet"
        )
    for shard in shards:
        _read_names(shard, names, ids)
    if splits_needed:
        _check_splits(shards, tree)
    for missing in _missing([shard.name for shard in shards]):
        notes.add("shard-absent", missing)
    class_id = next(iter(ids), _PUBLISHED_ID)
    return Pyrosdis(shards, names, Facts("parquet", (), {class_id: "smoke"}, licence_of(tree)), notes)


def _read_names(shard: Shard, names: PathList, ids: dict[int, str]) -> None:
    """Take in the names of a shard's images, and the class ids with the row where each came first."""
    table = shard.columns("image_name", "annotations")
    for row, name in enumerate(table["image_name"]):
        base = base_of((name or "").replace("\\", "/"))
        if not is_image(base) or base.startswith("."):
            raise DataError(
                f"{name!r} in `image_name` is no name of an image",
                where=f"{shard.shown}: row {row}",
                hint="it should be like sdis-07_brison-200_2024-01-15T12-00-00.jpg",
            )
        names.add("", base)
    for class_id in _class_ids(table["annotations"]):
        ids.setdefault(class_id, shard.shown)
    if len(ids) > 1:
        said = ", ".join(f"{class_id} (first in {shown})" for class_id, shown in sorted(ids.items()))
        raise DataError(
            f"more than one class: {said}",
            where=_first_other(shard, table["annotations"], _PUBLISHED_ID if _PUBLISHED_ID in ids else next(iter(ids))),
            hint="PyroSDIS has smoke alone, as class 1 in every row; which of these is smoke cannot be known",
        )


def _class_ids(annotations: "pl.Series") -> Iterator[int]:
    """Every class id in the rows of all images; what is no number is told of later, with its row."""
    words = annotations.str.extract_all(r"(?m)^[ \t]*[^\s]+").explode().drop_nulls().str.strip_chars().unique()
    for word in sorted(words):
        if re.fullmatch(r"-?\d+(\.0*)?", word):
            yield int(float(word))


def _first_other(shard: Shard, annotations: "pl.Series", known: int) -> str:
    for row, text in enumerate(annotations):
        for line in (text or "").splitlines():
            word = line.split()[0] if line.strip() else ""
            if re.fullmatch(r"-?\d+(\.0*)?", word) and int(float(word)) != known:
                return f"{shard.shown}: row {row}"
    return shard.shown


def _check_splits(shards: Sequence[Shard], tree: Tree) -> None:
    hint = "they should be called like train-00000-of-00006.parquet; --splits regroup makes new splits"
    for shard in shards:
        if not shard.split:
            raise DataError("the name of the shard does not tell its split", where=shard.shown, hint=hint)
    for split in ("train", "val"):
        if split not in {shard.split for shard in shards if shard.rows}:
            raise DataError(f"no images of the split {split}", where=str(tree.root), hint=hint)


def _missing(names: Sequence[str]) -> Iterator[str]:
    """The shards of which others' names say that there should be some."""
    there: dict[tuple[str, str], set[int]] = {}
    for name in names:
        if match := _OF_MANY.fullmatch(name):
            there.setdefault((match[1], match[3]), set()).add(int(match[2]))
    for (stem, total), numbers in there.items():
        for number in range(int(total)):
            if number not in numbers:
                yield f"{stem}-{number:05d}-of-{total}.parquet"
