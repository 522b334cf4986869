"""What `--dry-run` prints: everything that would happen, without starting anything and without torch."""

from typing import TYPE_CHECKING, Any

from sainet.cli.output import note, print_json, warn
from sainet.cli.plan_facts import fact_lines, plan_facts
from sainet.config.resolve import Resolved
from sainet.config.show import ordered_keys, origin_lines
from sainet.errors import SainetError
from sainet.report.memory import gib, memory_lines, resource_dicts
from sainet.run.launch import command
from sainet.run.prediction import predicted_time
from sainet.run.preflight import Preflight, by_settings, require
from sainet.state import RunState
from sainet.workflow import Workflow

if TYPE_CHECKING:
    from sainet.run.staging import Staging


def dry_run(workflow: Workflow, *, resume: bool, json: bool) -> None:
    """Print the plan of every stage, then raise what a real start would be refused for.

    What is not named yet (data, weights) is a warning here.
    """
    resolved = workflow.resolve()
    refusal: SainetError | None = None
    state = None
    try:
        state = workflow.stored_state(resume=resume)
        found = workflow.inspect(resolved, state)
    except SainetError as error:
        refusal = error
        found = workflow.inspect(resolved, None)
    cpus = workflow.machine.cpus
    shown = {stage: found.get(stage) or _finished(settings, cpus) for stage, settings in resolved.items()}
    stages = [_as_json(workflow, preflight, state) for preflight in shown.values()]
    if json:
        print_json(stages[0] if len(stages) == 1 else {"stages": stages})
    else:
        for preflight, described in zip(shown.values(), stages, strict=True):
            _print_stage(preflight, described)
    for stage in resolved.keys() - found.keys():
        note(f"stage {stage} is done: nothing would be trained")
    for preflight in found.values():
        for text in _warnings(preflight):
            warn(f"stage {preflight.resolved.stage}: {text}")
    if refusal is not None:
        raise refusal
    require(found.values(), named_only=True)


def _finished(resolved: Resolved, cpus: int) -> Preflight:
    """A stage that would not start again, whose data and weights nobody has to look at."""
    found = by_settings(resolved, cpus)
    found.warnings.clear()
    return found


def _as_json(workflow: Workflow, found: Preflight, state: RunState | None) -> dict[str, Any]:
    resolved = found.resolved
    known = state.stages.get(resolved.stage) if state else None
    plan = workflow.folder.stage(resolved.stage).plan(len(known.attempts) + 1 if known else 1)
    images = found.source.train_images if found.source else None
    return {
        "profile": resolved.profile,
        "tier": resolved.tier,
        "stage": resolved.stage,
        "status": known.status if known else "pending",
        "run": str(workflow.folder.root),
        "config": resolved.config.model_dump(),
        "origins": {key: str(origin) for key, origin in resolved.origins.items()},
        "command": [] if known and known.status == "done" else command(plan),
        "weights": found.weights,
        "staging": _staging(found),
        "images": {"train": found.source.train_images, "val": found.source.val_images} if found.source else None,
        **plan_facts(found),
        "memory": resource_dicts(found.fit.forecast, found.fit.limits) if found.fit else [],
        "predicted_time": predicted_time(resolved, images),
        "warnings": _warnings(found),
    }


def _warnings(found: Preflight) -> list[str]:
    refused = [f"a real start is refused: {problem.message}" for problem in found.refusals]
    forced = [f"--force starts in spite of: {problem.message}" for problem in found.forced]
    return found.warnings + refused + forced + [f"not named yet: {error.message}" for error in found.open_questions]


def _print_stage(found: Preflight, described: dict[str, Any]) -> None:
    resolved = found.resolved
    tier = f", tier {resolved.tier}" if resolved.tier else ""
    print(f"stage {resolved.stage}: profile {resolved.profile}{tier}, run {described['run']}")
    for line in origin_lines(resolved, ordered_keys(resolved)):
        print(f"  {line}" if line else "")
    print("")
    facts = {
        "data": _data_line(found),
        **({"staging": _staging_line(found.staging)} if found.staging else {}),
        "weights": found.weights or resolved.config.weights,
        **fact_lines(found),
        **(memory_lines(found.fit.forecast, found.fit.limits) if found.fit else {}),
        "predicted time": described["predicted_time"] or "nothing published for this configuration",
        "command": " ".join(described["command"]) or "none: the stage is done",
    }
    for name, fact in facts.items():
        print(f"  {name}: {fact}")


def _staging(found: Preflight) -> dict[str, Any] | None:
    staging = found.staging
    if staging is None:
        return None
    return {
        "place": str(staging.place),
        "format": str(staging.form),
        "images": len(staging.survey.images),
        "bytes": staging.bytes,
        "is_estimate": staging.is_estimate,
        "is_there": staging.there is not None,
    }


def _staging_line(staging: "Staging") -> str:
    images, size = len(staging.survey.images), gib(staging.bytes)
    if staging.there is not None:
        return f"{images} images are staged already in {staging.place}: {size}"
    about = "about " if staging.is_estimate else ""
    return f"{images} images would be copied to {staging.place}, {staging.form}: {about}{size}"


def _data_line(found: Preflight) -> str:
    if found.source is None:
        return "not read"
    names = ", ".join(found.data.target_names.values()) if found.data else "?"
    return f"{found.source.yaml}: {found.source.train_images} train, {found.source.val_images} val images; {names}"
