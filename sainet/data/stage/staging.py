"""Staging a data set: a copy of it in another place that is whole and verified, or not there at all."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sainet.data.journal import Journal
from sainet.data.pool import in_parallel
from sainet.data.stage.copying import Copied, Part, copy_part
from sainet.data.stage.finishing import finish
from sainet.data.stage.form import Form
from sainet.data.stage.layout import make_default_root, partial_of
from sainet.data.stage.need import Admit, Need, need_of
from sainet.data.stage.record import VERSION, Record, read_record
from sainet.data.stage.survey import Survey
from sainet.data.stage.workshop import Workshop, opened, worker_of
from sainet.data.stage.yaml_text import YAML
from sainet.errors import DataError, SainetError, StorageError, UsageError
from sainet.hardware.cpu import usable_cpus

__all__ = ["OnProgress", "Staged", "find_staged", "require_free", "stage_data"]

_AT_ONCE = 128
"""Images of a part: few enough that little is done twice after a kill, enough to make handing it over cheap."""
_SEVERAL = 256
"""Images from which on other processes are worth starting."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

OnProgress = Callable[[int, int], None]
"""Is told (images done, of how many)."""


@dataclass(frozen=True)
class Staged:
    """A staged set. `is_new`: it was staged just now, of which `resumed` images by a run before."""

    place: Path
    record: Record
    is_new: bool
    resumed: int = 0

    @property
    def yaml(self) -> Path:
        return self.place / YAML


def find_staged(survey: Survey, place: Path, form: Form, *, skip: bool = False) -> Staged | None:
    """The set that is staged at `place` already, if it is of this source as it is now, and untouched.

    One that images were left out of counts only where that is asked for (`skip`).
    """
    record = read_record(place)
    if record is None or not _is_of(record, survey, form) or (record.skipped and not skip):
        return None
    if not record.is_intact(place):
        return None
    return Staged(place, record, is_new=False)


def require_free(place: Path) -> None:
    """Raises `UsageError` where `place` holds anything but a staged set, or cannot be replaced by a rename."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise UsageError(f"{place} is there already, and is no folder", hint="name another place with --to")
    if place.is_mount():
        raise UsageError(f"{place} is a mount point", hint=f"name a folder in it, as --to {place / 'set'}")
    if place.is_dir() and read_record(place) is None and any(place.iterdir()):
        raise UsageError(f"{place} is not empty, and was not staged by sainet", hint="name another place with --to")


def stage_data(
    survey: Survey,
    place: Path,
    form: Form,
    *,
    admit: Admit,
    skip: bool = False,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Staged:
    """Copy what was surveyed to `place`, which is whole then; what is there unchanged is used again.

    A set there that is not of this source as it is now is replaced. What a killed run has verified counts. `admit` is
    asked before anything is copied, and raises. `skip`: leave out images that cannot be read.
    Raises `RunLockedError` while another process stages there or a training uses what is to be replaced, `UsageError`
    for a place that is somebody else's, `DataError` for a source that cannot be read or changes meanwhile,
    `StorageError` when it does not fit after all or does not read back. After the last two nothing is left.
    """
    require_free(place)
    make_default_root(place)
    if not skip:
        survey.require_all()
    if (there := find_staged(survey, place, form, skip=skip)) is not None and worker_of(place) is None:
        _tidy(place)
        return there
    with opened(place) as shop:
        if (there := find_staged(survey, place, form, skip=skip)) is None:
            with shop.begin({**_request(survey, form), "skip": skip}) as journal:
                there = _made(survey, form, shop, journal, _Asked(admit, skip, on_progress))
        shop.close()
    return there


@dataclass(frozen=True)
class _Asked:
    admit: Admit
    skip: bool
    on_progress: OnProgress


def _is_of(record: Record, survey: Survey, form: Form) -> bool:
    asked = (VERSION, str(form), survey.fingerprint)
    return (record.version, record.format, record.fingerprint) == asked


def _tidy(place: Path) -> None:
    """What a kill at the very end has left beside a set that is whole."""
    if partial_of(place).exists():
        with opened(place) as shop:
            shop.close()


def _request(survey: Survey, form: Form) -> dict[str, Any]:
    """What a staging that goes on must agree in. After a restart of the machine nothing counts: what was verified in
    the memory of the one before may never have reached a disk."""
    return {
        "version": VERSION,
        "source": str(survey.source.yaml),
        "format": str(form),
        "fingerprint": survey.fingerprint,
        "images_of_a_part": _AT_ONCE,
        "boot": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
    }


def _made(survey: Survey, form: Form, shop: Workshop, journal: Journal, asked: _Asked) -> Staged:
    began_s, place = time.time(), shop.place
    done = Copied()
    for result in journal.results():
        done.add(Copied.of(result))
    old, resumed = read_record(place), done.images + done.skipped
    try:
        asked.admit(_need(survey, form, place, done, old))
        if old is not None:
            shop.retire()
        _copy(survey, form, shop, journal, done, asked)
        record = finish(survey, form, shop, done, began_s)
    except SainetError as error:
        if isinstance(error, DataError | StorageError) or not journal.count:
            shop.close()
        raise
    return Staged(place, record, is_new=True, resumed=resumed)


def _need(survey: Survey, form: Form, place: Path, done: Copied, old: Record | None) -> Need:
    need = need_of(survey, form, place)
    return need.less(done.page_bytes if need.in_memory else done.bytes, done.files, old)


def _copy(survey: Survey, form: Form, shop: Workshop, journal: Journal, done: Copied, asked: _Asked) -> None:
    """The parts that are not done yet, with all cores."""
    total = len(survey.images)
    parts = _parts(survey, form, shop, from_part=journal.count, skip=asked.skip)
    asked.on_progress(done.images + done.skipped, total)
    workers = usable_cpus() if total >= _SEVERAL else 1
    # Closed at once, so that no worker goes on when somebody has asked to stop.
    with closing(cast("Generator[Copied]", in_parallel(copy_part, parts, workers))) as results:
        for copied in results:
            journal.add(copied.as_dict())
            done.add(copied)
            asked.on_progress(done.images + done.skipped, total)
    if done.source_sum != survey.sum and not done.skipped:
        raise DataError(
            "the set has changed while it was staged",
            where=str(survey.source.yaml),
            hint="run it again when nobody writes into it any more",
        )


def _parts(survey: Survey, form: Form, shop: Workshop, *, from_part: int, skip: bool) -> Iterator[Part]:
    paths, layout = survey.images, survey.layout
    for start in range(from_part * _AT_ONCE, len(paths), _AT_ONCE):
        images = [paths[index] for index in range(start, min(start + _AT_ONCE, len(paths)))]
        yield Part(images, layout, str(shop.set), form, skip)
