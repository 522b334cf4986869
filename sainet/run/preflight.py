"""Everything that can be known before the start about one stage: its data, its weights, and what stands against it."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sainet.config.auto import device_list
from sainet.config.resolve import Resolved
from sainet.config.schema import STAGE_1_WEIGHTS
from sainet.data.census import take_census
from sainet.data.source import DataSource
from sainet.errors import (
    Problem,
    RefusedError,
    SainetError,
    StorageError,
    UsageError,
    WeightsError,
    combined,
)
from sainet.files import bytes_below
from sainet.hardware.gpu import Gpu, visible_gpus
from sainet.hardware.machine import Machine
from sainet.hardware.storage import disk_of
from sainet.memory.disk import cache_bytes, lasting_bytes
from sainet.memory.forecast import Forecast
from sainet.memory.limits import machine_limits
from sainet.memory.workload import Workload
from sainet.protocol import DataPlan, Stage
from sainet.run.admission import in_memory, refusals
from sainet.run.arguments import usable_val_workers, usable_workers
from sainet.run.launch import environment
from sainet.run.memory import Fit, forecaster, images_of, published_images
from sainet.run.weights import find_weights, is_checkpoint
from sainet.run.workload import class_count, model_of, trace_request, used_gpus, workload
from sainet.state import RunFolder

if TYPE_CHECKING:
    from sainet.run.staging import Staging


@dataclass
class Preflight:
    """What was found. `open_questions` are things not named yet (data, weights): a dry run may leave them open."""

    resolved: Resolved
    workers: int
    val_workers: int
    source: DataSource | None = None
    data: DataPlan | None = None
    staging: "Staging | None" = None
    """What will be staged, or is; None where the images are read from where they lie."""
    weights: str | None = None
    warnings: list[str] = field(default_factory=list)
    fit: Fit | None = None
    """What the stage needs here; None for one that is done."""
    refusals: list[Problem] = field(default_factory=list)
    forced: list[Problem] = field(default_factory=list)
    """What `--force` starts in spite of."""
    gpus: Sequence[Gpu] = ()
    """Those that the stage will train on."""
    initial_weights: str | None = None
    """What the stage would begin anew from; looked for only where `guard.on_vram` may make it."""
    smaller_batches: tuple[int, ...] = ()
    """What it may be begun anew with then, the largest first."""
    open_questions: list[SainetError] = field(default_factory=list)
    errors: list[SainetError] = field(default_factory=list)


def require(stages: Iterable[Preflight], *, named_only: bool = False) -> None:
    """Raise everything that stands against a start of these stages, as one error.

    Refusals decide the exit code, then what is wrong, then what is not named yet, which `named_only` leaves open.
    """
    found = list(stages)
    against: list[SainetError] = [
        RefusedError(problem.message, where=problem.where, hint=problem.hint)
        for stage in found
        for problem in stage.refusals
    ]
    against += [error for stage in found for error in stage.errors]
    if not named_only:
        against += [error for stage in found for error in stage.open_questions]
    if against:
        raise combined(against)


@dataclass(frozen=True)
class Standing:
    """How the run stands already, as far as a stage's weights depend on it."""

    in_workflow: bool
    """Stage 1 is trained by the same command, so its weights may still be to come."""
    stage_1_best: Path | None = None
    """Where the best weights of this run's finished stage 1 have to be; None while it is not finished."""
    last: Path | None = None
    """The checkpoint that this stage goes on from; None where there is none."""
    epochs_done: int = 0
    classes: Mapping[str, str] = field(default_factory=dict)
    """Class ids and names of the label files at the attempt before; empty before the first."""


@dataclass(frozen=True)
class Surroundings:
    """Where a stage would run."""

    machine: Machine
    folder: Path
    """Where the request was typed: weights are looked for there."""
    runs: Path
    """The run's own folder; it may not exist yet."""
    stage_1_weights: str | None
    """What stage 1 starts from; a stage 2 whose weights are still to come has that architecture."""
    tiers: Callable[[], Mapping[str, Resolved]]
    """The same request with each of the profile's tiers."""
    tell: Callable[[str], None]
    """For what takes a while."""
    promised_disk_bytes: int = 0
    """What stage 1 of the same command has yet to write, and will leave."""
    promised_shm_bytes: int = 0
    """What stage 1 of the same command has yet to stage, which stays there."""


def inspect(resolved: Resolved, around: Surroundings, standing: Standing, *, force: bool) -> Preflight:
    """Look at the data, the weights and the machine for one stage. Raises nothing that is about them."""
    found = by_settings(resolved, around.machine.cpus)
    environ = environment(os.environ, resolved.config.env)
    gpus = visible_gpus(around.machine.gpus, environ)
    found.refusals = refusals(resolved, gpus, environ)
    _inspect_data(found, around.tell, force=force)
    _inspect_weights(found, around.folder, standing)
    _inspect_continuity(found, standing)
    if resolved.config.guard.on_vram == "restart":
        _inspect_restart(found, around, standing)
    found.gpus = used_gpus(resolved.config, gpus)
    fit = _fit(found, around, standing, gpus, environ)
    found.fit = fit
    if fit.forecaster.untraced:
        found.warnings.append(f"how much memory the model takes is not known: {fit.forecaster.untraced}")
    against = [
        *in_memory(resolved, found.source, around.runs),
        *fit.refusals(lambda: dict(_tiers(fit, around))),
    ]
    (found.forced if force else found.refusals).extend(against)
    return found


def _fit(
    found: Preflight, around: Surroundings, standing: Standing, gpus: Sequence[Gpu], environ: Mapping[str, str]
) -> Fit:
    """What the stage needs here, and what there is."""
    config = found.resolved.config
    images = images_of(take_census(found.source), config) if found.source else published_images(config)
    used = used_gpus(config, gpus)
    # Before the first epoch's end a training goes on from a folder, which is no model.
    weights = config.weights if standing.last is not None and standing.last.is_dir() else found.weights
    names = found.source.names if found.source else None
    request = trace_request(
        config,
        model=model_of(weights or config.weights, around.stage_1_weights),
        classes=class_count(config, names),
        images=images,
    )
    staging = found.staging
    work = workload(
        config,
        workers=found.workers,
        val_workers=found.val_workers,
        images=images,
        staged_bytes=staging.bytes if staging else None,
    )
    if found.source is not None and staging is None:  # also where the images lie in memory, which is in use already
        work = replace(work, staged=False)
    count = forecaster(request, environ, used[0].name if used else None, around.tell)
    limits = machine_limits(
        around.machine,
        disk_of(around.runs),
        used,
        own_disk_bytes=written_bytes(RunFolder(around.runs), found.resolved.stage, count(work)),
        promised_disk_bytes=around.promised_disk_bytes,
        own_shm_bytes=staging.own_bytes if staging else 0,
        promised_shm_bytes=around.promised_shm_bytes,
    )
    return Fit(work, count, limits, request, has_begun=standing.last is not None)


def written_bytes(folder: RunFolder, stage: Stage, forecast: Forecast) -> int:
    """What this stage has written already of what its budget counts. Another stage's cache is none of that."""
    own = folder.stage(stage)
    if not own.attempts.exists():
        return 0
    cached = min(bytes_below(folder.cache), cache_bytes(forecast.budget("disk").rows))
    return bytes_below(own.root) + cached


def promised_bytes(found: Preflight, folder: RunFolder) -> int:
    """What a stage that is not done has yet to write, of what it will leave on the disk."""
    if found.fit is None:
        return 0
    forecast = found.fit.forecast
    written = written_bytes(folder, found.resolved.stage, forecast)
    return max(0, lasting_bytes(forecast.budget("disk").rows) - written)


def promised_shm_bytes(found: Preflight, after: Resolved) -> int:
    """What a stage that is not done has yet to stage, unless the stage `after` it stages the very same."""
    staging, config = found.staging, after.config
    same = found.resolved.config.data == config.data and found.resolved.config.staging == config.staging
    return 0 if staging is None or same else max(0, staging.bytes - staging.own_bytes)


def _tiers(fit: Fit, around: Surroundings) -> Iterator[tuple[str, Workload]]:
    """The profile's tiers, with the workers that each has here; one of another shape would need a trace of its own,
    for a mere hint."""
    asked = fit.request
    for name, resolved in around.tiers().items():
        config, images = resolved.config, fit.workload.images
        other = trace_request(config, model=asked.model, classes=asked.classes, images=images)
        if other.model_copy(update={"accumulates": asked.accumulates, "pieces": asked.pieces}) == asked:
            ready = by_settings(resolved, around.machine.cpus)
            yield (
                name,
                workload(
                    config,
                    workers=ready.workers,
                    val_workers=ready.val_workers,
                    images=images,
                    staged_bytes=fit.workload.staged_bytes,
                ),
            )


def by_settings(resolved: Resolved, cpus: int) -> Preflight:
    """What the settings and the machine's CPU threads tell by themselves: workers and warnings."""
    config = resolved.config
    typed, val_typed = (resolved.origin(f"{key}.workers").typed_by_user for key in ("loader", "loader.val"))
    workers, lowered = usable_workers(config, cpus, typed_by_user=typed)
    val_workers, val_lowered = usable_val_workers(config, cpus, training_workers=workers, typed_by_user=val_typed)
    warnings = [*resolved.warnings, *(text for text in (lowered, val_lowered) if text)]
    return Preflight(resolved, workers, val_workers, warnings=warnings)


def classes_of(data: DataPlan) -> dict[str, str]:
    """Class ids and names of the label files, as state.json keeps them."""
    return {str(index): name for index, name in data.source_names.items()}


def _inspect_continuity(found: Preflight, standing: Standing) -> None:
    """What was trained so far has to be there, and the labels have to mean what they meant."""
    stage = found.resolved.stage
    if standing.epochs_done and standing.last is None:
        found.errors.append(
            StorageError(
                f"{standing.epochs_done} epochs of stage {stage} are trained, but their last.pt is gone",
                hint="put the file back, or train the stage anew with another --run",
            )
        )
    if standing.last is None or not standing.classes or found.data is None:
        return
    if (now := classes_of(found.data)) != standing.classes:
        found.errors.append(
            UsageError(
                f"stage {stage} was trained with the classes {standing.classes}, and now they are {now}",
                where=found.data.yaml,
                hint="put the class names back to go on, or start a new training with another --run",
            )
        )


def _inspect_data(found: Preflight, tell: Callable[[str], None], *, force: bool) -> None:
    config, stage = found.resolved.config, found.resolved.stage
    if config.data is None:
        hint = f"--data DATA.yaml, `stage{stage}.data` in sainet.yaml, or --set stage{stage}.data=DATA.yaml"
        found.open_questions.append(UsageError(f"stage {stage} has no data", hint=hint))
        return
    from sainet.run.data import inspect_data  # a plan without data is not to wait for what reads them

    inspect_data(found, config.data, tell, force=force)


def _inspect_weights(found: Preflight, folder: Path, standing: Standing) -> None:
    resolved = found.resolved
    name = resolved.config.weights
    if standing.last is not None:
        found.weights = str(standing.last)  # the initial weights may be gone by now
    elif name is None:
        found.open_questions.append(WeightsError("no initial weights", hint="--weights yolov8s.pt or yolov8s.yaml"))
    elif name == STAGE_1_WEIGHTS:
        _inspect_stage_1(found, standing)
    elif standing.in_workflow and resolved.stage == 2 and Path(name).suffix != ".pt":
        found.errors.append(
            WeightsError(
                f"stage 2 of the workflow would start from scratch ({name}) instead of from stage 1's best weights",
                where=str(resolved.origin("weights")),
                hint=f"--weights {name}, or `stage1.weights`, reaches stage 1 alone",
            )
        )
    else:
        _inspect_file(found, name, folder, standing)


def _inspect_file(found: Preflight, name: str, folder: Path, standing: Standing) -> None:
    origin = found.resolved.origin("weights")
    try:
        found.weights = find_weights(name, folder)
    except WeightsError as error:
        (found.errors if origin.typed_by_user else found.open_questions).append(error)
        return
    if standing.in_workflow and found.resolved.stage == 2:
        found.warnings.append(f"weights {name} ({origin}) take the place of stage 1's best weights")


def _inspect_restart(found: Preflight, around: Surroundings, standing: Standing) -> None:
    """What the stage would begin anew with where its batch turns out too large: a tier's batch, else half of it."""
    fresh = replace(found, warnings=[], errors=[], open_questions=[])
    _inspect_weights(fresh, around.folder, replace(standing, last=None))
    found.initial_weights = fresh.weights
    ranks = max(1, len(device_list(found.resolved.config.train.device)))
    batch = found.resolved.config.train.batch
    batches = {tier.config.train.batch for tier in around.tiers().values() if tier.config.train.batch < batch}
    half = min(batches, default=batch) // 2
    while half >= ranks:
        batches.add(half - half % ranks)
        half //= 2
    found.smaller_batches = tuple(sorted(batches, reverse=True))


def _inspect_stage_1(found: Preflight, standing: Standing) -> None:
    if found.resolved.stage == 1:
        found.errors.append(
            WeightsError("stage 1 cannot start from its own weights", where="weights", hint="--weights yolov8s.pt")
        )
    elif standing.stage_1_best is not None:
        if is_checkpoint(standing.stage_1_best):
            found.weights = str(standing.stage_1_best)
        else:
            found.errors.append(
                StorageError(
                    f"stage 1 is done, but its best weights are gone or damaged: {standing.stage_1_best}",
                    hint="put the file back, or name weights for stage 2: --set stage2.weights=FILE.pt",
                )
            )
    elif not standing.in_workflow:
        found.open_questions.append(
            WeightsError(
                "stage 2 starts from stage 1's best weights, and none are named",
                hint="--weights runs/NAME/stage-1/weights/best.pt, or train both stages with sainet full-workflow",
            )
        )
