"""Which annotations a tree holds: found by what is in the files, wherever they lie and whatever they are called."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sainet.data.prepare.coco import looks_like_coco
from sainet.data.prepare.match import Named, base_of, stem_of
from sainet.data.prepare.splits import split_of
from sainet.data.prepare.tree import Tree, is_image
from sainet.data.prepare.voc import looks_like_voc
from sainet.data.prepare.yolo import listed_names, looks_like_labels
from sainet.errors import DataError

__all__ = ["FORMS", "Form", "Found", "find"]

Form = Literal["coco", "yolo", "voc"]
FORMS: tuple[Form, ...] = ("coco", "yolo", "voc")
"""The first of these that is there is taken: COCO declares every image, so that nothing is missing without a word."""

_HEAD_BYTES = 1 << 16
_SAMPLE = 64
_CLASS_FILES = frozenset({"classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml"})


@dataclass
class Found:
    """The files of a tree by what they are, each as its number in the tree.

    `lists`: lists of the images of a split. `labels`: what may be label files of the form, by their stems.
    """

    tree: Tree
    images: "array[int]" = field(default_factory=lambda: array("q"))
    cocos: list[int] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)
    class_files: list[int] = field(default_factory=list)
    labels: dict[Form, "array[int]"] = field(default_factory=dict)

    @property
    def forms(self) -> tuple[Form, ...]:
        return tuple(form for form in FORMS if (self.cocos if form == "coco" else self.labels.get(form)))


def find(tree: Tree) -> Found:
    """Look through a tree. Raises `DataError` when it has no images or no annotations."""
    found, by_suffix = Found(tree), _by_suffix(tree)
    found.images = by_suffix.pop("image")
    if not found.images:
        shown = ", ".join(f"{len(files)} .{suffix}" for suffix, files in sorted(by_suffix.items()) if files)
        raise DataError(
            "no images" + (f", but {shown} files" if shown else ""),
            where=str(tree.root),
            hint="name the folder that holds both the images and the annotations, or their archives",
        )
    stems = Named(tree, found.images, stem_of)
    found.cocos = [index for index in by_suffix["json"] if looks_like_coco(_head(tree, index))]
    found.class_files = [i for i in (*by_suffix["txt"], *by_suffix["other"]) if _is_class_file(tree.name(i))]
    found.lists = [index for index in by_suffix["txt"] if _is_list(tree, index, stems)]
    _find_labels("yolo", by_suffix["txt"], found, stems)
    _find_labels("voc", by_suffix["xml"], found, stems)
    if not found.forms:
        raise DataError(
            f"no annotations beside {len(found.images)} images: neither COCO, nor YOLO, nor VOC",
            where=str(tree.root),
            hint="name the folder that holds both the images and the annotations, or their archives",
        )
    return found


def _by_suffix(tree: Tree) -> dict[str, "array[int]"]:
    kinds = {kind: array("q") for kind in ("image", "json", "txt", "xml", "other")}
    for index in range(len(tree)):
        name = tree.name(index)
        suffix = name.rpartition(".")[2].lower()
        kinds["image" if is_image(name) else suffix if suffix in kinds else "other"].append(index)
    return kinds


def _head(tree: Tree, index: int) -> bytes:
    with tree.open(index) as stream:
        return stream.read(_HEAD_BYTES)


def _is_class_file(name: str) -> bool:
    return base_of(name).lower() in _CLASS_FILES


def _is_list(tree: Tree, index: int, stems: Named) -> bool:
    """A text file that is called after a split, and names images."""
    name = base_of(tree.name(index))
    if split_of(name) is None or stems.all(stem_of(name)):
        return False
    lines = listed_names(_head(tree, index))[:_SAMPLE]
    return any(is_image(line) or stems.all(stem_of(line)) or stems.all(line.split()[0]) for line in lines)


def _find_labels(form: Form, files: Sequence[int], found: Found, stems: Named) -> None:
    """Take the files that are called as images are, if those of a sample are what they should be."""
    tree, others = found.tree, {*found.lists, *found.class_files}
    matching = array("q", (i for i in files if i not in others and stems.all(stem_of(tree.name(i)))))
    sample = matching[:: max(1, len(matching) // _SAMPLE)]
    looks = {_looks(form, _head(tree, index)) for index in sample}
    if True not in looks:
        return
    # Label files without an image lie where the others do; a readme does not.
    folders = {tree.name(index).rpartition("/")[0] for index in matching}
    found.labels[form] = array(
        "q", (i for i in files if i not in others and tree.name(i).rpartition("/")[0] in folders)
    )


def _looks(form: Form, head: bytes) -> bool | None:
    return looks_like_labels(head) if form == "yolo" else looks_like_voc(head)
