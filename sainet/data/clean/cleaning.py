"""Cleaning a whole data set into a folder of its own; killed at any moment, it goes on when it is run again."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sainet.data.check.checking import OnProgress, check_data, find_splits
from sainet.data.check.kinds import Finding
from sainet.data.check.paths import label_path
from sainet.data.check.places import Images
from sainet.data.check.state import state_of
from sainet.data.check.summary import Checked
from sainet.data.clean.afterwards import look_again
from sainet.data.clean.plan import Item, Missing, Plan, label_of
from sainet.data.clean.result import Cleaned, has_finished, write_result
from sainet.data.clean.writing import Part, write_part
from sainet.data.journal import Journal
from sainet.data.placing import How
from sainet.data.pool import in_parallel
from sainet.data.source import DataSource, read_source
from sainet.errors import DataError, UsageError, combined
from sainet.hardware.cpu import usable_cpus

__all__ = ["PART", "Options", "Survey", "clean", "survey"]

PART = 64
"""Images of a part: enough to make handing it over cheap; of what a kill spoils, no more is done again."""
_SEVERAL = 256
"""Images from which on other processes are worth starting."""
_JOURNAL = ".clean.jsonl"
_READABLE_THEN = frozenset({"row-commas", "row-six", "rows-mixed", "box-pixels"})
"""Kinds of rows that count for nothing before they are mended."""
_OBSTACLES = frozenset({"yaml", "labels-absent", "no-boxes", "classes-swapped"})


@dataclass(frozen=True)
class Options:
    """`also`: kinds of `ON_REQUEST` that are mended too; `missing`: what becomes of images without a label file."""

    how: How = "link"
    also: frozenset[str] = frozenset()
    missing: Missing = "negative"


@dataclass(frozen=True)
class Survey:
    """What is to be cleaned, with all that was found in it, and where to. By its `request` it is known again."""

    checked: Checked
    source: DataSource
    splits: list[Images]
    out: Path
    options: Options
    request: dict[str, Any]


def survey(yaml: str, out: Path, options: Options, on_progress: OnProgress) -> Survey | Cleaned:
    """Check the set, and that it can be cleaned to `out`; writes nothing. What was cleaned there before is given back.

    `on_progress` is told (images done, of how many).
    Raises `DataError` when there is no such set, or when only a person can mend it; `UsageError` when `out` holds
    something else or lies in the set.
    """
    out = out.expanduser().absolute()
    try:
        source = read_source(yaml)
        splits = find_splits(source)
    except DataError:
        _refuse(check_data(yaml, on_progress=on_progress), options)  # it tells more, if there is a YAML
        raise
    request = _request(source, splits, options)
    if (finished := has_finished(out, request)) is not None:
        (out / _JOURNAL).unlink(missing_ok=True)  # killed at the very end
        return finished
    _refuse_full(out)
    _refuse_inside(out, source, splits)
    checked = check_data(yaml, on_progress=on_progress)
    _refuse(checked, options)
    return Survey(checked, source, splits, out, options, request)


def clean(survey: Survey, on_progress: OnProgress) -> Cleaned:
    """Write what is good, mend what can be mended, leave out the rest, and keep a log of every change.

    The source is only read. `on_progress` is told (images done, of how many).
    Raises `DataError` when nothing would be left of a split or the set changes meanwhile, `StorageError` when the disk
    is full, `UsageError` when an interrupted cleaning was begun otherwise.
    """
    checked, source, options, out = survey.checked, survey.source, survey.options, survey.out
    names = _names(source, options)
    with Journal(out / _JOURNAL, survey.request) as journal:
        plan = Plan(source, checked.findings, options.also, options.missing)
        about = partial(Part, out=str(out), classes=len(source.names), also=options.also, how=options.how)
        total = sum(len(images.paths) for images in survey.splits)
        _write(plan.items(survey.splits), journal, about, total, on_progress)
        look_again(out, names, options.also, journal)
        cleaned = write_result(out, survey.request, names, plan.changes, journal, checked)
        journal.path.unlink()
    return cleaned


def _request(source: DataSource, splits: Sequence[Images], options: Options) -> dict[str, Any]:
    asked = {"how": options.how, "also": sorted(options.also), "missing": options.missing}
    return {"data": str(source.yaml), **asked, "set": state_of(source, splits)}


def _refuse(checked: Checked, options: Options) -> None:
    """What nobody but a person can mend stops it before anything is written."""
    errors = [
        DataError(finding.message, where=finding.where, hint=finding.fix.removeprefix("nothing: "))
        for finding in checked.findings
        if finding.kind in _OBSTACLES - options.also and not _can_be_mended(finding, checked)
    ]
    if errors:
        raise combined(errors)


def _can_be_mended(finding: Finding, checked: Checked) -> bool:
    """Whether labels or boxes are missing only because of what is mended; what is left is judged in the end."""
    kinds = checked.by_kind()
    if finding.kind == "no-boxes":
        return bool(kinds.keys() & _READABLE_THEN)
    if finding.kind != "labels-absent" or "images-twice" not in kinds:
        return False
    missing = (one.image for one in kinds.get("label-missing", []))
    return any(image is not None and label_of(image) is not None for image in missing)


def _refuse_inside(out: Path, source: DataSource, splits: Sequence[Images]) -> None:
    places = {str(place) for place in (*source.train, *source.val, *source.test)}
    folders = {folder for images in splits for folder in images.folders if folder}
    labels = {os.path.dirname(label_path(f"{folder}/a.jpg")) for folder in folders}  # noqa: PTH120
    for place in sorted(places | folders | labels):
        if out.resolve().is_relative_to(Path(place).resolve()):
            raise UsageError(f"{out} lies in the set, in {place}", hint="name a folder of its own")


def _refuse_full(out: Path) -> None:
    if out.exists() and not (out / _JOURNAL).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", hint="name a new folder, or remove that one")


def _write(
    items: Iterator[Item], journal: Journal, about: Callable[[Sequence[Item]], Part], total: int, on_write: OnProgress
) -> None:
    """Write the parts that the journal does not have. All items are taken, for what the plan has to tell of them."""
    parts = (about(chunk) for chunk in _chunks(items))
    done = sum(len(part.items) for part in islice(parts, journal.count))  # and all, where they are looked at again
    workers = usable_cpus() if total >= _SEVERAL else 1
    try:
        for result in in_parallel(write_part, parts, workers):
            journal.add(result)
            done += result["images"]
            on_write(min(done, total), total)
    except OSError as error:
        raise DataError(
            f"the set changed while it was cleaned: {error.strerror}",
            where=error.filename,
            hint=f"remove {journal.path.parent} and clean it anew",
        ) from error


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    for _, of_a_split in groupby(items, key=lambda item: item.split):
        while chunk := list(islice(of_a_split, PART)):
            yield chunk


def _names(source: DataSource, options: Options) -> dict[int, str]:
    if "classes-swapped" not in options.also:
        return source.names
    other = {"fire": "smoke", "smoke": "fire"}
    by_name = {name.strip().lower(): name for name in source.names.values()}
    return {label: by_name.get(other.get(name.strip().lower(), ""), name) for label, name in source.names.items()}
