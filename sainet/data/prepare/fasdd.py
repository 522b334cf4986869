"""FASDD as published: images, and their boxes as COCO, YOLO or VOC."""

from collections.abc import Iterator

from sainet.data.check.named import classes_named
from sainet.data.check.paths import PathList
from sainet.data.prepare.boxes import Said
from sainet.data.prepare.claims import Claims
from sainet.data.prepare.coco import Coco, read_coco
from sainet.data.prepare.entries import Entry, Facts, Release, Written
from sainet.data.prepare.find import Form, Found
from sainet.data.prepare.licence import licence_of
from sainet.data.prepare.listed import claims_by_files
from sainet.data.prepare.match import base_of, stem_of
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.read import said_of
from sainet.data.prepare.splits import split_of
from sainet.data.prepare.yolo import read_class_names
from sainet.errors import DataError

__all__ = ["FASDD", "Fasdd", "read_fasdd"]

FASDD = Release("fasdd", ("fire", "smoke"), {"train": 1 / 2, "val": 1 / 3, "test": 1 / 6})
_ORDER = {0: "fire", 1: "smoke"}
"""Of the published label files, which come without class names."""
_TOGETHER = 64
_SAMPLE = 300
_MANY = 1 << 32
"""More images than a COCO file has: its number and that of the image are one number."""


class Fasdd:
    """The images of a FASDD tree that a split names."""

    def __init__(self, found: Found, form: Form, claims: Claims, cocos: list[Coco], notes: Notes) -> None:
        self.notes = notes
        self._tree, self._form, self._claims, self._cocos = found.tree, form, claims, cocos
        others = tuple(other for other in found.forms if other != form)
        licence = [*licence_of(found.tree), *dict.fromkeys(line for coco in cocos for line in coco.licences)]
        self.facts = Facts(form, others, _class_names(found) if form == "yolo" else {}, licence)

    def __len__(self) -> int:
        return len(self._claims)

    def split(self, index: int) -> str:
        return self._claims.split(index)

    def name(self, index: int) -> str:
        return base_of(self._tree.name(self._claims.images[index]))

    def part(self, index: int) -> int:
        return index // _TOGETHER

    def entry(self, index: int, split: str, name: str) -> Entry:
        image = self._claims.images[index]
        tree = self._tree
        return Entry(split, name, tree.name(image), tree.place(image), self._says(self._claims.annotations[index]))

    def _says(self, annotation: int) -> Said | Written | None:
        if self._form == "coco":
            return self._cocos[annotation // _MANY].said(annotation % _MANY)
        if annotation < 0:
            return None
        return Written(self._tree.place(annotation), self._form, self._tree.shown(annotation))


def read_fasdd(found: Found, form: Form | None, *, splits_needed: bool) -> Fasdd:
    """Read what is said of a tree's images, as `form` or the first that is there.

    Raises `DataError` when the form is not there, a file of it is broken, its classes are others, the images are not
    there, or, with `splits_needed`, nothing tells the splits.
    """
    if form is not None and form not in found.forms:
        raise DataError(
            f"no {form.upper()} annotations", where=str(found.tree.root), hint=f"there are: {', '.join(found.forms)}"
        )
    form, notes = form or found.forms[0], Notes()
    claims, cocos = Claims(), list[Coco]()
    if form == "coco":
        cocos = list(_claim_by_cocos(found, claims, notes))
    else:
        claims_by_files(found, found.labels[form], claims, notes)
    if not len(claims):
        raise DataError(
            f"none of the {len(found.images)} images is annotated or listed",
            where=str(found.tree.root),
            hint="name the folder that holds both the images and the annotations, or their archives",
        )
    claims.settle(found.tree, notes)
    _note_unclaimed(found, claims, notes)
    published = Fasdd(found, form, claims, cocos, notes)
    if splits_needed:
        _check_splits(published, found)
    _check_order(published, found)
    return published


def _claim_by_cocos(found: Found, claims: Claims, notes: Notes) -> Iterator[Coco]:
    tree = found.tree
    for place, index in enumerate(found.cocos):
        shown, name = tree.shown(index), tree.name(index)
        with tree.open(index) as stream:
            coco = read_coco(stream, shown, notes)
        _check_categories(coco)
        split = split_of(name)
        for number, wanted in enumerate(coco.files):
            image = found.by_stem.best(stem_of(wanted), wanted, name, split)
            if image is None or base_of(tree.name(image)).lower() != base_of(wanted).lower():
                notes.add("image-absent", f"{shown}: {wanted}")
            else:
                own = split or split_of(wanted, folders_only=True) or split_of(tree.name(image), folders_only=True)
                claims.add(image, own, place * _MANY + number)
        coco.files = PathList()
        yield coco


def _check_categories(coco: Coco) -> None:
    names = [name.strip().lower() for name in coco.categories.values()]
    for wanted in FASDD.classes:
        if names.count(wanted) != 1:
            what = f"no category {wanted}" if wanted not in names else f"two categories {wanted}"
            listed = ", ".join(coco.categories.values()) or "none"
            raise DataError(what, where=coco.where, hint=f"its categories are: {listed}")


def _class_names(found: Found) -> dict[int, str]:
    """Of label files: as a file beside them says, or as published."""
    tree, said = found.tree, dict[str, dict[int, str]]()
    for index in found.class_files:
        if names := read_class_names(tree.read(index), tree.name(index)):
            said[tree.shown(index)] = {label: name.strip().lower() for label, name in names.items()}
    if len({tuple(sorted(names.items())) for names in said.values()}) > 1:
        raise DataError("two files say different class names", where=" and ".join(said), hint="remove the wrong one")
    for path, names in said.items():
        for wanted in FASDD.classes:
            if wanted not in names.values():
                raise DataError(f"no class {wanted}", where=path, hint=f"its classes are: {', '.join(names.values())}")
    return next(iter(said.values()), _ORDER)


def _note_unclaimed(found: Found, claims: Claims, notes: Notes) -> None:
    import numpy as np

    images = np.asarray(found.images)
    free = images[~np.isin(images, np.asarray(claims.images))]
    for image in free[:3].tolist():
        notes.add("no-split", found.tree.shown(image), 1)
    if len(free) > 3:
        notes.add("no-split", "", len(free) - 3)


def _check_splits(published: Fasdd, found: Found) -> None:
    counts = dict.fromkeys(("train", "val", "test", ""), 0)
    for index in range(len(published)):
        counts[published.split(index)] += 1
    if counts[""]:
        what = f"nothing says of which split {counts['']} of the images are"
    elif missing := [split for split in ("train", "val") if not counts[split]]:
        what = f"no images of the split {missing[0]}"
    else:
        return
    raise DataError(
        what,
        where=str(found.tree.root),
        hint="the names of COCO files, lists (train.txt) or folders tell splits; --splits regroup makes new ones",
    )


def _check_order(published: Fasdd, found: Found) -> None:
    """The classes against the file names, in a sample: D-Fire has the opposite order."""
    named = swapped = 0
    for index in range(0, len(published), max(1, len(published) // _SAMPLE)):
        said = classes_named(published.name(index))
        if said is not None and len(said) == 1:
            boxes = said_of(published.entry(index, "", ""), published.facts.names, Notes())
            there = {box.name.strip().lower() for box in boxes.boxes} if boxes else set[str]()
            named += 1
            swapped += bool(there) and not there & said
    if 2 * swapped > named:
        raise DataError(
            f"of {named} images whose names say one class, {swapped} have boxes only of the other",
            where=str(found.tree.root),
            hint="are the class ids of another order? Put a classes.txt with one name a line beside the label files",
        )
