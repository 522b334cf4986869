"""What `train` and `full-workflow` have in common: from options to a workflow that is printed or run."""

from collections.abc import Sequence
from pathlib import Path

from sainet.cli.options import request_of
from sainet.config.keys import expand, split_stage
from sainet.errors import UsageError
from sainet.hardware.machine import read_machine
from sainet.protocol import Stage
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
        from sainet.cli.dry_run import dry_run

        dry_run(workflow, json=json)
    else:  # only here is a live view needed, which takes as long to import as all the rest
        from sainet.cli.live import run_live

        run_live(workflow, resume=resume, json=json)


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
