"""Checking a whole data set: every image and every label file once, then what only all of them show."""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sainet.data.check.alike import alike, same_camera
from sainet.data.check.around import around_the_labels, images_twice
from sainet.data.check.cameras import Cameras
from sainet.data.check.kinds import KINDS, Finding
from sainet.data.check.part import Part, Seen, check_part
from sainet.data.check.places import Images, find_images
from sainet.data.check.summary import Checked
from sainet.data.check.twins import Everything, copies, names_twice
from sainet.data.pool import in_parallel
from sainet.data.source import DataSource, read_source
from sainet.errors import DataError
from sainet.hardware.cpu import usable_cpus

__all__ = ["check_data", "find_splits"]

_AT_ONCE, _LABELS_AT_ONCE = 32, 512
"""Images of a part: enough to make handing it over cheap, few enough that the last ones do not wait for one worker."""
_SEVERAL = 128
"""Images from which on other processes are worth starting."""

OnProgress = Callable[[int, int], None]


def check_data(
    yaml: str, *, labels_only: bool = False, on_progress: OnProgress = lambda _done, _total: None
) -> Checked:
    """Look for everything in `KINDS`. `on_progress` is told (images done, of how many).

    With `labels_only` no image is opened, so that copies and whatever is wrong with images stay unknown.
    Raises `DataError` when there is no such YAML.
    """
    try:
        source = read_source(yaml)
        splits = find_splits(source)
    except DataError as error:
        if not Path(yaml).expanduser().is_file():
            raise
        return Checked(str(yaml), {}, {}, _of_the_yaml(error, yaml), labels_only)
    names = [name.strip().lower() for name in source.names.values()]
    seen = _look(splits, names, labels_only, on_progress)
    findings = [finding for one in seen.values() for finding in one.findings]
    findings += _of_the_whole(source, splits, seen)
    findings += [finding for images in splits for finding in images.findings]
    return Checked(str(source.yaml), source.names, seen, _in_order(_with_lines(findings, splits)), labels_only)


def _of_the_yaml(error: DataError, yaml: str) -> list[Finding]:
    """The problems of a YAML that cannot be used, with their lines where they have one."""
    findings: list[Finding] = []
    for problem in error.problems:
        file, _, line = (problem.where or yaml).rpartition(":")
        if line.isdecimal():
            findings.append(Finding("yaml", file, problem.message, int(line)))
        else:  # a file, or a file and a key
            findings.append(Finding("yaml", (problem.where or yaml).partition(": ")[0], problem.message))
    return findings


def find_splits(source: DataSource) -> list[Images]:
    """The images of each split that the YAML names. Raises `DataError` for a list that cannot be read."""
    places = {"train": source.train, "val": source.val, "test": source.test}
    every = [place if place.is_dir() else place.parent for paths in places.values() for place in paths]
    root = os.path.commonpath(every)
    return [find_images(split, paths, root) for split, paths in places.items() if paths]


def _look(
    splits: Sequence[Images], names: Sequence[str], labels_only: bool, on_progress: OnProgress
) -> dict[str, Seen]:
    """What all parts of each split show."""
    total, done = sum(len(images.paths) for images in splits), 0
    seen = {images.split: Seen() for images in splits}
    order = [(images.split, part) for images in splits for part in _sizes(images, labels_only)]
    parts = (part for images in splits for part in _parts(images, names, labels_only))
    workers = usable_cpus() if total >= _SEVERAL else 1
    for (split, _), one in zip(order, in_parallel(check_part, parts, workers), strict=True):
        seen[split].add(one)
        done += one.images
        on_progress(done, total)
    return seen


def _sizes(images: Images, labels_only: bool) -> range:
    return range(0, len(images.paths), _LABELS_AT_ONCE if labels_only else _AT_ONCE)


def _parts(images: Images, names: Sequence[str], labels_only: bool) -> Iterator[Part]:
    starts = _sizes(images, labels_only)
    for start in starts:
        stop = min(start + starts.step, len(images.paths))
        yield Part([images.paths[index] for index in range(start, stop)], names, labels_only)


def _of_the_whole(source: DataSource, splits: Sequence[Images], seen: dict[str, Seen]) -> Iterator[Finding]:
    """What no single image shows."""
    every, cameras = Everything(splits), Cameras.of_set(source.yaml)
    yield from names_twice(every, splits)
    yield from around_the_labels(splits)
    yield from same_camera(splits, cameras)
    for images in splits:
        yield from images_twice(images, seen[images.split].missing)
        yield from _of_a_split(source, images.split, seen[images.split])
    keys, looks = array("Q"), array("Q")
    for one in seen.values():
        keys += one.keys
        looks += one.looks
    yield from copies(every, keys)
    yield from alike(every, looks, cameras)


def _of_a_split(source: DataSource, split: str, seen: Seen) -> Iterator[Finding]:
    yaml, line, names_line = str(source.yaml), source.lines.get(split), source.lines.get("names")
    absent = [name for label, name in source.names.items() if not seen.boxes[label]]
    if not seen.labelled:
        yield Finding("labels-absent", yaml, f"none of the {seen.images} {split} images has a label file", line)
    elif len(absent) == len(source.names):
        yield Finding("no-boxes", yaml, f"no {split} image has a box", line)
    else:
        for name in absent:
            yield Finding("class-absent", yaml, f"no {split} image has a box of {name}", names_line)
    if 2 * seen.swapped > seen.named:
        message = f"{seen.swapped} of {seen.named} {split} images whose names say one class have only the other"
        yield Finding("classes-swapped", yaml, message, names_line)


def _with_lines(findings: list[Finding], splits: Sequence[Images]) -> list[Finding]:
    """An image that is not there is to be mended where a list names it."""
    absent = {finding.file for finding in findings if finding.kind == "image-absent"}
    lists = [path for images in splits for path in images.lists] if absent else []
    named: dict[str, tuple[str, int]] = {}
    for listed in lists:
        for number, line in enumerate(listed.read_text(encoding="utf-8-sig").splitlines(), start=1):
            path = f"{listed.parent}/{line[2:]}" if line.startswith("./") else line
            if path in absent:
                named.setdefault(path, (str(listed), number))
    return [_at(finding, *named[finding.file]) if _is_named(finding, named) else finding for finding in findings]


def _is_named(finding: Finding, named: dict[str, tuple[str, int]]) -> bool:
    return finding.kind == "image-absent" and finding.file in named


def _at(finding: Finding, file: str, line: int) -> Finding:
    return replace(finding, file=file, line=line, message=f"{finding.file}: {finding.message}")


def _in_order(findings: list[Finding]) -> list[Finding]:
    """By kind, errors first, then by place."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (order[finding.kind], finding.file, finding.line or 0))
