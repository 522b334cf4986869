"""Who says what of which image: each image once, in one split, with one annotation."""

from array import array

from sainet.data.prepare.notes import Notes
from sainet.data.prepare.splits import KEPT_IN, SPLITS
from sainet.data.prepare.tree import Tree

__all__ = ["Claims"]

_NONE = len(SPLITS)


class Claims:
    """Images of a tree with a split and a number that tells where the annotation is; 13 bytes each."""

    def __init__(self) -> None:
        self.images = array("I")
        self.annotations = array("q")
        self._splits = array("B")

    def add(self, image: int, split: str | None, annotation: int) -> None:
        """`split` is None where the layout has none."""
        self.images.append(image)
        self.annotations.append(annotation)
        self._splits.append(_NONE if split is None else SPLITS.index(split))

    def __len__(self) -> int:
        return len(self.images)

    def split(self, index: int) -> str:
        """'' where there is none."""
        return (*SPLITS, "")[self._splits[index]]

    def settle(self, tree: Tree, notes: Notes) -> None:
        """Of several claims of an image one stays, by its split and then the first; then all are put in order.

        The order is that of the splits, then that of the tree.
        """
        import numpy as np

        images, splits = np.asarray(self.images), np.asarray(self._splits)
        ranks = np.array([*(KEPT_IN.index(split) for split in SPLITS), len(SPLITS)])[splits]
        order = np.lexsort((ranks, images))  # stable, so that the first stays
        again = np.r_[False, np.diff(images[order]) == 0]
        for place in np.flatnonzero(again).tolist():
            kept, other = order[place - 1], order[place]
            kind = "annotated-twice" if splits[kept] == splits[other] else "two-splits"
            notes.add(kind, tree.shown(int(images[other])))
        kept = order[~again]
        kept = kept[np.lexsort((images[kept], splits[kept]))]
        self.images = array("I", images[kept].tobytes())
        self._splits = array("B", splits[kept].tobytes())
        self.annotations = array("q", np.asarray(self.annotations)[kept].tobytes())
