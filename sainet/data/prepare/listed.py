"""Images with an annotation each in a file of its own, and their splits by lists or by folders."""

from array import array
from collections.abc import Sequence

from sainet.data.prepare.claims import Claims
from sainet.data.prepare.find import Found
from sainet.data.prepare.match import Named, base_of, stem_of
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.splits import split_of
from sainet.data.prepare.tree import is_image
from sainet.data.prepare.yolo import listed_names

__all__ = ["claims_by_files"]


def claims_by_files(found: Found, labels: Sequence[int], claims: Claims, notes: Notes) -> None:
    """Claim every image that a list names or that lies in a folder of a split, with its file of `labels`, or -1."""
    tree, by_stem, folders = found.tree, Named(found.tree, labels, stem_of), set[str]()
    images, splits = _by_lists(found, notes) if found.lists else _by_folders(found)
    for image, split in zip(images, splits, strict=True):
        name = tree.name(image)
        label = by_stem.best(stem_of(name), f"{name.rpartition('.')[0]}.txt", name, split)
        if split is None and label is not None:
            split = split_of(tree.name(label), folders_only=True)
        if label is None:
            notes.add("label-missing", tree.shown(image))
        else:
            folders.add(tree.name(label).rpartition("/")[0])
        claims.add(image, split, -1 if label is None else label)
    _note_orphans(found, labels, folders, notes)


def _by_lists(found: Found, notes: Notes) -> tuple["array[int]", list[str | None]]:
    """The images that lists name, by paths, by names or by names without suffix; each once for a split."""
    tree = found.tree
    images, splits, seen = array("q"), list[str | None](), set[tuple[int, str | None]]()
    for index in found.lists:
        name, shown = tree.name(index), tree.shown(index)
        split = split_of(base_of(name))
        for number, line in enumerate(listed_names(tree.read(index)), start=1):
            image = _listed(line, name, split, found)
            if image is None:
                notes.add("image-absent", f"{shown}: entry {number}: {line}")
            elif (image, split) not in seen:
                seen.add((image, split))
                images.append(image)
                splits.append(split)
    return images, splits


def _listed(line: str, beside: str, split: str | None, found: Found) -> int | None:
    """VOC's lists of one class have a number behind the name."""
    for text in (line, line.split()[0]):
        base = base_of(text)
        image = found.by_stem.best(stem_of(base) if is_image(base) else base, text, beside, split)
        if image is not None:
            return image
    return None


def _by_folders(found: Found) -> tuple["array[int]", list[str | None]]:
    return found.images, [split_of(found.tree.name(image), folders_only=True) for image in found.images]


def _note_orphans(found: Found, labels: Sequence[int], folders: set[str], notes: Notes) -> None:
    """Files that no image has, in folders where others have one: a readme lies elsewhere."""
    for label in labels:
        name = found.tree.name(label)
        if name.rpartition("/")[0] in folders and not found.by_stem.all(stem_of(name)):
            notes.add("label-orphan", found.tree.shown(label))
