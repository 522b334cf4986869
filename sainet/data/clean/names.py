"""Names for the files of a clean copy: those of the original, each once, on every file system."""

import os
from collections.abc import Sequence
from pathlib import Path

from sainet.data.check.paths import path_key
from sainet.data.check.places import folded
from sainet.data.source import IMAGE_FORMATS

__all__ = ["Names"]


class Names:
    """Gives each image of a split a path of its own below `images/SPLIT`, without its suffix.

    The path below the split's folder stays; where two differ in their suffix, case or unicode form only, which are one
    label file here or one file elsewhere, the second gets a number.
    """

    def __init__(self, places: Sequence[Path], split: str) -> None:
        self._folders = [f"{place}/" for place in places if place.is_dir()]
        self._split = split
        self._taken: set[int] = set()

    def give(self, image: str) -> tuple[str, bool]:
        """The next image's path, without `images/SPLIT/` and its suffix; and whether it got a number."""
        below = self._below(image).rpartition(".")[0]
        # Of two `images` only the last becomes `labels`, and what begins with a dot is not looked at.
        parts = [part.lstrip(".") or "_" for part in below.split("/") if part != "images"]
        parts = [*map(_folder, parts[:-1]), *parts[-1:]]
        wanted = stem = "/".join(parts) or "image"
        number = 1
        while (key := path_key(folded(stem))) in self._taken:
            number += 1
            stem = f"{wanted}-{number}"
        self._taken.add(key)
        return stem, number > 1

    def _below(self, image: str) -> str:
        for folder in self._folders:
            if image.startswith(folder):
                return image[len(folder) :]
        # Named by a list: what lies below `images`, and below the split's name where that comes next.
        below = image.rpartition("/images/")[2] if "/images/" in image else ""
        return below.removeprefix(f"{self._split}/") or os.path.basename(image)  # noqa: PTH119


def _folder(name: str) -> str:
    """A folder that is called as images are would be taken for one."""
    return name.replace(".", "_") if name.rpartition(".")[2].lower() in IMAGE_FORMATS else name
