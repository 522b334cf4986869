"""Which sets are staged, and whether they still are what they were made from."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sainet.data.source import read_source
from sainet.data.stage.layout import partial_of, places_below
from sainet.data.stage.record import Record, read_record, users_of
from sainet.data.stage.sums import tree_of
from sainet.data.stage.survey import take_survey
from sainet.data.stage.workshop import begun_from, is_workshop, worker_of
from sainet.errors import DataError

__all__ = ["Entry", "State", "staged_below"]

State = Literal["unchanged", "changed", "source gone", "damaged", "half-staged", "being staged"]


@dataclass(frozen=True)
class Entry:
    """One staged set, or what there is of one (`record` is None).

    `bytes`: what it takes, in whole pages. `source`: the data YAML; None where a kill has left no word of it.
    `used_by`: processes that train on it, or work on it.
    """

    place: Path
    state: State
    bytes: int
    source: str | None
    record: Record | None = None
    used_by: tuple[int, ...] = ()


def staged_below(root: Path) -> Iterator[Entry]:
    """The sets staged in `root`. Each is compared with its source, of which every file is looked at, none opened."""
    for place in places_below(root):
        if (record := read_record(place)) is not None:
            yield Entry(place, _state(place, record), record.page_bytes, record.source, record, tuple(users_of(place)))
        with suppress(FileNotFoundError):  # it has just become whole, or gone
            yield from _in_the_making(place)


def _in_the_making(place: Path) -> Iterator[Entry]:
    partial = partial_of(place)
    if partial.is_dir() and is_workshop(partial):
        takes, worker = tree_of(str(partial)).page_bytes, worker_of(place)
        state: State = "half-staged" if worker is None else "being staged"
        yield Entry(partial, state, takes, begun_from(place), used_by=(worker,) if worker else ())


def _state(place: Path, record: Record) -> State:
    if not record.is_intact(place):
        return "damaged"
    try:
        survey = take_survey(read_source(record.source))
    except DataError:
        return "source gone"
    return "unchanged" if survey.fingerprint == record.fingerprint else "changed"
