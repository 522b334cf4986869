"""Everything that can be known before the start about one stage: its data, its weights, and what stands against it."""

from dataclasses import dataclass, field
from pathlib import Path

from sainet.config.resolve import Resolved
from sainet.config.schema import STAGE_1_WEIGHTS
from sainet.data.source import DataSource, data_plan, read_source
from sainet.errors import Problem, RefusedError, SainetError, UsageError, WeightsError
from sainet.hardware.machine import Machine
from sainet.protocol import DataPlan
from sainet.run.admission import refusals
from sainet.run.arguments import usable_workers
from sainet.run.weights import find_weights


@dataclass
class Preflight:
    """What was found. `open_questions` are things not named yet (data, weights): a dry run may leave them open."""

    resolved: Resolved
    workers: int
    source: DataSource | None = None
    data: DataPlan | None = None
    weights: str | None = None
    warnings: list[str] = field(default_factory=list)
    refusals: list[Problem] = field(default_factory=list)
    open_questions: list[SainetError] = field(default_factory=list)
    errors: list[SainetError] = field(default_factory=list)

    def require(self) -> None:
        """Raise what stands against a real start: refusals first, then what is wrong, then what is not named."""
        self.require_named()
        for error in self.open_questions:
            raise error

    def require_named(self) -> None:
        """As `require`, but things that were not named yet are left open."""
        if self.refusals:
            raise refused(self.refusals)
        for error in self.errors:
            raise error


def refused(problems: list[Problem]) -> RefusedError:
    """All refusals in one error."""
    error = RefusedError(problems[0].message, where=problems[0].where, hint=problems[0].hint)
    error.problems = tuple(problems)
    return error


def inspect(
    resolved: Resolved, machine: Machine, folder: Path, *, stage_1_best: Path | None, in_workflow: bool, force: bool
) -> Preflight:
    """Look at the data, the weights and the machine for one stage. Raises nothing that is about them.

    `stage_1_best` is the finished stage 1's best weights in the same run; in a workflow they may still be to come.
    """
    typed = resolved.origin("loader.workers").typed_by_user
    workers, lowered = usable_workers(resolved.config, machine.cpus, typed_by_user=typed)
    found = Preflight(resolved, workers, warnings=list(resolved.warnings))
    if lowered:
        found.warnings.append(lowered)
    visible = sum(gpu.visible for gpu in machine.gpus.gpus)
    found.refusals = refusals(resolved, visible, force=force)
    _inspect_data(found, force=force)
    _inspect_weights(found, folder, stage_1_best, in_workflow=in_workflow)
    return found


def _inspect_data(found: Preflight, *, force: bool) -> None:
    config, stage = found.resolved.config, found.resolved.stage
    if config.data is None:
        hint = f"--data DATA.yaml, `stage{stage}.data` in sainet.yaml, or --set stage{stage}.data=DATA.yaml"
        found.open_questions.append(UsageError(f"stage {stage} has no data", hint=hint))
        return
    try:
        found.source = read_source(config.data)
        found.data = data_plan(found.source, config.schedule.classes, skip_bad_images=force)
    except SainetError as error:
        found.errors.append(error)


def _inspect_weights(found: Preflight, folder: Path, stage_1_best: Path | None, *, in_workflow: bool) -> None:
    resolved = found.resolved
    name = resolved.config.weights
    if name is None:
        found.open_questions.append(WeightsError("no initial weights", hint="--weights yolov8s.pt or yolov8s.yaml"))
    elif name == STAGE_1_WEIGHTS:
        _inspect_stage_1(found, stage_1_best, in_workflow=in_workflow)
    else:
        try:
            found.weights = find_weights(name, folder)
        except WeightsError as error:
            named = resolved.origin("weights").typed_by_user
            (found.errors if named else found.open_questions).append(error)


def _inspect_stage_1(found: Preflight, stage_1_best: Path | None, *, in_workflow: bool) -> None:
    if found.resolved.stage == 1:
        found.errors.append(
            WeightsError("stage 1 cannot start from its own weights", where="weights", hint="--weights yolov8s.pt")
        )
    elif stage_1_best is not None:
        found.weights = str(stage_1_best)
    elif not in_workflow:
        found.open_questions.append(
            WeightsError(
                "stage 2 starts from stage 1's best weights, and none are named",
                hint="--weights runs/NAME/stage-1/weights/best.pt, or train both stages with sainet full-workflow",
            )
        )
