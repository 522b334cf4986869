"""Which sets are staged, and whether they still are what they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sainet.data.source import read_source
from sainet.data.stage.layout import partial_of
from sainet.data.stage.record import Record, read_record, users_of
from sainet.data.stage.sums import tree_of
from sainet.data.stage.survey import take_survey
from sainet.data.stage.workshop import is_workshop, worker_of
from sainet.errors import DataError

__all__ = ["Entry", "State", "staged_below"]

State = Literal["unchanged", "changed", "source gone", "damaged", "half-staged", "being staged"]


@dataclass(frozen=True)
class Entry:
    """One staged set, or what there is of one (`record` is None).

    `bytes`: what it takes, in whole pages. `used_by`: processes that train on it, or work on it.
    """

    place: Path
    state: State
    bytes: int
    record: Record | None = None
    used_by: tuple[int, ...] = ()


def staged_below(root: Path) -> Iterator[Entry]:
    """The sets staged in `root`. Each is compared with its source, of which every file is looked at, none opened."""
    names = {path.name.removesuffix(".partial") for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()
    for name in sorted(names):
        place = root / name
        if (record := read_record(place)) is not None:
            yield Entry(place, _state(place, record), record.page_bytes, record, tuple(users_of(place)))
        partial = partial_of(place)
        if partial.is_dir() and is_workshop(partial):
            worker = worker_of(place)
            state: State = "half-staged" if worker is None else "being staged"
            yield Entry(partial, state, tree_of(str(partial)).page_bytes, used_by=(worker,) if worker else ())


def _state(place: Path, record: Record) -> State:
    if not record.is_intact(place):
        return "damaged"
    try:
        survey = take_survey(read_source(record.source))
    except DataError:
        return "source gone"
    return "unchanged" if survey.fingerprint == record.fingerprint else "changed"
