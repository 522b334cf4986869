"""What lies in the label folders of a set beside the labels of its images: orphans and caches."""

import os
from array import array
from collections.abc import Iterator, Sequence

from sainet.data.check.kinds import Finding
from sainet.data.check.paths import PathList, label_path, path_key
from sainet.data.check.places import Images
from sainet.data.source import IMAGE_FORMATS

__all__ = ["around_the_labels", "images_twice"]

_NO_LABELS = frozenset({"classes.txt", "labels.txt", "notes.txt", "readme.txt", "requirements.txt"})
"""What labelling tools leave in the folder of the labels."""


def around_the_labels(splits: Sequence[Images]) -> Iterator[Finding]:
    """Label files that no image has, and what Ultralytics keeps of its last look at them."""
    import numpy as np

    known = np.array([key for images in splits for key in _known_keys(images)], dtype=np.int64)
    files, keys, seen = PathList(), array("q"), set[str]()
    for folder in sorted(_label_folders(splits)):
        yield from _caches(folder, seen)
        _collect(folder, files, keys, seen)
    lists = {str(path) for images in splits for path in images.lists}
    for index in np.flatnonzero(~np.isin(np.asarray(keys, dtype=np.int64), known)).tolist():
        if files[index] not in lists:
            yield Finding("label-orphan", files[index], "no image has this label file")


def _known_keys(images: Images) -> Iterator[int]:
    """The label files of a split's images, and of what else lies beside images that a list names."""
    yield from images.label_keys()
    if images.lists:
        for folder in images.folders:
            yield from (path_key(label_path(path)) for path in _images_in(folder))


def _images_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if entry.name.rpartition(".")[2].lower() in IMAGE_FORMATS)
    except OSError:  # a list may name images in a folder that is gone
        return


def _label_folders(splits: Sequence[Images]) -> set[str]:
    return {os.path.dirname(label_path(f"{folder}/a.jpg")) for images in splits for folder in images.folders if folder}  # noqa: PTH120


def _collect(folder: str, files: PathList, keys: "array[int]", seen: set[str]) -> None:
    """The label files in a folder and below it, each folder once."""
    if folder in seen:
        return
    seen.add(folder)
    below: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".txt") and entry.name.lower() not in _NO_LABELS:
                    files.add(folder, entry.name)
                    keys.append(path_key(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
    except OSError:  # a set without labels has no such folder
        return
    for path in below:
        _collect(path, files, keys, seen)


def _caches(folder: str, seen: set[str]) -> Iterator[Finding]:
    # Ultralytics takes the first label's folder and puts the suffix in the place of any it has.
    path = f"{os.path.splitext(folder)[0]}.cache"  # noqa: PTH122
    if path not in seen and os.path.exists(path):  # noqa: PTH110
        seen.add(path)
        yield Finding("label-cache", path, "what Ultralytics saw at an earlier time; splits and settings share it")


def images_twice(images: Images, missing: int) -> Iterator[Finding]:
    """A path like images/set/images/train: only the last `images` becomes `labels`."""
    for folder in sorted(images.folders):
        if missing and f"{folder}/".count("/images/") > 1:
            labels = os.path.dirname(label_path(f"{folder}/a.jpg"))  # noqa: PTH120
            yield Finding("images-twice", folder, f"has `images` twice: its labels are looked for in {labels}")
