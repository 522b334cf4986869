"""What becomes of each image of a set, by what was found: left out, or which file it gets and what is mended."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sainet.data.check.kinds import Finding
from sainet.data.check.paths import label_path
from sainet.data.check.places import Images
from sainet.data.check.twins import KEPT_IN
from sainet.data.clean.names import Names
from sainet.data.source import DataSource

__all__ = ["ON_REQUEST", "Change", "Item", "Missing", "Plan", "label_of", "left_out"]

ON_REQUEST = {
    "classes-swapped": "exchanged the two names",
    "class-name": "left the image out",
    "image-huge": "left the image out",
    "leak-similar": "left the image out",
    "leak-camera": "left the image out",
    "box-frame": "left the row out",
    "box-tiny": "left the row out",
}
"""Kinds that are left as they are unless they are asked for, and what is done then."""
_IMAGE_OUT = frozenset(
    {
        "image-absent",
        "image-undecodable",
        "image-small",
        "image-bomb",
        "label-unreadable",
        "label-encoding",
        "copy-labels",
    }
)
_COPIES = frozenset({"image-copy", "leak-copy"})
_IMAGE_OUT_ON_REQUEST = frozenset(kind for kind, did in ON_REQUEST.items() if did == "left the image out")
_BESIDE = {
    "image-npy": "left them out",
    "label-cache": "left it out",
    "label-orphan": "left it out",
    "link-outside": "put the files in their place",
    "images-twice": "laid the set out anew, with one",
}
"""Findings about a whole folder, or about what is no image and no label of one, and what a new layout does about it."""
Missing = Literal["drop", "negative"]
"""Images without a label file: leave them out, or declare that there is nothing to be seen."""


class Change(NamedTuple):
    """One line of the log: the kind, the file and the line in the original, and what was done."""

    kind: str
    file: str
    line: int | None
    did: str


@dataclass(frozen=True)
class Item:
    """An image that is kept: its path, its label file if it has one, the path in the copy without suffix, and the kinds
    of findings that the image itself has."""

    image: str
    label: str | None
    split: str
    stem: str
    kinds: frozenset[str]


class Plan:
    """Decides about every image, one by one, so that memory does not grow with their number.

    `also`: kinds of `ON_REQUEST`; `missing`: what becomes of images without a label file. `changes`: those that are
    decided here, which grow as the items are taken.
    """

    def __init__(self, source: DataSource, findings: Sequence[Finding], also: frozenset[str], missing: Missing) -> None:
        self.changes: list[Change] = []
        self._missing = missing
        self._places = {"train": source.train, "val": source.val, "test": source.test}
        self._findings = findings
        self._out = left_out(findings, also, missing)
        self._kinds = _kinds_by_image(findings)
        self._labels_of_ignored: set[str] = set()
        several = {"image-ignored", "image-twice", "leak-file"}
        self._claimed = dict.fromkeys((finding.file for finding in findings if finding.kind in several), "")

    def items(self, splits: Sequence[Images]) -> Iterator[Item]:
        """Every image that is kept, once, always in the same order."""
        # What is measured with stays as it was published, so it has the first claim on an image.
        for images in sorted(splits, key=lambda images: KEPT_IN.index(images.split)):
            yield from self._of_a_split(images, Names(self._places[images.split], images.split))
        self._tell_what_lies_beside()

    def _of_a_split(self, images: Images, names: Names) -> Iterator[Item]:
        ignored = {finding.file for finding in images.findings if finding.kind == "image-ignored"}
        for path in sorted([*images.paths, *ignored]):
            if change := self._claim(path, images.split) or self._out.get(path):
                self.changes.append(change)
            elif (item := self._item(path, images.split, names)) is not None:
                if path in ignored and item.label is not None:
                    self._labels_of_ignored.add(item.label)
                yield item

    def _tell_what_lies_beside(self) -> None:
        for finding in self._findings:
            if finding.kind in _BESIDE and finding.file not in self._labels_of_ignored:
                self.changes.append(Change(finding.kind, finding.file, finding.line, _BESIDE[finding.kind]))

    def _claim(self, path: str, split: str) -> Change | None:
        """An image is of one split, once."""
        before = self._claimed.get(path)
        if not before:
            if before is not None:
                self._claimed[path] = split
            return None
        if before == split:
            return Change("image-twice", path, None, "named it once")
        return Change("leak-file", path, None, f"took it out of {split}")

    def _item(self, path: str, split: str, names: Names) -> Item | None:
        label, kinds = label_of(path), self._kinds.get(path, frozenset())
        if label is None:
            drop = self._missing == "drop"
            did = "left the image out" if drop else "wrote an empty one: a declared negative"
            self.changes.append(Change("label-missing", path, None, did))
            if drop:
                return None
        stem, numbered = names.give(path)
        if numbered:
            kind = "label-shared" if "label-shared" in kinds else "name-collision"
            self.changes.append(Change(kind, path, None, f"named it {stem}"))
        return Item(path, label, split, stem, kinds)


def left_out(findings: Sequence[Finding], also: frozenset[str], missing: Missing = "negative") -> dict[str, Change]:
    """By path, the images that are left out, each for the first reason. Of copies one stays, if it may."""
    kinds = _IMAGE_OUT | (_IMAGE_OUT_ON_REQUEST & also)
    out: dict[str, Change] = {}
    for finding in findings:
        dropped = finding.kind == "label-missing" and missing == "drop" and label_of(finding.file) is None
        if (finding.kind in kinds or dropped) and finding.image is not None:
            for image in (finding.image, finding.other if finding.kind == "copy-labels" else None):
                if image is not None:
                    out.setdefault(image, _image_out(finding))
    _leave_copies_out(findings, out)
    return out


def _leave_copies_out(findings: Sequence[Finding], out: dict[str, Change]) -> None:
    """All but the first that is not left out for a reason of its own."""
    stays: set[str] = set()
    for finding in findings:
        if finding.kind in _COPIES and finding.image is not None and finding.other is not None:
            if finding.other in out and finding.other not in stays and finding.image not in out:
                stays.add(finding.other)  # this one takes its place
            else:
                out.setdefault(finding.image, _image_out(finding))


def _image_out(finding: Finding) -> Change:
    return Change(finding.kind, finding.file, finding.line, "left the image out")


def _kinds_by_image(findings: Sequence[Finding]) -> dict[str, frozenset[str]]:
    """Of each image, what was found about its file; that of its label file comes to light as it is written."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.file == finding.image:
            kinds[finding.file].add(finding.kind)
    return {image: frozenset(found) for image, found in kinds.items()}


def label_of(image: str) -> str | None:
    """The label file, also where only another of several `images` in the path leads to it."""
    return next(filter(os.path.isfile, _label_candidates(image)), None)


def _label_candidates(image: str) -> Iterator[str]:
    yield label_path(image)
    parts = image.rpartition(".")[0].split("/")
    places = [number for number, part in enumerate(parts) if part == "images"]
    for place in places[:-1]:
        before, behind = parts[:place], parts[place + 1 :]
        for rest in (behind, [part for part in behind if part != "images"]):
            yield "/".join([*before, "labels", *rest]) + ".txt"
