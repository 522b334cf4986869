"""The end of a staging: what is not copied is written, and the whole gets its name."""

import ctypes
import os
import time
from pathlib import Path

import sainet
from sainet.data.stage.copying import Copied
from sainet.data.stage.form import Form
from sainet.data.stage.record import RECORD, VERSION, Record
from sainet.data.stage.sums import add, count_files, file_sum, in_pages, tree_of
from sainet.data.stage.survey import Survey
from sainet.data.stage.verified import no_room
from sainet.data.stage.workshop import Workshop
from sainet.data.stage.yaml_text import YAML, list_lines, named_places, yaml_text
from sainet.hardware.storage import in_memory

__all__ = ["finish"]


def finish(survey: Survey, form: Form, shop: Workshop, done: Copied, began_s: float) -> Record:
    """Write the YAML, the lists and the record; then the whole gets its name.

    Raises `StorageError` when there is no space left.
    """
    named = named_places(survey)
    try:
        shop.set.mkdir(exist_ok=True)  # all images may be absent
        _write_text(YAML, yaml_text(survey.source, named), survey.source.yaml, shop, done)
        for path, name in sorted({pair for places in named.values() for pair in places}):
            if path.is_dir():
                (shop.set / name).mkdir(parents=True, exist_ok=True)  # of a split that has no images
            else:
                _write_text(name, "".join(list_lines(path, survey.layout)), path, shop, done)
        _count_once(shop.set, done)
        record = _record(survey, form, done, began_s)
        (shop.set / RECORD).write_text(record.text(), encoding="utf-8")
        _sync(shop.set)
        shop.deliver()
    except OSError as error:
        raise no_room(error, str(shop.place)) from error
    return record


def _write_text(name: str, text: str, original: Path, shop: Workshop, done: Copied) -> None:
    """A file of the set that is made from `original`, with its time, as all others have it."""
    path, mtime_ns = shop.set / name, original.stat().st_mtime_ns
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(mtime_ns, mtime_ns))
    size = path.stat().st_size
    done.files += 1
    done.bytes += size
    done.page_bytes += in_pages(size)
    done.copy_sum = add(done.copy_sum, file_sum(name, size, mtime_ns))


def _count_once(folder: Path, done: Copied) -> None:
    """A file that was copied twice, as one that a list names twice or the label file of two images, is there once."""
    if count_files(str(folder)) == done.files:
        return
    tree = tree_of(str(folder))
    done.files, done.bytes, done.page_bytes, done.copy_sum = tree.files, tree.bytes, tree.page_bytes, tree.sum


def _record(survey: Survey, form: Form, done: Copied, began_s: float) -> Record:
    return Record(
        version=VERSION,
        sainet=sainet.__version__,
        source=str(survey.source.yaml),
        format=str(form),
        fingerprint=survey.fingerprint,
        copy_sum=f"{done.copy_sum:x}",
        splits=survey.splits,
        labels=done.labels,
        converted=done.converted,
        skipped=done.skipped + survey.absent_count,
        files=done.files,
        bytes=done.bytes,
        page_bytes=done.page_bytes,
        staged_s=time.time(),
        took_s=time.time() - began_s,
    )


def _sync(folder: Path) -> None:
    """On a disk the name must not survive a power cut that the contents do not."""
    if in_memory(folder):
        return
    opened_ = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(opened_)
    finally:
        os.close(opened_)
