"""Whether a set is still what it was: the names, sizes and times of all its files, in one number."""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from sainet import __version__
from sainet.data.check.cameras import MANIFEST
from sainet.data.check.kinds import KINDS
from sainet.data.check.paths import label_path
from sainet.data.check.places import Images
from sainet.data.pool import in_threads
from sainet.data.source import DataSource

__all__ = ["state_of"]


def state_of(source: DataSource, splits: Sequence[Images]) -> str:
    """Differs as soon as a check might find something else. Opens no image and no label file."""
    digest = blake2b(f"{__version__} {sorted(KINDS)}".encode(), digest_size=16)
    lists = [path for images in splits for path in images.lists]
    for file in (source.yaml, *lists):
        digest.update(file.read_bytes())
    if lists:  # relative lines start there
        digest.update(os.fsencode(Path.cwd()))
    digest.update(_state(str(source.yaml.with_name(MANIFEST))))
    for images in splits:
        digest.update(f"\n{images.split} {len(images.paths)} {len(images.findings)}".encode())
        paths = list(images.paths)
        for path, state in zip(paths, in_threads(_of_an_image, paths), strict=True):
            digest.update(os.fsencode(path) + state)
        for folder in sorted(_folders(images)):
            digest.update(os.fsencode(folder) + _state(folder))
    return digest.hexdigest()


def _folders(images: Images) -> Iterator[str]:
    """Those of the images and of the labels: a name that comes or goes changes their time."""
    for folder in filter(None, images.folders):
        yield from (folder, os.path.dirname(label_path(f"{folder}/a.jpg")))  # noqa: PTH120


def _of_an_image(path: str) -> bytes:
    return _state(path) + _state(label_path(path))


def _state(path: str) -> bytes:
    """Of a file, or of what a link leads to. Not the time of its last change, which a hard link to it changes too."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each costs more than the call
    except OSError:
        return b" -\n"
    return f" {found.st_size} {found.st_mtime_ns}\n".encode()
