"""Preparing a set: read what is published, look at the images where that is needed, write, complete.

The looks and the writing are one sequence of parts in a journal, so that after a kill the work goes on where it was.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from sainet.data.journal import Journal
from sainet.data.placing import How
from sainet.data.pool import in_parallel
from sainet.data.prepare.backgrounds import Backgrounds
from sainet.data.prepare.choosing import Looks, Selection, choose, whole
from sainet.data.prepare.entries import Published, Release
from sainet.data.prepare.fasdd import read_fasdd
from sainet.data.prepare.find import Form, find
from sainet.data.prepare.folder import JOURNAL, check_apart, complete, finished_before, make_folders
from sainet.data.prepare.look import LookPart, look_part
from sainet.data.prepare.pyrosdis import PYROSDIS, read_pyrosdis
from sainet.data.prepare.summary import Tally
from sainet.data.prepare.tree import Tree
from sainet.data.prepare.writing import Job, Part, write_part
from sainet.hardware.cpu import usable_cpus

__all__ = ["Options", "Prepared", "prepare"]

P = TypeVar("P")
OnProgress = Callable[[int, int], None]

_SEVERAL = 256
"""Images from which on other processes are worth starting."""
_VERSION = 1
"""Of what is written: raise it when the same request comes to something else."""


@dataclass(frozen=True)
class Options:
    """What was asked for. `annotations`: None for the first form that is there (FASDD only)."""

    release: Release
    how: How
    backgrounds: Backgrounds
    regroup: bool
    annotations: Form | None = None

    def request(self, tree: Tree) -> dict[str, Any]:
        """What the set follows from."""
        return {
            "version": _VERSION,
            "release": self.release.name,
            "annotations": self.annotations,
            "how": self.how,
            "backgrounds": self.backgrounds.text,
            "backgrounds_in": self.backgrounds.within,
            "splits": "regroup" if self.regroup else "published",
            "source": tree.state(),
        }


@dataclass(frozen=True)
class Prepared:
    """The summary, and whether there was anything to be done."""

    summary: dict[str, Any]
    created: bool


def prepare(
    source: Path, folder: Path, options: Options, on_progress: OnProgress = lambda _done, _total: None
) -> Prepared:
    """Write the set of `source` into `folder`, or go on with it. `on_progress` is told (images done, of how many).

    Raises `DataError` for a source that cannot be used, `UsageError` for a folder that holds anything else,
    `RunLockedError` while another process works on it, `StorageError` when the disk is full.
    """
    check_apart(source, folder)
    tree = Tree(source)
    request = options.request(tree)
    if (summary := finished_before(folder, request)) is not None:
        return Prepared(summary, created=False)
    published = _read(tree, options)
    with Journal(folder / JOURNAL, request) as journal:
        return Prepared(_Work(journal, published, options, on_progress).run(folder, request), created=True)


def _read(tree: Tree, options: Options) -> Published:
    if options.release is PYROSDIS:
        return read_pyrosdis(tree, splits_needed=not options.regroup)
    return read_fasdd(find(tree), options.annotations, splits_needed=not options.regroup)


class _Work:
    """The parts of one set, in their order: those in the journal are taken from there, the others are done."""

    def __init__(self, journal: Journal, published: Published, options: Options, on_progress: OnProgress) -> None:
        self._journal, self._published, self._options = journal, published, options
        self._before = journal.results()
        self._looked = 0
        self._done, self._total, self._on_progress = 0, len(published), on_progress
        self._workers = usable_cpus() if len(published) >= _SEVERAL else 1

    def run(self, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is not yet done; the summary."""
        release = self._options.release
        job = Job(str(folder), release.ids, self._published.facts.names, self._options.how)
        selection = self._choose(job)
        self._total = self._done + len(selection)
        tally = Tally(release, self._published.notes)
        make_folders(folder, selection.splits())
        _give_back()
        for result in self._results(write_part, (Part(job, entries) for entries in selection.parts())):
            tally.add(result)
        summary = tally.as_dict(selection, self._published.facts)
        complete(folder, request, summary, self._rows(), release.classes)
        return summary

    def _choose(self, job: Job) -> Selection:
        """What is to be written, after a first look at all images where it depends on them."""
        options, looks = self._options, Looks()
        if options.regroup or options.backgrounds.splits:
            self._total *= 2
            parts = (LookPart(job, entries, options.regroup) for entries in whole(self._published))
            for result in self._results(look_part, parts):
                looks.add(result)
                self._looked += 1
        return choose(self._published, looks, options.backgrounds, options.release.shares if options.regroup else None)

    def _results(self, work: Callable[[P], dict[str, Any]], parts: Iterator[P]) -> Iterator[dict[str, Any]]:
        for part in parts:
            result = next(self._before, None)
            if result is None:
                yield from self._do(work, chain([part], parts))
                return
            yield self._told(result)

    def _do(self, work: Callable[[P], dict[str, Any]], parts: Iterator[P]) -> Iterator[dict[str, Any]]:
        for result in in_parallel(work, parts, self._workers):
            self._journal.add(result)
            yield self._told(result)

    def _told(self, result: dict[str, Any]) -> dict[str, Any]:
        self._done += result["images"]
        self._on_progress(self._done, self._total)
        return result

    def _rows(self) -> Iterator[list[Any]]:
        """For the manifest, of the parts that were written; read again, so that not all are in memory."""
        for number, result in enumerate(self._journal.results()):
            if number >= self._looked:
                yield from result["rows"]


def _give_back() -> None:
    """What reading took and no longer needs, a third of it, before the workers come; glibc would keep it."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
