"""Where the images of a split are, and what lies among them that a training would not see, or see wrongly."""

import os
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sainet.data.check.kinds import Finding
from sainet.data.check.paths import PathList, label_path, path_key
from sainet.data.source import IMAGE_FORMATS, images_in

__all__ = ["Images", "find_images"]

_RAW = frozenset({"arw", "cr2", "exr", "hdr", "nef", "raw"})
_RARE = frozenset({"dib", "gif", "ico", "j2k", "jfi", "jfif", "jif", "jpe", "jpx", "jxl", "pbm", "pgm", "pnm", "ppm"})
_NOT_READ = _RAW | _RARE | {"psd", "svg", "tga"}
"""Suffixes of images that Ultralytics does not take for any."""


@dataclass
class Images:
    """The images of one split, as Ultralytics finds them, and what was noticed on the way.

    `folders`: every folder that was looked through or that a list names.
    """

    split: str
    paths: PathList = field(default_factory=PathList)
    folders: set[str] = field(default_factory=set)
    lists: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def keys(self) -> "array[int]":
        """A number for each path."""
        return array("q", map(path_key, self.paths))

    def label_keys(self) -> "array[int]":
        """A number for each label file's path."""
        return array("q", (path_key(label_path(path)) for path in self.paths))

    def folded_keys(self) -> "array[int]":
        """A number for each path that is the same where only the case or the form of letters differs."""
        return array("q", (path_key(folded(path)) for path in self.paths))


def folded(path: str) -> str:
    """What a file system that does not tell letters apart makes of a path."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def find_images(split: str, places: tuple[Path, ...], root: str) -> Images:
    """Look through the folders and list files of a split; `root` is the folder that holds all splits.

    Raises `DataError` for a list that cannot be read.
    """
    images = Images(split)
    for place in places:
        if place.is_dir():
            _walk(str(place), images, os.path.realpath(root), frozenset())
        else:
            _read_list(place, images)
    return images


def _read_list(place: Path, images: Images) -> None:
    images.lists.append(place)
    for path in images_in(place):
        # Relative lines start at the working directory, as with Ultralytics.
        folder, name = os.path.split(path)
        images.paths.add(folder, name)
        images.folders.add(folder)


def _walk(folder: str, images: Images, root: str, above: frozenset[str]) -> None:
    """One folder and those below: hidden ones are not looked into, links are followed, but not in a circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    images.folders.add(folder)
    below: list[str] = []
    decoded, outside = 0, list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = entry.name.rpartition(".")[2].lower()
            if entry.name.startswith("."):
                images.findings += _hidden(entry, suffix)
            elif suffix not in IMAGE_FORMATS and entry.is_dir():
                below.append(entry.path)
            elif suffix in IMAGE_FORMATS:
                images.paths.add(folder, entry.name)
            elif suffix in _NOT_READ:
                message = f"its suffix .{suffix} is not read, so Ultralytics leaves it out"
                images.findings.append(Finding("image-ignored", entry.path, message, image=entry.path))
            decoded += suffix == "npy"
            if entry.is_symlink() and _leads_out(entry.path, root):
                outside.append(entry.path)
    images.findings += _of_a_folder(folder, decoded, outside)
    for path in sorted(below):
        _walk(path, images, root, above | {real})


def _hidden(entry: "os.DirEntry[str]", suffix: str) -> Iterator[Finding]:
    # ._a.jpg is what macOS keeps beside a.jpg, and no image.
    if suffix in IMAGE_FORMATS and not entry.name.startswith("._"):
        message = "its name begins with a dot, so Ultralytics leaves it out"
        yield Finding("image-ignored", entry.path, message, image=entry.path)


def _leads_out(path: str, root: str) -> bool:
    real = os.path.realpath(path)
    return os.path.commonpath([real, root]) != root and os.path.exists(real)  # noqa: PTH110


def _of_a_folder(folder: str, decoded: int, outside: list[str]) -> Iterator[Finding]:
    if decoded:
        message = f"{decoded} .npy files beside the images: Ultralytics trains on them in place of older images"
        yield Finding("image-npy", folder, message)
    if outside:
        message = f"{len(outside)} links lead out of the set, as {min(outside)} to {os.path.realpath(min(outside))}"
        yield Finding("link-outside", folder, message)
