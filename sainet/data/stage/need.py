"""What a staging will take, before anything is copied. Whether there is so much is for others to say."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sainet.data.stage.estimate import Estimate, estimated
from sainet.data.stage.form import Form
from sainet.data.stage.record import Record
from sainet.data.stage.survey import Survey
from sainet.hardware.storage import in_memory

__all__ = ["Admit", "Need", "need_of"]


@dataclass(frozen=True)
class Need:
    """- `bytes`, `files`: yet to be written; in memory whole pages are counted.
    - `in_memory`: the place is in memory, so that it takes RAM too.
    - `frees_bytes`: of the set that is there now, which goes first.
    - `estimate`: the sizes are those of a sample, which is this; None where they are known.
    - `survey`, `place`, `form`: what is to be staged, where, and how.
    """

    survey: Survey
    place: Path
    form: Form
    bytes: int
    files: int
    in_memory: bool
    frees_bytes: int = 0
    estimate: Estimate | None = None

    @property
    def is_estimate(self) -> bool:
        return self.estimate is not None

    def less(self, done_bytes: int, done_files: int, old: Record | None) -> "Need":
        """Without what a run before has copied already, and with what an old set will free."""
        frees = 0 if old is None else (old.page_bytes if self.in_memory else old.bytes)
        left = max(0, self.bytes - done_bytes)
        return replace(self, bytes=left, files=max(0, self.files - done_files), frees_bytes=frees)


Admit = Callable[[Need], None]
"""Raises `RefusedError` where there is not so much."""


def need_of(survey: Survey, form: Form, place: Path, estimate: Estimate | None = None) -> Need:
    """For the whole set. Of a form that changes images a sample is taken, unless there is an `estimate`."""
    tmpfs = in_memory(place)
    if form.kind == "as-is":
        return Need(survey, place, form, survey.page_bytes if tmpfs else survey.bytes, survey.files, tmpfs)
    found = estimate or estimated(survey, form)
    size = found.bytes + (survey.page_bytes - survey.bytes if tmpfs else 0)
    return Need(survey, place, form, size, survey.files, tmpfs, estimate=found)
