"""A stage with its data staged while it runs, and what the user sees of that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sainet.data.stage.record import held
from sainet.data.stage.staging import Staged
from sainet.errors import Interrupted
from sainet.protocol import DataStaged, Event, PhaseStarted, Stage, Warned, append_event
from sainet.run.attempt import View
from sainet.run.preflight import Preflight
from sainet.run.signals import Caught
from sainet.run.staging import data_in, held_staged
from sainet.run.staging_room import Reserve
from sainet.state import RunFolder, StageState

__all__ = ["staged_data"]

_REPORTS = 4
"""How many lines of progress there are."""


@contextmanager
def staged_data(
    found: Preflight, folder: RunFolder, record: StageState, view: View, caught: Caught, tell: Callable[[str], None]
) -> Iterator[Preflight]:
    """`found` with its images where they are staged; as it is where nothing is to be staged.

    The images are kept from being removed while the block lasts, and stay there after it. `tell` hears how far it is.
    Raises `Interrupted` when asked to stop meanwhile, and what `held_staged` raises.
    """
    assert found.source is not None  # `preflight.require` has seen to it
    assert found.data is not None
    if found.staging is None:
        with held(found.source.yaml.parent):  # the data that are named may be a staged set themselves
            yield found
        return
    telling = _Telling(found.resolved.stage, len(record.attempts) + 1, folder, view, caught, tell)
    view.handle(PhaseStarted(stage=telling.stage, attempt=telling.attempt, phase="staging the data"))
    force, reserve = found.data.skip_bad_images, _reserve(found)
    with held_staged(found.staging, reserve, force=force, on_progress=telling.progress, tell=telling.done) as staged:
        yield replace(found, data=data_in(staged, found.staging.survey, found.data))


@dataclass
class _Telling:
    """What is told of a staging, and whether it goes on."""

    stage: Stage
    attempt: int
    folder: RunFolder
    view: View
    caught: Caught
    tell: Callable[[str], None]
    _told: int = 0
    """Of `_REPORTS`."""

    def progress(self, done: int, total: int) -> None:
        """Raises `Interrupted` when somebody has asked to stop."""
        if self.caught.number is not None:
            message = f"asked to stop while {done} of {total} images were staged"
            hint = "the same command goes on from there"
            raise Interrupted(message, signal_number=self.caught.number, hint=hint)
        if (quarter := _REPORTS * done // max(1, total)) > self._told:
            self._told = quarter
            self.tell(f"staged {done} of {total} images")

    def done(self, staged: Staged) -> None:
        """Write down where the images are, and show it."""
        record, says = staged.record, {"stage": self.stage, "attempt": self.attempt}
        event = DataStaged(
            **says,
            place=staged.place,
            format=record.format,
            images=record.images,
            bytes=record.page_bytes,
            seconds=record.took_s if staged.is_new else 0.0,
            reused=not staged.is_new,
        )
        self._say(event)
        if record.skipped:
            self._say(Warned(**says, message=f"{record.skipped} images cannot be read and are left out"))

    def _say(self, event: Event) -> None:
        append_event(self.folder.events, event)
        self.view.handle(event)


def _reserve(found: Preflight) -> Reserve:
    """What the training needs beside the staged set, by its forecast."""
    if found.fit is None:
        return Reserve()
    rest = found.fit.forecaster(replace(found.fit.workload, staged=False))
    return Reserve(rest.budget("ram").need_bytes, rest.budget("shm").need_bytes)
