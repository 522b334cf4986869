"""The cheap part of the check, before every start: labels and names, and only again when something changed."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from sainet import __version__
from sainet.data.check.checking import check_data, find_splits
from sainet.data.check.kinds import KINDS
from sainet.data.check.paths import label_path
from sainet.data.check.places import Images
from sainet.data.check.summary import Checked
from sainet.data.pool import in_threads
from sainet.data.source import DataSource
from sainet.errors import SainetError
from sainet.files import replace_text

__all__ = ["Count", "check_labels"]

_MANY = 20_000
"""Images from which on it takes a moment that is worth a word."""


@dataclass(frozen=True)
class Count:
    """How often a kind was found, and where first: a file, with its line where there is one."""

    kind: str
    count: int
    where: str
    message: str

    @property
    def drops(self) -> bool:
        """Whether Ultralytics would go on without these images."""
        return KINDS[self.kind].drops


def check_labels(source: DataSource, folder: Path, tell: Callable[[str], None]) -> list[Count]:
    """What `sainet data check --labels-only` finds, errors first.

    What was found is kept in `folder`, where it can be written, and believed for as long as the YAML, the names of the
    images and the sizes and times of the label files are the same.
    """
    splits = find_splits(source)
    state = _state_of(source, splits)
    kept = folder / f"{blake2b(os.fsencode(source.yaml), digest_size=12).hexdigest()}.json"
    if (known := _read(kept, state)) is not None:
        return known
    if (images := sum(len(one.paths) for one in splits)) >= _MANY:
        tell(f"checking the labels of {images:,} images")
    counts = _counts(check_data(str(source.yaml), labels_only=True))
    with suppress(SainetError, OSError):  # it is only looked at again then
        replace_text(kept, json.dumps({"state": state, "counts": [asdict(count) for count in counts]}))
    return counts


def _counts(checked: Checked) -> list[Count]:
    found = checked.by_kind().items()
    return [Count(kind, len(them), them[0].where, them[0].message) for kind, them in found]


def _read(kept: Path, state: str) -> list[Count] | None:
    try:
        tree = json.loads(kept.read_text(encoding="utf-8"))
        return [Count(**count) for count in tree["counts"]] if tree["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state_of(source: DataSource, splits: Sequence[Images]) -> str:
    """Differs as soon as a check might find something else."""
    digest = blake2b(f"{__version__} {sorted(KINDS)}".encode(), digest_size=16)
    digest.update(source.yaml.read_bytes())
    for images in splits:
        digest.update(f"\n{images.split} {len(images.paths)} {len(images.findings)}".encode())
        paths = list(images.paths)
        for path, said in zip(paths, in_threads(_label_state, paths), strict=True):
            digest.update(os.fsencode(path) + said)
        for folder in sorted(_folders(images)):
            digest.update(os.fsencode(folder) + _state(folder))
    return digest.hexdigest()


def _folders(images: Images) -> Iterator[str]:
    """Those of the images and of the labels: a name that comes or goes changes their time."""
    for folder in images.folders:
        yield from (folder, os.path.dirname(label_path(f"{folder}/a.jpg")))  # noqa: PTH120


def _label_state(image: str) -> bytes:
    return _state(label_path(image))


def _state(path: str) -> bytes:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each costs more than the call
    except OSError:
        return b" -\n"
    return f" {found.st_size} {found.st_mtime_ns}\n".encode()
