"""Which annotations a tree holds: found by what is in the files, wherever they lie and whatever they are called."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sainet.data.prepare.coco import looks_like_coco
from sainet.data.prepare.match import Named, base_of, stem_of
from sainet.data.prepare.splits import SPLITS, split_of
from sainet.data.prepare.tree import Tree, is_image
from sainet.data.prepare.voc import looks_like_voc
from sainet.data.prepare.yolo import listed_names, looks_like_labels
from sainet.data.source import IMAGE_FORMATS
from sainet.errors import DataError

__all__ = ["FORMS", "Form", "Found", "find"]

Form = Literal["coco", "yolo", "voc"]
FORMS: tuple[Form, ...] = ("coco", "yolo", "voc")
"""The first of these that is there is taken: COCO declares every image, so that nothing is missing without a word."""

_HEAD_BYTES = 1 << 16
_SAMPLE = 256
_FILES: dict[Form, str] = {"yolo": "txt", "voc": "xml"}
_HINT = "name the folder that holds both the images and the annotations, or their archives"
_CLASS_FILES = frozenset({"classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml"})


@dataclass
class Found:
    """The files of a tree by what they are, each as its number in the tree.

    `by_stem`: the images. `lists`: lists of the images of a split. `labels`: all that may be annotations of a form.
    """

    tree: Tree
    images: "array[int]"
    by_stem: Named
    cocos: list[int] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)
    class_files: list[int] = field(default_factory=list)
    labels: dict[Form, "array[int]"] = field(default_factory=dict)

    @property
    def forms(self) -> tuple[Form, ...]:
        return tuple(form for form in FORMS if (self.cocos if form == "coco" else self.labels.get(form)))


def find(tree: Tree) -> Found:
    """Look through a tree. Raises `DataError` when it has no images or no annotations."""
    kinds = _by_kind(tree)
    found = Found(tree, kinds["image"], Named(tree, kinds["image"], stem_of))
    if not found.images:
        shown = ", ".join(f"{len(files)} .{kind}" for kind, files in kinds.items() if files)
        raise DataError(f"no images{', but ' * bool(shown)}{shown}", where=str(tree.root), hint=_HINT)
    found.cocos = [index for index in kinds["json"] if looks_like_coco(_head(tree, index))]
    found.class_files = kinds["classes"].tolist()
    for index in kinds["list"]:
        if _is_list(found, index):
            found.lists.append(index)
        else:
            kinds["txt"].append(index)
    for form, kind in _FILES.items():
        if _are_labels(form, kinds[kind], found):
            found.labels[form] = kinds[kind]
    if not found.forms:
        message = f"no annotations beside {len(found.images)} images: neither COCO, nor YOLO, nor VOC"
        raise DataError(message, where=str(tree.root), hint=_HINT)
    return found


def _by_kind(tree: Tree) -> dict[str, "array[int]"]:
    """The files of a tree by their suffixes, and, by their names, what may be lists of images or of classes."""
    kinds = {kind: array("I") for kind in ("image", "json", "txt", "xml", "list", "classes", "other")}
    for index, name in enumerate(tree):
        base = base_of(name).lower()
        suffix = base.rpartition(".")[2]
        if suffix in IMAGE_FORMATS:
            kinds["image"].append(index)
        elif base in _CLASS_FILES:
            kinds["classes"].append(index)
        elif suffix == "txt" and any(split in base for split in SPLITS) and split_of(base):
            kinds["list"].append(index)
        else:
            kinds[suffix if suffix in kinds else "other"].append(index)
    return kinds


def _head(tree: Tree, index: int) -> bytes:
    with tree.open(index) as stream:
        return stream.read(_HEAD_BYTES)


def _is_list(found: Found, index: int) -> bool:
    """A text file that is called after a split, and names images."""
    if found.by_stem.all(stem_of(found.tree.name(index))):
        return False
    lines = listed_names(_head(found.tree, index))[:_SAMPLE]
    return any(is_image(line) or found.by_stem.all(stem_of(line.split()[0])) for line in lines)


def _are_labels(form: Form, files: Sequence[int], found: Found) -> bool:
    """Whether those of a sample that are called as images are have in them what they should."""
    tree = found.tree
    for index in files[:: max(1, len(files) // _SAMPLE)]:
        if found.by_stem.all(stem_of(tree.name(index))):
            head = _head(tree, index)
            if looks_like_labels(head) if form == "yolo" else looks_like_voc(head):
                return True
    return False
