"""Where things of a staged set lie: beside each other as in the source, so that names and their order stay."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sainet.data.check.paths import label_path
from sainet.data.stage.form import Form
from sainet.errors import UsageError

__all__ = [
    "SHM",
    "Layout",
    "default_place",
    "default_root",
    "layout_of",
    "make_default_root",
    "partial_of",
    "places_below",
]

SHM = Path("/dev/shm")
_IMAGES = "images"


@dataclass(frozen=True)
class Layout:
    """`root`: the folder above all that is staged, with a slash behind it. `prefix`: what stands in its place."""

    root: str
    prefix: str

    def image(self, path: str) -> str:
        """Where the image `path` lies in the staged set, relative to it."""
        return self.prefix + path[len(self.root) :]

    def label(self, path: str) -> str:
        """Where its label file lies."""
        return label_path(f"/{self.image(path)}")[1:]

    def folder(self, path: str) -> str:
        """Where a folder that a split names lies."""
        return self.image(f"{path}/").rstrip("/") or "."


def layout_of(folders: Iterable[str]) -> Layout:
    """For images in these folders. Where labels lie is found by an `images` folder, so there is always one."""
    every = list(folders)
    parts = Path(os.path.commonpath(every)).parts
    if _IMAGES in parts:
        parts = parts[: len(parts) - 1 - parts[::-1].index(_IMAGES)]
    root = os.path.join(*parts, "")  # noqa: PTH118
    is_told = all(_IMAGES in folder[len(root) :].split("/") for folder in every)
    return Layout(root, "" if is_told else f"{_IMAGES}/")


def default_root() -> Path:
    """Where sets are staged that no place is named for."""
    return SHM / f"sainet-{os.getuid()}"


def make_default_root(place: Path) -> None:
    """The folder for `place`, where that is a default one. Anybody may write in /dev/shm, so it has to be ours alone.

    Raises `UsageError` where somebody else's is in its place.
    """
    root = default_root()
    if place.parent != root:
        return
    if not root.parent.is_dir():
        raise UsageError(f"there is no {root.parent} here", hint="name a place with --to")
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise UsageError(f"{root} is somebody else's", hint="name another place with --to, or have it removed")


def default_place(yaml: Path, form: Form) -> Path:
    """A folder of its own for each YAML and format."""
    name = yaml.parent.name if yaml.stem == "data" else yaml.stem
    digest = hashlib.sha256(os.fsencode(f"{yaml}\0{form}")).hexdigest()[:8]
    return default_root() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name).lstrip('.')[:60] or 'set'}-{digest}"


def places_below(root: Path) -> list[Path]:
    """The places of sets that are, or are being, staged in `root`, and of whatever else lies there."""
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return sorted({path.with_name(path.name.removesuffix(".partial")) for path in folders})


def partial_of(place: Path) -> Path:
    """Where a set is being made, or removed."""
    return place.with_name(f"{place.name}.partial")
