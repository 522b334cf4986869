"""What readers of a published layout hand on, and workers work on: where an image is and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from sainet.data.prepare.boxes import Said
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.tree import Place

__all__ = ["Cell", "Entry", "Facts", "Published", "Release", "Written"]


class Cell(NamedTuple):
    """An image in a parquet shard, with all that is said of it; `shown` is the path for people, `row` counts from 0."""

    path: str
    shown: str
    row: int


class Written(NamedTuple):
    """An annotation in a file of its own, not yet read; `shown` is its path for people."""

    place: Place
    form: Literal["yolo", "voc"]
    shown: str


class Entry(NamedTuple):
    """An image of the set to be: its split and its name there, and where it comes from.

    `says` is None where there is no annotation, and for a `Cell`, which has its own.
    """

    split: str
    name: str
    source_id: str
    image: Place | Cell
    says: Said | Written | None


@dataclass(frozen=True)
class Release:
    """What is published under a name: the classes in the order of their ids, and the share of each split."""

    name: str
    classes: tuple[str, ...]
    shares: dict[str, float]

    @property
    def ids(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.classes)}


@dataclass
class Facts:
    """What a reader found out on the way: of what kind the annotations are, and which others are there.

    `names`: the class names by the ids of label files. `licence`: what the source says of it.
    """

    form: str
    others: tuple[str, ...] = ()
    names: dict[int, str] = field(default_factory=dict)
    licence: Sequence[str] = ()


class Published(Protocol):
    """The images of a published layout that have a split, numbered from 0 in an order that does not change."""

    facts: Facts
    notes: Notes

    def __len__(self) -> int: ...

    def split(self, index: int) -> str:
        """The published split; '' where the layout has none."""
        ...

    def name(self, index: int) -> str:
        """The published name of the image, without folders."""
        ...

    def part(self, index: int) -> int:
        """Images with one number are worked on together; it never falls."""
        ...

    def entry(self, index: int, split: str, name: str) -> Entry:
        """The image, for this split and under this name."""
        ...
