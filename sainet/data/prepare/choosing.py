"""Which images go into the new set, in which split and under which name."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from sainet.data.check.cameras import dated
from sainet.data.prepare.backgrounds import Backgrounds
from sainet.data.prepare.entries import Entry, Published
from sainet.data.prepare.naming import renamed
from sainet.data.prepare.regroup import Scenes, assign
from sainet.errors import DataError

__all__ = ["Looks", "Selection", "choose", "whole"]


class Looks:
    """What the first look at all images came to, in the order of the images."""

    def __init__(self) -> None:
        self.boxes = array("L")
        self.keys = array("Q")
        self.looks = array("Q")
        self.shots: list[tuple[str, float, int]] = []

    def add(self, result: Mapping[str, Any]) -> None:
        """Take in what `look.look_part` gave for the next images."""
        for number, shots in enumerate(result["shots"], start=len(self.keys)):
            self.shots += [(camera, time_s, number) for camera, time_s in shots]
        self.boxes.extend(result["boxes"])
        self.keys.extend(result["keys"])
        self.looks.extend(result["looks"])


class Selection:
    """The images that are to be written. `dropped`: backgrounds that were left out, by split."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self._kept = array("I", range(len(published)))
        self._splits: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def split(self, index: int) -> str:
        return self._splits[index] if self._splits else self._published.split(index)

    def splits(self) -> set[str]:
        """Those that have images."""
        return {self.split(index) for index in self._kept}

    def parts(self) -> Iterator[list[Entry]]:
        """The images in the order of the source, those together that are to be worked on together."""
        for _, indices in groupby(self._kept, key=self._published.part):
            yield [self._entry(index) for index in indices]

    def _entry(self, index: int) -> Entry:
        name = self._names.get(index) or self._published.name(index)
        return self._published.entry(index, self.split(index), name)

    def regroup(self, looks: Looks, shares: Mapping[str, float]) -> None:
        """New splits. Raises `DataError` when the images are of so few scenes that a split would be empty."""
        published, scenes = self._published, Scenes(len(self._published))
        scenes.join_copies(looks.keys)
        scenes.join_alike(looks.looks, [dated(published.name(index)) is not None for index in range(len(published))])
        scenes.join_shots(looks.shots)
        self._splits = assign(scenes.groups(), shares, published.name)
        if missing := sorted(set(shares) - set(self._splits.values())):
            raise DataError(
                f"no images are left for the split {missing[0]}: all are of {len(scenes.groups())} scenes",
                hint="take the published splits",
            )

    def drop_backgrounds(self, looks: Looks, backgrounds: Backgrounds) -> None:
        """Leave images without a box out. Raises `DataError` when nothing would be left to train or validate with."""
        out: set[int] = set()
        for split in backgrounds.splits:
            without = [index for index in self._kept if self.split(index) == split and not looks.boxes[index]]
            others = sum(self.split(index) == split for index in self._kept) - len(without)
            dropped = backgrounds.dropped(without, others, self._published.name)
            self.dropped[split] = len(dropped)
            out |= dropped
        self._kept = array("I", (index for index in self._kept if index not in out))
        if missing := [split for split in ("train", "val") if split not in self.splits()]:
            message = f"no images are left of the split {missing[0]}: none of them has a box"
            raise DataError(message, hint="keep backgrounds, or leave them out of the training only")

    def name_all(self) -> None:
        """Give other names where they would collide."""
        self._names = renamed(self._kept, self.split, self._published.name)
        for index, name in self._names.items():
            self._published.notes.add("renamed", f"{self._published.name(index)} is {name}")


def choose(
    published: Published, looks: Looks, backgrounds: Backgrounds, shares: Mapping[str, float] | None
) -> Selection:
    """`shares` are those of new splits; None for the published ones."""
    selection = Selection(published)
    if shares is not None:
        selection.regroup(looks, shares)
    if backgrounds.splits:
        selection.drop_backgrounds(looks, backgrounds)
    selection.name_all()
    return selection


def whole(published: Published) -> Iterator[list[Entry]]:
    """All images, those together that are to be worked on together, as they are published."""
    return Selection(published).parts()
