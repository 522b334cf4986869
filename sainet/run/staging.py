"""The data of a stage, staged before it trains: what that will be, and holding them while it trains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sainet.config.schema import Config
from sainet.data.source import DataSource
from sainet.data.stage.form import Form, parse_form
from sainet.data.stage.layout import SHM, default_place, partial_of
from sainet.data.stage.need import Need, need_of
from sainet.data.stage.record import held, read_record
from sainet.data.stage.staging import OnProgress, Staged, find_staged, require_free, stage_data
from sainet.data.stage.sums import tree_of
from sainet.data.stage.survey import Survey, take_survey
from sainet.data.stage.yaml_text import named_places
from sainet.errors import StorageError
from sainet.protocol import DataPlan
from sainet.run.staging_room import Reserve, admit, room_at

__all__ = ["Staging", "data_in", "held_staged", "planned_staging", "staged_bytes"]

_TRIES = 3


@dataclass(frozen=True)
class Staging:
    """What a stage's data will be when they are staged.

    `there`: the set that is staged already. `bytes`: what the whole set takes in /dev/shm, in whole pages.
    `own_bytes`: what lies there already that is it, a part of it, or what it replaces.
    """

    survey: Survey
    place: Path
    form: Form
    there: Staged | None
    bytes: int
    own_bytes: int

    @property
    def is_estimate(self) -> bool:
        return self.there is None and self.form.kind != "as-is"


def planned_staging(source: DataSource, config: Config, *, skip: bool) -> Staging | None:
    """Looks at every file of `source`. None where nothing is to be staged, or where all of it lies in /dev/shm already.

    `skip`: images may be missing.
    Raises `UsageError` for a format that is none or a place that is not ours, `DataError` for what cannot be read.
    """
    if config.staging.to is None or all(path.startswith(f"{SHM}/") for path in source.named_images):
        return None
    form = parse_form(config.staging.format, where="staging.format")
    survey = take_survey(source)
    if not skip:
        survey.require_all()
    place = default_place(source.yaml, form)
    require_free(place)
    if (there := find_staged(survey, place, form, skip=skip)) is not None:
        return Staging(survey, place, form, there, there.record.page_bytes, there.record.page_bytes)
    record, partial = read_record(place), partial_of(place)
    own = (record.page_bytes if record else 0) + (tree_of(str(partial)).page_bytes if partial.is_dir() else 0)
    return Staging(survey, place, form, None, need_of(survey, form, place).bytes, own)


def staged_bytes(source: DataSource, config: Config) -> int:
    """What a set staged from `source` takes in /dev/shm at this moment, changed or not; 0 where there is none."""
    if config.staging.to is None:
        return 0
    record = read_record(default_place(source.yaml, parse_form(config.staging.format, where="staging.format")))
    return record.page_bytes if record else 0


@contextmanager
def held_staged(
    staging: Staging, reserve: Reserve, *, force: bool, on_progress: OnProgress, tell: Callable[[Staged], None]
) -> Iterator[Staged]:
    """Stage the data unless they are there, and keep them there while the block lasts. `tell` hears what was done.

    Raises what `stage_data` raises, and `RefusedError` where they do not fit beside `reserve`.
    """

    def admitted(need: Need) -> None:
        room = room_at(need.place, in_memory=need.in_memory)
        admit(need, room, reserve, force=force, option="--set staging.format=")

    for _ in range(_TRIES):
        staged = stage_data(
            staging.survey, staging.place, staging.form, admit=admitted, skip=force, on_progress=on_progress
        )
        with held(staged.place) as is_there:
            if is_there:
                tell(staged)
                yield staged
                return
    raise StorageError(f"{staging.place} is removed again and again", hint="who runs sainet data unstage?")


def data_in(staged: Staged, survey: Survey, data: DataPlan) -> DataPlan:
    """`data` with its images where they are staged; the YAML stays the user's."""
    places = {split: [str(staged.place / name) for _, name in named] for split, named in named_places(survey).items()}
    return data.model_copy(update={"train": places["train"], "val": places["val"]})
