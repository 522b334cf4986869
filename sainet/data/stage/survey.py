"""What there is to be staged of a data set: its images and label files, how many bytes they are, and their state."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from sainet.data.check.paths import PathList, label_path
from sainet.data.source import IMAGE_FORMATS, DataSource, images_in
from sainet.data.stage.layout import Layout, layout_of
from sainet.data.stage.sums import add, file_sum, in_pages
from sainet.errors import DataError
from sainet.hardware.storage import disk_of

__all__ = ["Survey", "status_of", "take_survey"]

_SHOWN = 5
_THREADS, _SOME = 16, 1024
_Found = tuple[str, str]
"""The folder and the name of an image."""
_Statuses = tuple[os.stat_result | None, os.stat_result | None]
"""Of an image and of its label file; None where there is none."""


@dataclass
class Survey:
    """A data set as it lies there.

    - `images`: their paths; those that several splits share through the same folder or list are there once.
    - `splits`: how many each split has.
    - `files`, `bytes`, `page_bytes`: images and label files, their sizes, and what they take in whole pages.
    - `sum`: of all of them, as `sums` has it, by their paths.
    - `absent`: images that a list names and that are not there, the first few; `absent_count`: all of them. Those of
      `test` do not count: no training reads them.
    """

    source: DataSource
    images: PathList = field(default_factory=PathList)
    splits: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    page_bytes: int = 0
    sum: int = 0
    absent: list[str] = field(default_factory=list)
    absent_count: int = 0
    folders: set[str] = field(default_factory=set)

    @property
    def layout(self) -> Layout:
        return layout_of(self.folders)

    @property
    def places(self) -> Mapping[str, tuple[Path, ...]]:
        """The folders and list files of each split."""
        every = {"train": self.source.train, "val": self.source.val, "test": self.source.test}
        return {split: paths for split, paths in every.items() if paths}

    @property
    def fingerprint(self) -> str:
        """Of all that the staged set is made from: images, label files, the YAML and its lists."""
        digest = blake2b(f"{self.sum:x}".encode(), digest_size=16)
        lists = (place for places in self.places.values() for place in places if place.is_file())
        for path in (self.source.yaml, *lists):
            digest.update(os.fsencode(f"\0{path}\0"))
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def require_all(self) -> None:
        """Raises `DataError` where images are named that are not there."""
        if self.absent_count:
            more = f", and {self.absent_count - _SHOWN} more" if self.absent_count > _SHOWN else ""
            raise DataError(
                f"{self.absent_count} images are named and not there: {', '.join(self.absent)}{more}",
                where=str(self.source.yaml),
                hint="sainet data check tells all that is wrong; --force stages what is there",
            )


def take_survey(source: DataSource) -> Survey:
    """Look at every image and label file, opening none. Raises `DataError` for a folder that cannot be read."""
    survey, seen = Survey(source), dict[Path, int]()
    for split, places in survey.places.items():
        for place in places:
            if place not in seen:
                seen[place] = _look_through(place, survey, needed=split != "test")
        survey.splits[split] = sum(seen[place] for place in places)
    survey.sum = add(survey.sum)
    return survey


def _look_through(place: Path, survey: Survey, *, needed: bool) -> int:
    count = 0
    try:
        if place.is_dir():
            survey.folders.add(str(place))
        found = _walk(str(place), frozenset()) if place.is_dir() else _listed(place)
        for (folder, name), statuses in _looked_at(found, at_once=_at_once(place)):
            count += 1
            survey.folders.add(folder)
            _add(folder, name, statuses, survey, needed=needed)
    except OSError as error:
        raise DataError(f"cannot be read: {error}", where=str(place)) from error
    return count


def _at_once(place: Path) -> int:
    """Requests at a time: a network disk answers many in the time of one; elsewhere they would wait for each other."""
    return _THREADS if disk_of(place).kind == "network" else 1


def _looked_at(found: Iterable[_Found], *, at_once: int) -> Iterator[tuple[_Found, _Statuses]]:
    """Each image with what the file system says of it and of its label file, in order."""
    if at_once < 2:
        yield from ((one, _statuses(one)) for one in found)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(at_once) as pool:
        images = iter(found)
        while some := list(islice(images, _SOME)):
            yield from zip(some, pool.map(_statuses, some), strict=True)


def _statuses(image: _Found) -> _Statuses:
    path = "/".join(image)
    status = status_of(path)
    return status, status_of(label_path(path)) if status is not None else None


def _add(folder: str, name: str, statuses: _Statuses, survey: Survey, *, needed: bool) -> None:
    path = f"{folder}/{name}"
    of_image, of_label = statuses
    if of_image is None:
        survey.absent_count += needed
        survey.absent += [path] if needed and len(survey.absent) < _SHOWN else []
        return
    survey.images.add(folder, name)
    _count(path, of_image, survey)
    if of_label is not None:
        _count(label_path(path), of_label, survey)


def _count(path: str, status: os.stat_result, survey: Survey) -> None:
    size = status.st_size
    survey.files += 1
    survey.bytes += size
    survey.page_bytes += in_pages(size)
    survey.sum += file_sum(path, size, status.st_mtime_ns)


def status_of(path: str) -> os.stat_result | None:
    """Of a file, or what a link leads to; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each costs more than the call
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _walk(folder: str, above: frozenset[str]) -> Iterator[_Found]:
    """Folder and name of each image, as the training finds them, in an order that stays: a resumed staging needs it."""
    real = os.path.realpath(folder)
    if real in above:  # a link in a circle
        return
    below: list[str] = []
    images: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.rpartition(".")[2].lower() in IMAGE_FORMATS and "." in entry.name:
                images.append(entry.name)
            elif entry.is_dir():
                below.append(entry.path)
    images.sort()
    for name in images:
        yield folder, name
    del images
    for path in sorted(below):
        yield from _walk(path, above | {real})


def _listed(place: Path) -> Iterator[_Found]:
    """Relative lines start at the working directory, as with Ultralytics."""
    for path in images_in(place):
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        yield folder, name
