"""What `train` and `full-workflow` have in common: from options to a workflow, and its result on the screen."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sainet.cli.dry_run import dry_run
from sainet.cli.options import request_of
from sainet.cli.output import note, print_json, stderr, stdout, warn
from sainet.config.keys import expand, split_stage
from sainet.errors import UsageError
from sainet.hardware.machine import read_machine
from sainet.protocol import Stage
from sainet.report.progress import ProgressView
from sainet.report.runs import RunSummary, summarise
from sainet.report.tables import run_dict, stage_table
from sainet.run.stage import View
from sainet.state import Command, Request, RunFolder
from sainet.workflow import Workflow


def start(
    *,
    command: Command,
    stages: Sequence[Stage],
    profile: str,
    tier: str | None,
    settings: list[tuple[str, str, str]],
    sets: Sequence[str],
    config_files: Sequence[Path],
    run: str | None,
    runs_dir: Path,
    resume: bool,
    dry: bool,
    json: bool,
    force: bool,
) -> None:
    """Run (or only print) what the options ask for."""
    request = request_of(profile, tier, config_files, sets)
    request.sets, request.force = settings + request.sets, force
    folder = RunFolder(runs_dir / _checked(run or default_name(command, stages, profile, tier)))
    if resume and profile == "auto" and folder.exists:
        request = _over(folder.read_state().request, request)
    workflow = Workflow(command, stages, request, folder, read_machine())
    if dry:
        dry_run(workflow, json=json)
        return
    _run(workflow, resume=resume, json=json)


def default_name(command: Command, stages: Sequence[Stage], profile: str, tier: str | None) -> str:
    """The same command finds the same run again."""
    what = "two-stage" if command == "full-workflow" else f"stage{stages[0]}"
    return "-".join(part for part in (what, Path(profile).stem, tier) if part)


def _over(stored: Request, typed: Request) -> Request:
    """What was asked for when the run began, and over it what is typed now: `--resume --run NAME` needs no more."""
    replaced = {_full(key) for key, _, _ in typed.sets}
    return Request(
        profile=stored.profile,
        tier=typed.tier or stored.tier,
        config_files=[*stored.config_files, *(f for f in typed.config_files if f not in stored.config_files)],
        sets=[entry for entry in stored.sets if _full(entry[0]) not in replaced] + typed.sets,
        force=stored.force or typed.force,
    )


def _full(name: str) -> str:
    limit, key = split_stage(name)
    return f"{limit}.{expand(key) or key}"


def _checked(name: str) -> str:
    if not name or name.startswith(".") or "/" in name:
        raise UsageError(f"{name!r} cannot be a run's name", where="--run", hint="a plain folder name; see --runs-dir")
    return name


def _run(workflow: Workflow, *, resume: bool, json: bool) -> None:
    was_done = workflow.folder.exists and workflow.folder.read_state().status == "done"
    if not was_done:
        _print_warnings(workflow)
    workflow.run(resume=resume, make_view=_view)
    if was_done:
        note(f"the run {workflow.folder.name} was finished before: nothing was trained")
    summary = summarise(workflow.folder)
    assert isinstance(summary, RunSummary)
    if json:
        print_json(run_dict(summary))
    else:
        stdout().print(stage_table(summary.stages, here=Path.cwd()))
        stdout().print(f"final weights: {workflow.folder.stage(summary.stages[-1].stage).best}", soft_wrap=True)


def _print_warnings(workflow: Workflow) -> None:
    for stage, settings in workflow.resolve().items():
        for text in settings.warnings:
            warn(f"stage {stage}: {text}")


@contextmanager
def _view(name: str, stages: int) -> Iterator[View]:
    with ProgressView(stderr(), run=name, stages=stages) as view:
        yield view
