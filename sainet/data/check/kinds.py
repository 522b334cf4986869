"""Every kind of finding: what it is called, how bad it is, and what `sainet data clean` does about it.

An *error* is what Ultralytics 8.4 would silently drop, change or learn wrongly; a *warning* is what it takes as it is,
and a person should know. docs/data.md gives the reason for each.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["KINDS", "Finding", "Kind", "Severity"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """One kind of finding: a title for people, and what `clean` does about each."""

    name: str
    severity: Severity
    title: str
    fix: str

    @property
    def drops(self) -> bool:
        """Whether Ultralytics goes on without the image, all its boxes included, or without the whole split."""
        return self.name in _DROPPED


_OUT = "leaves the image out"
_ROW = "leaves the row out"
_YOURS = "nothing: it is yours to decide"

_ERRORS = (
    ("yaml", "the data YAML cannot be used", "nothing: mend it first"),
    ("image-absent", "images that are not there", "leaves the name out"),
    ("image-ignored", "images with a suffix that is not read", "writes it as a PNG, or without the dot"),
    ("image-undecodable", "images that do not decode", _OUT),
    ("image-format", "images of a format that is not read", "writes it as a PNG"),
    ("image-small", "images of less than 10 pixels", _OUT),
    ("image-bomb", "images too large to be opened", _OUT),
    ("image-no-end", "JPEGs that do not end in their end marker", "ends it there; the pixels stay as they are"),
    ("image-16-bit", "images of 16 bits", "scales it to 8 bits, darkest to brightest"),
    ("label-unreadable", "label files that cannot be read", _OUT),
    ("label-encoding", "label files that are not UTF-8", _OUT),
    ("label-shared", "images that share one label file", "gives each a name and a label file of its own"),
    ("row-numbers", "rows with something that is no number", _ROW),
    ("row-commas", "rows with commas", "puts blanks for the commas"),
    ("row-six", "rows of six numbers", "keeps the class and the box"),
    ("row-columns", "rows of a wrong number of columns", _ROW),
    ("rows-mixed", "boxes and polygons in one label file", "puts the box around each polygon"),
    ("class-fraction", "classes that are no whole number", _ROW),
    ("class-range", "classes that the YAML does not have", _ROW),
    ("box-not-finite", "boxes that are not finite", _ROW),
    ("box-pixels", "boxes in pixels", "divides by the size of the image"),
    ("box-range", "boxes outside the image", _ROW),
    ("box-empty", "boxes without an area", _ROW),
    ("labels-absent", "splits without any label file", "nothing: mend the folders first"),
    ("no-boxes", "splits without any box", "nothing: mend the labels first"),
    ("classes-swapped", "classes against the names of the images", "nothing: mend `names` first"),
    ("copy-labels", "one image with different labels", "leaves every copy out: which labels are right is not known"),
    ("leak-file", "images in two splits", "takes it out of the training"),
    ("leak-copy", "copies of an image in two splits", "takes the one out of the training"),
)
_WARNINGS = (
    ("image-suffix", "images of another format than their suffix says", "gives it the suffix of its format"),
    ("image-mode", "images that are neither RGB nor grey", "writes it as RGB"),
    ("image-animated", "images of several frames", "keeps the first frame"),
    ("image-orientation", "images that are stored turned", "turns the pixels; the boxes stay as they are"),
    ("image-huge", "images of more than 89 million pixels", "keeps it"),
    ("image-npy", "decoded images beside the images", "leaves them out"),
    ("image-copy", "copies of an image in one split", "keeps the first"),
    ("image-twice", "images that a split names twice", "names it once"),
    ("label-missing", "images without a label file", "writes an empty one: a declared negative"),
    ("label-orphan", "label files without an image", "leaves it out"),
    ("label-bom", "label files with a byte order mark", "takes the mark away"),
    ("label-crlf", "label files with Windows line ends", "writes plain line ends"),
    ("label-cache", "Ultralytics' caches of labels", "leaves it out"),
    ("row-polygon", "polygons, which count as boxes", "puts the box around it"),
    ("row-duplicate", "rows that are there twice", "keeps the first"),
    ("class-float", "classes written as 1.0", "writes the whole number"),
    ("class-name", "labels against the name of the image", _YOURS),
    ("class-absent", "classes that a split does not have", _YOURS),
    ("box-edge", "boxes over the edge of the image", "cuts it at the edge"),
    ("box-frame", "boxes of the whole image", _YOURS),
    ("box-tiny", "boxes of less than 2 pixels", _YOURS),
    ("leak-similar", "images of two splits that look alike", "nothing: split the set anew, a scene in one split"),
    (
        "leak-camera",
        "one camera within half an hour in two splits",
        "nothing: split the set anew, a scene in one split",
    ),
    ("name-collision", "names that differ in case or unicode form only", "numbers the second"),
    ("link-outside", "links that lead out of the set", "puts the file in its place"),
    ("images-twice", "paths with `images` twice", "lays the set out anew, with one"),
)

_DROPPED = frozenset(
    {
        *("image-absent", "image-ignored", "image-undecodable", "image-format", "image-small", "image-bomb"),
        *("label-unreadable", "label-encoding", "labels-absent"),
        *("row-numbers", "row-commas", "row-six", "row-columns", "rows-mixed", "class-fraction", "class-range"),
        *("box-not-finite", "box-pixels", "box-range"),
    }
)

KINDS: dict[str, Kind] = {
    **{name: Kind(name, "error", title, fix) for name, title, fix in _ERRORS},
    **{name: Kind(name, "warning", title, fix) for name, title, fix in _WARNINGS},
}
"""By name; errors first, which is the order of every listing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: its kind, the file and the line (from 1; None where it is about the whole file).

    `image` is the picture that shows it, and `other` the one that it was compared with.
    """

    kind: str
    file: str
    message: str
    line: int | None = None
    image: str | None = None
    other: str | None = None

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def fix(self) -> str:
        """What `sainet data clean` does about it."""
        return KINDS[self.kind].fix

    @property
    def where(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def as_dict(self) -> dict[str, str | int | None]:
        """What `--json` says of it."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "message": self.message,
            "fix": self.fix,
        }
